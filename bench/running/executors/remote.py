"""Measures the cells of a run with workers, each of which has a device of its own and gets one piece of work at a time.

What a worker makes of some images of a cell comes back as a part; when all parts are there one worker scores them.
Only this process writes: records, previews, and what was worked out once. A piece of work is given out when there is a
worker for it, so that never more of them wait than there are workers.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import partial
from math import ceil, lcm
from pathlib import Path
from typing import Any, TypeVar

from bench.environment import command
from bench.model_record import Look
from bench.quality.statistics import BLOCKS
from bench.running.executors.base import Advanced, Desk, Measured, Wanted
from bench.running.executors.crew import MOST_LOSSES, Crew, Died, Lost, Slot, TookTooLong, waited
from bench.running.executors.messages import Files, Job, Reply
from bench.running.executors.pieces import Once, Open, Piece, divided
from bench.running.executors.worker import Worker, files_of
from bench.running.measuring import Failure, Found, Measuring
from bench.running.part import joined, packed, unpacked
from bench.running.rounds import Setting, timed_batch
from bench.timing.cost import Times
from models.common.errors import UsageError
from models.common.writing import naming, write_bytes, write_text

Result = TypeVar("Result")

_PIECES = 4
"""Pieces of work a worker that a study's cells are divided into at least, where their images allow."""
_LEAST_S = 0.1
"""Seconds of a piece of work whose cell has none left."""


class Remote:
    """An executor.

    Args:
        crew: the workers, which were started.
        desk: of the run.
    """

    def __init__(self, crew: Crew, desk: Desk) -> None:
        self._crew, self._desk, session = crew, desk, desk.session
        self._planned = Measuring(session, desk.folder.solutions, desk.folder.fits)
        self._once, self._sent = Once(), {slot: set[Path]() for slot in crew.slots}
        self._unit = lcm(session.batch, BLOCKS, 1 if session.extractor is None else session.extractor.batch)

    @property
    def workers(self) -> int:
        return len(self._crew.slots)

    @property
    def environment(self) -> Mapping[str, Any]:
        return self._crew.about.environment | {"command": command()}

    def look(self, before: Look, warn: Callable[[str], None]) -> Look:
        try:
            found, said = self._ask(Worker.look, self._desk.session.given, before.model_dump_json())
        except Died as death:
            found, said = before.model_dump_json(), [f"the models could not be looked at: a worker {death.how}"]
        for text in said:
            warn(text)
        return Look.model_validate_json(found)

    def require_same(self, cells: Iterable[Wanted]) -> None:
        kinds = {replace(each.resolved.cell, steps=0, seed=0): Job.of(each.resolved) for each in cells}
        jobs = [*kinds.values()]  # what a machine has another version of differs in one of these
        calls = [partial(slot.call, Worker.require_same, jobs) for slot in self._crew.slots if slot.is_up]
        for asked in [self._crew.submit(call) for call in calls]:
            waited([asked])
            with suppress(Died, Lost):
                asked.result()

    def evaluations(self, cells: Iterable[Wanted], kept: Callable[[str], bool]) -> dict[str, int]:
        wanted, found = list(cells), None
        with suppress(Died):  # one of them does that, which is asked again when it is measured, and named there
            if self._crew.timeout is None:
                found = self._ask(Worker.evaluations, [Job.of(each.resolved) for each in wanted])
        counts = [self._evaluations(each) for each in wanted] if found is None else found
        return {each.name: count for each, count in zip(wanted, counts, strict=True)}

    def _evaluations(self, wanted: Wanted) -> int:
        """Of one cell, which may crash or hang."""
        try:
            return self._ask(Worker.evaluations, [Job.of(wanted.resolved)], timeout=self._crew.timeout)[0]
        except Died:
            return len(wanted.resolved.guidance.evaluated) * (len(wanted.resolved.levels) - 1)

    def get_ready(self) -> None:
        """Workers are, as soon as they are started."""

    def rate(self) -> float:
        try:
            return self._ask(Worker.rate)
        except Died as death:
            raise UsageError(f"evaluations of the network could not be timed: a worker {death.how}") from None

    def visit(self, setting: Setting) -> int:
        resolved, rule, session = setting.resolved, self._desk.session.study.timing, self._desk.session
        preview = setting.preview.read_bytes() if setting.preview is not None and setting.preview.is_file() else None
        files = files_of(self._desk.folder.path, self._planned.fits.places(resolved))
        given, most = (Job.of(resolved), setting.columns, preview, files), self._crew.timeout
        try:
            self._ask(Worker.get_ready)  # the same one, whatever it takes
            timed = self._ask(Worker.visit, *given, timeout=most, spoilt=lambda each: each.spoilt)
        except Died as death:
            return self._untimed(setting, death)
        if not timed.failed:
            self._desk.folder.traceback(setting.columns["id"]).unlink(missing_ok=True)
        setting.columns |= timed.columns
        setting.failed = timed.failed
        setting.times = Times.of_record(setting.columns, timed_batch(setting.columns, session.batch), rule.batches)
        return timed.images

    def _untimed(self, setting: Setting, death: Died) -> int:
        """A round of timing has ended its worker; the images drawn that are known of."""
        name = setting.columns["id"]
        if not isinstance(death, TookTooLong):
            self._desk.attempts.died(name, "its timing")
        if death.trace is not None:
            write_text(self._desk.folder.traceback(name), death.trace)
        setting.fail(f"it {death.how}")
        return 0

    def _ask(
        self,
        function: Callable[..., Result],
        *arguments: Any,
        timeout: float | None = None,
        spoilt: Callable[[Result], bool] = lambda _: False,
    ) -> Result:
        """What the first worker says, which is ended if that is `spoilt`; another one's if its machine is lost."""
        for _ in range(MOST_LOSSES):
            slot = self._crew.take()
            try:
                asked = self._crew.do(slot, function, *arguments, timeout=timeout)
                waited([asked])
                found = asked.result()
                if spoilt(found):
                    slot.end()
                return found
            except Lost:
                continue
            finally:
                self._leave(slot)
        raise UsageError("every worker was lost, again and again; see that its machines are up")

    def measure(self, cells: Iterable[Wanted], count: int, advanced: Advanced) -> Iterator[Measured]:
        waiting, opened, running = iter(cells), list[Open](), dict[Future[Reply], tuple[Slot, Piece]]()
        pieces = max(1, ceil(_PIECES * self.workers / max(1, count)))
        crew, piece = self._crew, self._next(opened, waiting, pieces)
        while True:
            while len(running) < self.workers:
                piece = piece or self._next(opened, waiting, pieces)
                if piece is None:
                    break
                if (slot := crew.free()) is None:
                    crew.call_up()
                    break
                running[self._given(slot, piece)] = slot, piece
                piece = None
            if not running and piece is None:
                assert not opened, "a cell waits for what nobody does"
                return
            for future in crew.done(running):
                slot, made = running.pop(future)
                made.cell.under_way -= 1
                outcome = self._outcome(future, slot, made, advanced)
                self._leave(slot)
                if outcome is not None and not made.cell.over:
                    made.cell.over = True
                    opened.remove(made.cell)
                    if piece is not None and piece.cell is made.cell:
                        self._take_back(piece)
                        piece = None
                    yield Measured(made.cell.wanted, outcome, made.cell.seconds)

    def _leave(self, slot: Slot) -> None:
        """A worker has nothing to do any more, or has ended, with all that it was sent."""
        if not slot.is_up:
            self._sent[slot].clear()
        self._crew.leave(slot)

    def _next(self, opened: list[Open], waiting: Iterator[Wanted], pieces: int) -> Piece | None:
        """What can be done next; None: nothing before something else is done."""
        for cell in opened:
            if (piece := self._piece(cell)) is not None:
                cell.under_way += 1
                return piece
        while len(opened) < 2 * self.workers and (wanted := next(waiting, None)) is not None:
            opened.append(self._opened(wanted, pieces))
            if (piece := self._piece(opened[-1])) is not None:
                opened[-1].under_way += 1
                return piece
        return None

    def _opened(self, wanted: Wanted, pieces: int) -> Open:
        """A cell whose images are divided into about so many pieces, of whole batches and extractor batches."""
        resolved, growth, planned = wanted.resolved, self._desk.growth, self._planned
        before = None if growth is None else growth.read(resolved)
        missing = range(0 if before is None else before.end, resolved.images)
        ranges = divided(missing, self._unit, pieces, self._crew.most)
        problem = planned.cells.problem(resolved)
        solution = None if problem is None else planned.solutions.place(problem)
        return Open(wanted, ranges, planned.fits.places(resolved), solution, None if before is None else packed(before))

    def _piece(self, cell: Open) -> Piece | None:
        """What can be done of a cell next."""
        if (fit := next((each for each in cell.fits if not self._once.is_settled(each)), None)) is not None:
            return Piece(cell, file=fit) if self._once.begin(fit) else None
        if cell.ranges:
            alone = len(cell.ranges) == 1 and not cell.parts and not cell.under_way
            return Piece(cell, cell.ranges.popleft(), score=alone and self._once.is_settled(cell.solution))
        if cell.under_way:
            return None
        if cell.solution is not None and not self._once.is_settled(cell.solution):
            # after some images: a network that hangs does so there, in time
            return Piece(cell, file=cell.solution) if self._once.begin(cell.solution) else None
        return Piece(cell, score=True)

    def _given(self, slot: Slot, piece: Piece) -> "Future[Reply]":
        """A piece of work is given to a worker; what will come of it."""
        cell, crew = piece.cell, self._crew
        job, images = Job.of(cell.wanted.resolved), None if piece.images is None else piece.images
        files = self._lacking(slot, [*cell.fits, cell.solution if piece.score else None])
        parts, keep = cell.all_parts if piece.score else [], self._desk.growth is not None

        def done() -> Reply:
            if piece.file is not None:
                fit = piece.file.name if piece.file in cell.fits else None
                return slot.call(Worker.work_out, job, files, fit, timeout=None if fit is None else crew.timeout)
            start = time.monotonic()
            left = None if crew.timeout is None else max(_LEAST_S, crew.timeout - cell.seconds)
            try:
                return slot.call(Worker.measure, job, images, parts, files, piece.score, keep, timeout=left)
            finally:
                cell.seconds += time.monotonic() - start

        return crew.submit(done)

    def _lacking(self, slot: Slot, paths: Sequence[Path | None]) -> Files:
        """The files of the run that are there, of these, and that a worker was not sent yet."""
        found = files_of(self._desk.folder.path, [path for path in paths if path not in self._sent[slot]])
        self._sent[slot] |= {self._desk.folder.path / name for name in found}
        return found

    def _outcome(self, future: "Future[Reply]", slot: Slot, piece: Piece, advanced: Advanced) -> Found | Failure | None:
        """What a piece of work makes of its cell, if that is over now."""
        cell, name = piece.cell, piece.cell.wanted.name
        try:
            reply = future.result()
        except (Died, Lost) as end:
            self._take_back(piece)
            return self._ended(cell, end)
        if reply.spoilt:
            slot.end()
        if piece.file is not None:
            self._once.settle(piece.file)
        for path, content in ((self._desk.folder.path / file, each) for file, each in reply.files.items()):
            if path not in (*cell.fits, cell.solution):  # whatever a worker says, nothing else is written
                continue
            with naming(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_bytes(path, content)
        if reply.failure is not None or cell.over:
            return reply.failure
        if piece.images is not None:
            advanced(name, len(piece.images))
        if reply.part is not None:
            cell.parts.append(reply.part)
            if self._desk.growth is not None and not cell.ranges and not cell.under_way:
                self._desk.growth.write(cell.wanted.resolved, joined([unpacked(part) for part in cell.all_parts]))
        return None if reply.found is None else reply.found.unpacked()

    def _take_back(self, piece: Piece) -> None:
        """Let a piece of work be done by another worker."""
        if piece.file is not None:
            self._once.take_back(piece.file)
        if piece.images is not None:
            piece.cell.ranges.appendleft(piece.images)

    def _ended(self, cell: Open, end: Died | Lost) -> Failure | None:
        """What it means to a cell that a worker has ended; None: it is tried again, or over already."""
        if cell.over:
            return None
        if isinstance(end, Lost):
            cell.losses += 1
            return Failure("every machine that it ran on was lost") if cell.losses >= MOST_LOSSES else None
        if isinstance(end, TookTooLong):
            return Failure(f"it took longer than {self._crew.timeout:g} s (timeout)", end.trace)
        cell.deaths += 1
        self._desk.attempts.died(cell.wanted.name, "its images")
        if cell.deaths < self._crew.attempts:
            return None
        tried = f", as it did when it was tried before ({cell.deaths} attempts)" if cell.deaths > 1 else ""
        return Failure(f"it {end.how}{tried}", end.trace)
