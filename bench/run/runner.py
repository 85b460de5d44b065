"""Runs a study in two parts: each cell's images are made, scored and recorded; then all settings are timed in rounds.

Whatever is recorded already is skipped, in either part.
"""

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from bench.environment import describe
from bench.model_record import read_look
from bench.purity.unchanged import ProcessState, put_back
from bench.quality.images import save_preview
from bench.record import SCHEMA, Record, RunFolder, cell_id, fault_of_identity, fault_once_written
from bench.run.attempts import Attempts
from bench.run.cell import measure
from bench.run.first_look import first_look
from bench.run.lock import holding
from bench.run.resolve import Resolved, resolve
from bench.run.rounds import Rounds, Setting
from bench.run.session import Session
from bench.run.solution import Solutions
from bench.run.study_flops import StudyFlops
from bench.study.placement import grid_ends
from bench.study.plan import Cell, Expectation, expectations, plan
from bench.study.study import Study
from bench.timing.capture import graphs_on
from bench.timing.clock import Stopwatch
from bench.timing.cost import Times
from bench.timing.memory import Halving
from bench.timing.monitor import monitor_of
from models.common.errors import NotWritten, UsageError
from models.common.files import sha256_of
from models.common.writing import naming, write_text
from models.plugins.foreign import INTERRUPTIONS, foreign, told, trace
from models.plugins.plain import NotPlain, plain
from samplers.about import declared_evaluations


@dataclass
class Outcome:
    """How many cells of a run were measured, were there already, and failed; of how many settings the timing did."""

    measured: int = 0
    kept: int = 0
    failed: int = 0
    untimed: int = 0


class Progress(Protocol):
    """What a run tells while it works."""

    def planned(self, cells: int, evaluations: int) -> None:
        """Once: the cells to measure, and the image evaluations that they will take."""

    def advanced(self, evaluations: int) -> None:
        """Image evaluations done; between timed regions only."""

    def finished(self, cell: Cell, record: Record, kept: bool) -> None:
        """Every cell's record, and whether it was there already; without times, unless it was."""

    def timed(self, cell: Cell, record: Record) -> None:
        """The record of a setting that has been timed in all its rounds."""


def run_study(
    study: Study,
    session: Session,
    folder: RunFolder,
    force: bool,
    progress: Progress,
    warn: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Measure every cell of a study that has no good record yet, and time every setting that is not timed yet.

    A cell that fails is recorded with its error, never counts as a result, is tried again by the next run, and does not
    stop the others. Whatever kills the run, finished cells and finished rounds of timing stay; with `force` a good
    record is replaced by a good one only.

    Args:
        study: what to run.
        session: everything it runs on.
        folder: where records go; created.
        force: measure again what is recorded.
        progress: told how far the run is.
        warn: told, before the first cell, what is wrong with the models.

    Raises:
        UsageError: a cell whose sampler, grid and model do not fit together, or a run that a newer version wrote,
            before anything is written; or another run holds the folder.
    """
    folder.refuse_newer()
    read_look(folder.path)  # and so is the look of a newer version
    with put_back(f"planning the study {study.name!r}"):
        resolved = [(cell, _resolved(cell, session)) for cell in plan(study)]
        published = expectations(study)
    names = {cell: _name(each) for cell, each in resolved}
    # where a model has no range to clip to, a clipped cell and one that is not are the same
    cells = {names[cell]: each for cell, each in resolved}
    folder.create()
    with holding(folder.path, warn):
        folder.tidy()
        read = {name: folder.read(name, each.identity) for name, each in cells.items()}
        folder.set_aside()
        entries = [_published(names[each.cell], each) for each in published]
        folder.write_manifest(study.model_dump(mode="json"), list(cells), entries, session.batch)
        first_look(session, folder.path, warn)
        found = {name: record for name, record in read.items() if record is not None and record["status"] == "ok"}
        return _Run(session, folder, force, progress, cells, found).all()


class _Run:
    """A run of a study's cells, given by their names, of which some were found."""

    def __init__(
        self,
        session: Session,
        folder: RunFolder,
        force: bool,
        progress: Progress,
        cells: dict[str, Resolved],
        found: dict[str, Record],
    ) -> None:
        self._session, self._folder, self._progress, self._cells = session, folder, progress, cells
        self._found, self._kept = found, {} if force else found
        self._attempts = Attempts(folder.cells)
        self._compile_s: dict[int, float] = {}
        self._warm = False
        before = ProcessState()
        self._expected = {name: self._asked(name, each) for name, each in cells.items()}
        before.put_back()  # whoever changes it here does so again when its cell is measured, and is named there
        self._environment = describe(session.device)
        self._graphs = graphs_on(session.device)

    def all(self) -> Outcome:
        """Both parts."""
        waiting = [name for name in self._cells if name not in self._kept]
        self._progress.planned(len(waiting), self._evaluations(waiting))
        self._warm = bool(waiting)
        if self._warm:
            self._session.warm_up()
        outcome, good = Outcome(kept=len(self._kept)), dict[str, Record]()
        for name, each in self._cells.items():
            kept = name in self._kept
            record = self._kept[name] if kept else self._measured(name, each)
            if not kept and (record["status"] == "ok" or name not in self._found):
                self._folder.write(record)
            outcome.measured += not kept and record["status"] == "ok"
            outcome.failed += record["status"] == "failed"
            if record["status"] == "ok":
                good[name] = record
                if not kept:
                    self._attempts.forget(name)
            self._progress.finished(each.cell, record, kept)
        outcome.untimed = self._time(good)
        return outcome

    def _evaluations(self, waiting: list[str]) -> int:
        """Image evaluations of what waits to be measured, and of the rounds that settings lack, of one call each."""
        study = self._session.study
        rounds, first = study.timing.repeats, dict[Cell, int]()
        for name, each in self._cells.items():
            there = self._kept.get(name, {}).get("timing_rounds") or 0
            first.setdefault(each.cell.setting, max(0, rounds - there) * self._expected[name])
        images = sum({self._session.batch, *study.timing.batches})
        return study.images * sum(self._expected[name] for name in waiting) + images * sum(first.values())

    def _asked(self, name: str, resolved: Resolved) -> int:
        """Evaluations an image, as `_expected` has them; none of a cell that is passed over."""
        if self._attempts.refusal(name) is not None:
            return 0
        with nullcontext() if name in self._kept else self._attempts.attempt(name, "its evaluations"):
            return _expected(resolved)

    def _measured(self, name: str, resolved: Resolved) -> Record:
        """The record of a cell, measured now; its preview is written before it."""
        session, model = self._session, resolved.model
        record: Record = {"schema": SCHEMA, "id": name, "status": "ok", "error": None, "note": None}
        record |= {**resolved.identity, "device": session.device.type, "intervals": len(resolved.levels) - 1}
        record |= {"load_average_1min": os.getloadavg()[0]}  # above this process's own threads: others disturbed it
        record |= {"model_source": model.source, "model_variance": model.card.variance}
        record |= {"model_weights_sha256": model.weights_sha256}  # what a study may pin
        log = self._folder.cells / f"{name}.traceback.txt"
        if (refusal := self._attempts.refusal(name)) is not None:
            record |= {"status": "failed", "error": refusal}
            log.unlink(missing_ok=True)
        else:
            with self._attempts.attempt(name, "its images"):
                record |= self._tried(name, resolved, record, log)
        return record | self._environment | {"finished": datetime.now(UTC).isoformat(timespec="seconds")}

    def _tried(self, name: str, resolved: Resolved, known: Record, log: Path) -> Record:
        """What a cell adds to what is known of it before; a failure's traceback is written to the log."""
        expected = self._expected[name]

        def advanced(images: int) -> None:
            with naming(Path("the progress")):  # as on a terminal that is gone
                self._progress.advanced(images * expected)

        ends: Record = {}
        try:
            ends = dict(grid_ends(resolved.sampler, resolved.levels))
            with torch.inference_mode():
                compiled: Record = {"compile_s": self._compiled(resolved)}
                solutions = Solutions(self._folder.solutions)
                found = measure(resolved, self._session, self._graphs, solutions, advanced)
            columns = _sound(ends | compiled | found.columns, known | self._environment)
        except (NotWritten, *INTERRUPTIONS):
            raise  # a full disk is no sampler's failure
        except BaseException as error:  # whatever a sampler raises is that cell's result
            write_text(log, trace(error))
            return ends | {"status": "failed", "error": told(error)}
        save_preview(found.preview, self._folder.preview(name))
        log.unlink(missing_ok=True)
        return columns | {"preview_sha256": sha256_of(self._folder.preview(name))}

    def _compiled(self, resolved: Resolved) -> float | None:
        """Seconds of the first evaluation of a compiled network, in which it is compiled.

        None where the search for the fastest batch has compiled it before.
        """
        searched = self._session.study.batch == "auto" and resolved.model is self._session.plainest
        if not resolved.mode.compile or searched:
            return None
        key = id(resolved.model)
        if key not in self._compile_s:
            first = partial(self._session.first_evaluation_s, resolved.model)
            self._compile_s[key] = Halving(self._session.batch)(first)
        return self._compile_s[key]

    def _time(self, good: dict[str, Record]) -> int:
        """The second part: all settings that lack rounds, in the records of their first seeds; how many failed."""
        session, rule = self._session, self._session.study.timing
        first = {self._cells[name].cell.setting: name for name in reversed(good)}
        settings = []
        for name in reversed(first.values()):
            times = Times.of_record(good[name], _batch(good[name], session.batch), rule.batches)
            settings.append(Setting(self._cells[name], good[name], times, preview=self._folder.preview(name)))
        if not self._warm and any(setting.times.rounds < rule.repeats for setting in settings):
            session.warm_up()  # nothing was generated: every image was there already

        def done(setting: Setting, images: int) -> None:
            self._folder.write(setting.columns)
            self._progress.advanced(images * self._expected[setting.columns["id"]])
            if not setting.failed:
                self._attempts.forget(setting.columns["id"])
            if setting.failed or setting.times.rounds >= rule.repeats:
                self._progress.timed(setting.resolved.cell, setting.columns)

        for setting in settings:
            refusal = self._attempts.refusal(setting.columns["id"])
            if refusal is not None and setting.times.rounds < rule.repeats:
                setting.fail(refusal)
                done(setting, 0)
        watches = monitor_of(session.device), Stopwatch(session.device)
        rounds = Rounds(session, self._graphs, *watches, StudyFlops(session).of)
        rounds.run(settings, done, lambda setting: self._attempts.attempt(setting.columns["id"], "its timing"))
        return sum(setting.failed for setting in settings)


def _published(cell: str, expected: Expectation) -> dict[str, Any]:
    """A manifest's entry: what was published, and which cell is to reproduce it, in words too."""
    content = {field.name: getattr(expected, field.name) for field in fields(expected) if field.name != "cell"}
    words = {name: getattr(expected.cell, name) for name in ("sampler", "grid", "steps", "model")}
    return {"cell": cell} | words | content


def _resolved(cell: Cell, session: Session) -> Resolved:
    """A cell made ready; UsageError, too, for whatever its sampler or grid raises meanwhile."""
    with foreign(str(cell)):
        return resolve(cell, session)


def _name(resolved: Resolved) -> str:
    """The id of a cell; UsageError if no record could hold what determines it."""
    if (wrong := fault_of_identity(resolved.identity)) is not None:
        raise UsageError(
            f"{resolved.cell}: no record can hold it, which has values of JSON, lists and tables three deep at most: "
            f"{wrong}"
        )
    return cell_id(resolved.identity)


def _sound(columns: Record, known: Record) -> Record:
    """Columns as a record holds them; ValueError if they, with those known before, make no sense."""
    try:
        found: Record = plain(columns)
        wrong = fault_once_written(known | found)
    except NotPlain as error:
        wrong = str(error)
    if wrong is not None:
        raise ValueError(f"what was measured makes no sense: {wrong}")
    return found


def _batch(record: Record, otherwise: int) -> int:
    """Images that a setting is timed with: as many as were made at a time, or fewer where those did not fit later."""
    made = int(record.get("generation_batch") or otherwise)
    return min(made, record.get("timed_batch") or made)


def _expected(resolved: Resolved) -> int:
    """Evaluations an image, for the time estimate; a sampler that cannot say counts as one a step."""
    try:
        declared = declared_evaluations(resolved.cell.sampler, resolved.sampler, resolved.levels)
    except UsageError:  # its cell fails when it is measured
        declared = None
    return declared or len(resolved.levels) - 1
