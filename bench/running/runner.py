"""Runs a study: each cell's images are made, scored and recorded; then all settings are timed in rounds. Where images
grow, those of the settings that may be the answer then do, look by look.

Whatever is recorded already is skipped, in every part.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.model_record import read_look
from bench.record import Record, RunFolder
from bench.report.data.looks import decided
from bench.report.data.text import duration
from bench.running.attempts import Attempts
from bench.running.deadline import Deadline
from bench.running.executors.base import Desk, Executor, Wanted
from bench.running.executors.in_process import InProcess
from bench.running.first_look import first_look
from bench.running.growth import Growth
from bench.running.lock import holding
from bench.running.recording import Recording
from bench.running.resolve import Resolved
from bench.running.rounds import Setting, in_rounds, timed_batch
from bench.running.saving import Saving
from bench.running.session import Session
from bench.running.stages import Stage, Stages, in_turn
from bench.running.telling import Progress
from bench.study.plan import Cell
from bench.study.study import Study
from bench.timing.cost import Times
from models.common.errors import UsageError
from models.common.writing import naming


@dataclass
class Outcome:
    """How many cells of a run were measured, were there already, failed, and were left for want of time; of how many
    settings the timing failed, and how many lack rounds of it for want of time.
    """

    measured: int = 0
    kept: int = 0
    failed: int = 0
    untimed: int = 0
    left: int = 0
    unfinished: int = 0


def run_study(
    study: Study,
    session: Session,
    folder: RunFolder,
    force: bool,
    progress: Progress,
    warn: Callable[[str], None] = lambda _: None,
    deadline: Deadline | None = None,
    executor: Callable[[Desk], Executor] = InProcess,
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
        deadline: by when it has to end; None: when all is done.
        executor: makes what measures the cells.

    Raises:
        UsageError: a cell whose sampler, grid and model do not fit together, or a run that a newer version wrote,
            before anything is written; or another run holds the folder.
    """
    folder.refuse_newer()
    read_look(folder.files)  # and so is the look of a newer version
    stages = Stages.of(session, grow=study.until is not None or bool(deadline))
    growth = Growth(folder.growing, pixels=bool(session.save_images)) if len(stages.cells) > 1 else None
    desk, saving = Desk(session, folder, Attempts(folder.cells), growth, warn), Saving(session, folder, stages.cells)
    measures = executor(desk)
    measures.require_same(Wanted(name, each) for name, each in stages.cells[0].items())
    folder.create()
    with holding(folder.path, warn):
        folder.tidy()
        cells = stages.all
        read = {name: folder.read(name, each.identity) for name, each in cells.items()}
        folder.set_aside()
        grown = stages.images if len(stages.images) > 1 else ()
        folder.write_manifest(study.model_dump(mode="json"), stages.listed, stages.published, session.batch, grown)
        first_look(folder.path, measures.look, warn)
        found = {name: record for name, record in read.items() if record is not None and record["status"] == "ok"}
        return _Run(desk, measures, force, progress, stages.cells, found, deadline or Deadline(), saving).all()


class _Run:
    """A run of a study's cells.

    Args:
        desk: what belongs to it.
        executor: measures its cells.
        force: whether those that were found are measured again.
        progress: told how far the run is.
        stages: of each look the cells by their names, in the same order.
        found: the good records that there are.
        deadline: by when to end.
        saving: saves all images of its cells, where that is asked for.
    """

    def __init__(
        self,
        desk: Desk,
        executor: Executor,
        force: bool,
        progress: Progress,
        stages: list[Stage],
        found: dict[str, Record],
        deadline: Deadline,
        saving: Saving,
    ) -> None:
        self._session, self._folder, self._attempts = desk.session, desk.folder, desk.attempts
        self._executor, self._progress, self._stages, self._growth = executor, progress, stages, desk.growth
        self._found, self._timed, self._deadline = found, {} if force else found, deadline
        self._kept = {name: record for name, record in self._timed.items() if not saving.lacks(name)}
        self._outcome, self._ready, self._done = Outcome(), False, set[str]()
        self._recording = Recording(desk.folder, executor.environment, saving)
        first = [Wanted(name, each) for name, each in stages[0].items()]
        expected = executor.evaluations(first, self._kept.__contains__)
        each = [expected[name] for name in stages[0]]
        self._expected = {name: n for stage in stages for name, n in zip(stage, each, strict=True)}
        if force and self._growth is not None:
            for resolved in stages[0].values():
                self._growth.forget(resolved)

    def all(self) -> Outcome:
        """Each look: images and quality. After the first all settings are timed, by which the answer is chosen."""
        first, *others = self._stages
        good = self._measure(in_turn(first) if self._deadline else first, self._evaluations_timed(first))
        self._outcome.untimed = self._time(good)
        for number in range(1, len(self._stages)):
            if self._time_is_up or not (left := self._left(number)):
                break
            self._measure(left)
        for each in others if self._session.study.until is None else ():
            if not self._time_is_up:
                self._measure(each)
        return self._outcome

    def _measure(self, stage: Stage, timed: int = 0) -> dict[str, Record]:
        """The good records of some cells, measured or kept; cells that no time is left for are passed over.

        Args:
            stage: the cells by their names.
            timed: image evaluations that timing them will take.
        """
        lacking = {name: each for name, each in stage.items() if name not in self._kept and name not in self._done}
        waiting = {name: self._making(each) * self._expected[name] for name, each in lacking.items()}
        self._progress.planned(len(waiting), sum(waiting.values()) + timed)
        if waiting:
            self._get_ready()
        good = {name: self._kept[name] for name in stage if name in self._kept}
        begun = dict[str, int]()

        def needs(evaluations: int) -> int:
            """Of a cell of so many, and of timing it and all before it, one after the other."""
            return evaluations + timed * (len(good) + len(begun) + 1) // len(stage)

        turns = self._turns(stage, waiting, begun, needs)
        for measured in self._executor.measure(turns, len(waiting), self._advanced):
            name, resolved = measured.wanted
            record = self._recording.record(measured, self._timed.get(name))
            self._commit(name, resolved, record)
            self._deadline.spent(begun.pop(name), measured.seconds)
            if record["status"] == "ok":
                good[name] = record
        self._done |= {*stage}
        return {name: good[name] for name in stage if name in good}

    def _turns(
        self, stage: Stage, waiting: dict[str, int], begun: dict[str, int], needs: Callable[[int], int]
    ) -> Iterator[Wanted]:
        """The cells that are to be measured, each when it is its turn; the others are told of on the way.

        Args:
            stage: all cells by their names.
            waiting: image evaluations of those to be measured.
            begun: of those that are being measured.
            needs: evaluations that there has to be time for before one of so many is begun.
        """
        for name, each in stage.items():
            if name in waiting:
                if self._deadline.affords(needs(waiting[name])):
                    begun[name] = waiting[name]
                    yield Wanted(name, each)
                    continue
                self._refuse_nothing(each.cell, needs(waiting[name]))
                self._outcome.left += 1
            elif name in self._kept and name not in self._done:
                self._outcome.kept += 1
                self._progress.finished(each.cell, self._kept[name], True)

    @property
    def _time_is_up(self) -> bool:
        """Whether something was left for want of time."""
        return bool(self._outcome.left or self._outcome.unfinished)

    def _refuse_nothing(self, cell: Cell, evaluations: int) -> None:
        """UsageError if not even the first cell fits into the time."""
        if self._outcome == Outcome():
            takes = duration(self._deadline.seconds(evaluations))
            raise UsageError(
                f"there is no time for the first cell: {cell} takes about {takes}; give more --minutes, or have fewer "
                "images at the first look: images = { from = 200, to = 5000 }"
            )

    def _commit(self, name: str, resolved: Resolved, record: Record) -> None:
        """Write what was measured, unless it failed where a good record is."""
        good = record["status"] == "ok"
        if good or name not in self._found:
            self._folder.write(record)
        self._outcome.measured += good
        self._outcome.failed += not good
        if good:
            self._kept[name] = record
            self._attempts.forget(name)
        self._progress.finished(resolved.cell, record, False)

    def _making(self, resolved: Resolved) -> int:
        """How many images of a cell are still to be made."""
        return max(0, resolved.images - (0 if self._growth is None else self._growth.images(resolved)))

    def _left(self, number: int) -> Stage:
        """The cells of a look that what was seen in those before it leaves in question; what others have is removed."""
        decisions = decided(self._folder.path, number)
        if decisions.done < number or decisions.decided:
            return {}
        places = {name: n for n, name in enumerate(self._stages[number - 1])}
        going = {places[cell] for key in decisions.left for cell in decisions.rows[key]["cells"]}
        for n, each in enumerate(self._stages[number].values()):
            if n not in going and self._growth is not None and self._session.study.until is not None:
                self._growth.forget(each)
        return {name: each for n, (name, each) in enumerate(self._stages[number].items()) if n in going}

    def _get_ready(self) -> None:
        """Once, before the first image is made or timed."""
        if not self._ready:
            self._executor.get_ready()
            self._deadline.calibrate(self._executor.rate)
        self._ready = True

    def _advanced(self, name: str, images: int) -> None:
        with naming(Path("the progress")):  # as on a terminal that is gone
            self._progress.advanced(images * self._expected[name])

    def _evaluations_timed(self, stage: Stage) -> int:
        """Image evaluations of the rounds that settings lack, of one call each."""
        rule, first = self._session.study.timing, dict[Cell, int]()
        for name, each in stage.items():
            there = self._timed.get(name, {}).get("timing_rounds") or 0
            first.setdefault(each.cell.setting, max(0, rule.repeats - there) * self._expected[name])
        return sum({self._session.batch, *rule.batches}) * sum(first.values())

    def _time(self, good: dict[str, Record]) -> int:
        """The second part: all settings that lack rounds, in the records of their first seeds; how many failed."""
        session, rule = self._session, self._session.study.timing
        cells = self._stages[0]
        first, settings = {cells[name].cell.setting: name for name in reversed(good)}, list[Setting]()
        for name in reversed(first.values()):
            times = Times.of_record(good[name], timed_batch(good[name], session.batch), rule.batches)
            settings.append(Setting(cells[name], good[name], times, preview=self._folder.preview(name)))
        if any(setting.times.rounds < rule.repeats for setting in settings):
            self._get_ready()

        def done(setting: Setting, images: int) -> None:
            self._folder.write(setting.columns)
            self._advanced(setting.columns["id"], images)
            if not setting.failed:
                self._attempts.forget(setting.columns["id"])
            if setting.failed or setting.times.rounds >= rule.repeats:
                self._progress.timed(setting.resolved.cell, setting.columns)

        in_rounds(settings, rule.repeats, self._executor.visit, done, lambda: self._deadline.is_over)
        self._outcome.unfinished = sum(each.times.rounds < rule.repeats and not each.failed for each in settings)
        return sum(setting.failed for setting in settings)
