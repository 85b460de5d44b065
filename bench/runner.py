"""Runs a study: for each cell skip what is recorded, or time, generate, score and record it."""

import os
import traceback
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Protocol

import torch

from bench.cell import Resolved, measure, resolve
from bench.environment import describe
from bench.images import save_preview
from bench.placement import grid_ends
from bench.plan import Cell, Expectation, expectations, plan
from bench.record import SCHEMA, Record, RunFolder, cell_id
from bench.rig import Rig
from bench.solution import Solutions
from bench.study import Study


@dataclass
class Outcome:
    """How many cells of a run were measured, were there already, and failed."""

    measured: int = 0
    kept: int = 0
    failed: int = 0


class Progress(Protocol):
    """What a run tells while it works."""

    def planned(self, cells: int, evaluations: int) -> None:
        """Once: the cells to measure, and the image evaluations that they will take."""

    def advanced(self, evaluations: int) -> None:
        """Image evaluations done; between timed regions only."""

    def finished(self, cell: Cell, record: Record, kept: bool) -> None:
        """Every cell's record, and whether it was there already."""


def run_study(study: Study, rig: Rig, folder: RunFolder, force: bool, progress: Progress) -> Outcome:
    """Measure every cell of a study that has no good record yet.

    A cell that fails is recorded with its error, never counts as a result, is tried again by the next run, and does not
    stop the others. Whatever kills the run, finished cells stay; with `force` a good record is replaced by a good one
    only.

    Args:
        study: what to run.
        rig: everything it runs on.
        folder: where records go; created.
        force: measure again what is recorded.
        progress: told how far the run is.

    Raises:
        UsageError: a cell whose sampler, grid and model do not fit together, before anything is written.
    """
    resolved = [(cell, resolve(cell, rig)) for cell in plan(study)]
    cells = {cell_id(each.identity): (cell, each) for cell, each in resolved}
    folder.create()
    # of all cells: where a model has no range to clip to, a clipped one and one that is not are the same
    names = {cell: cell_id(each.identity) for cell, each in resolved}
    published = [_published(names[each.cell], each) for each in expectations(study)]
    folder.write_manifest(study.model_dump(mode="json"), list(cells), published)
    read = {name: folder.read(name, set_aside=True) for name in cells}
    found = {name: record for name, record in read.items() if record is not None and record["status"] == "ok"}
    waiting = [each for name, (_, each) in cells.items() if force or name not in found]
    progress.planned(len(waiting), sum(_expected(each) for each in waiting) * study.images)
    if waiting:
        rig.warm_up()
    environment = describe(rig.device)
    outcome = Outcome(kept=0 if force else len(found))
    for name, (cell, each) in cells.items():
        kept = not force and name in found
        record = found[name] if kept else _measured(name, each, rig, folder, environment, progress)
        if not kept:
            if record["status"] == "ok" or name not in found:
                folder.write(record)
            outcome.measured += record["status"] == "ok"
            outcome.failed += record["status"] == "failed"
        progress.finished(cell, record, kept)
    return outcome


def _published(cell: str, expected: Expectation) -> dict[str, Any]:
    """A manifest's entry: what was published, and which cell is to reproduce it, in words too."""
    content = {field.name: getattr(expected, field.name) for field in fields(expected) if field.name != "cell"}
    words = {name: getattr(expected.cell, name) for name in ("sampler", "grid", "steps", "model")}
    return {"cell": cell} | words | content


def _expected(resolved: Resolved) -> int:
    """Evaluations an image, for the time estimate; a sampler that cannot say counts as one a step."""
    one_a_step = len(resolved.levels) - 1
    try:
        return resolved.sampler.nfe(resolved.levels) or one_a_step
    except Exception:  # whatever a plugin raises: its cell fails when it is measured
        return one_a_step


def _measured(
    name: str, resolved: Resolved, rig: Rig, folder: RunFolder, environment: dict[str, Any], progress: Progress
) -> Record:
    """The record of a cell, measured now; its preview is written before it."""
    record: Record = {"schema": SCHEMA, "id": name, "status": "ok", "error": None, "note": None, **resolved.identity}
    record |= {"device": rig.device.type, "intervals": len(resolved.levels) - 1}
    record |= grid_ends(resolved.sampler, resolved.levels)
    record |= {"load_average_1min": os.getloadavg()[0]}  # above this process's own threads: others disturbed it
    record |= {"model_source": resolved.model.source, "model_variance": resolved.model.card.variance}
    log = folder.cells / f"{name}.traceback.txt"
    expected = _expected(resolved)
    try:
        with torch.inference_mode():
            solutions = Solutions(folder.path / "solutions")
            found = measure(resolved, rig, solutions, lambda images: progress.advanced(images * expected))
        record |= {"stochastic": resolved.sampler.stochastic, **found.columns}
        save_preview(found.preview, folder.preview(name))
        log.unlink(missing_ok=True)
    except OSError:
        raise  # a full disk is no sampler's failure
    except Exception as error:  # whatever a sampler raises is that cell's result
        record |= {"status": "failed", "error": f"{type(error).__name__}: {error}"}
        log.write_text(traceback.format_exc())
    return record | environment | {"finished": datetime.now(UTC).isoformat(timespec="seconds")}
