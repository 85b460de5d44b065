"""Runs a study: for each cell skip what is recorded, or time, generate, score and record it."""

import os
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import torch

from bench.cell import Rig, measure, resolve
from bench.environment import describe
from bench.record import SCHEMA, Record, RunFolder, cell_id
from bench.study import Cell, Study, plan


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


def identify(cell: Cell, rig: Rig) -> str:
    """The id of a cell on a rig; UsageError if the grid cannot be placed on the model's schedule."""
    return cell_id(resolve(cell, rig).identity)


def run_study(study: Study, rig: Rig, folder: RunFolder, force: bool, progress: Progress) -> Outcome:
    """Measure every cell of a study that has no good record yet.

    A cell that fails is recorded with its error, never counts as a result, is tried again by the next run, and does not
    stop the others. Whatever kills the run, finished cells stay.

    Args:
        study: what to run.
        rig: everything it runs on.
        folder: where records go; created.
        force: measure again what is recorded.
        progress: told how far the run is.
    """
    cells = {identify(cell, rig): cell for cell in plan(study)}  # fails before anything is written
    folder.create()
    folder.write_manifest(study.model_dump(mode="json"), list(cells))
    found = (
        {} if force else {name: record for name in cells if (record := folder.read(name)) and record["status"] == "ok"}
    )
    waiting = {name: cell for name, cell in cells.items() if name not in found}
    progress.planned(len(waiting), sum(resolve(cell, rig).evaluations for cell in waiting.values()))
    environment = describe(rig.device)
    outcome = Outcome(kept=len(found))
    for name, cell in cells.items():
        if name in found:
            progress.finished(cell, found[name], True)
            continue
        record = _record(name, cell, rig, folder, environment, progress)
        folder.write(record)
        outcome.measured += record["status"] == "ok"
        outcome.failed += record["status"] == "failed"
        progress.finished(cell, record, False)
    return outcome


def _record(
    name: str, cell: Cell, rig: Rig, folder: RunFolder, environment: dict[str, Any], progress: Progress
) -> Record:
    resolved = resolve(cell, rig)
    record: Record = {"schema": SCHEMA, "id": name, "status": "ok", "error": None, "note": None, **resolved.identity}
    record |= {"load_average_1min": os.getloadavg()[0]}  # above this process's own threads: others disturbed it
    record |= {"stochastic": resolved.sampler.stochastic, "device": rig.device.type, **resolved.counts}
    try:
        with torch.inference_mode():
            record |= measure(resolved, rig, folder.preview(name), progress.advanced)
    except Exception as error:  # whatever a sampler raises is that cell's result
        record |= {"status": "failed", "error": f"{type(error).__name__}: {error}"}
        (folder.cells / f"{name}.traceback.txt").write_text(traceback.format_exc())
    return record | environment | {"finished": datetime.now(UTC).isoformat(timespec="seconds")}
