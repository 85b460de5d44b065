"""Measures the cells of a run in this process, one after the other."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from functools import cached_property, partial
from typing import Any

from bench.environment import describe
from bench.model_record import Look
from bench.purity.unchanged import ProcessState
from bench.running.executors.base import Advanced, Desk, Measured, Wanted
from bench.running.first_look import looked
from bench.running.measuring import Failure, Found, Measuring
from bench.running.part import joined
from bench.running.rounds import Rounds, Setting
from bench.running.stages import expected_evaluations
from bench.running.study_flops import StudyFlops
from bench.timing.capture import graphs_on
from bench.timing.clock import Stopwatch
from bench.timing.monitor import monitor_of


class InProcess:
    """An executor.

    A note is left of each cell while it is worked on, so that one that has ended the process twice is passed over.

    Args:
        desk: of the run.
    """

    workers = 1

    def __init__(self, desk: Desk) -> None:
        self._desk, self._session, self._attempts = desk, desk.session, desk.attempts
        self._measuring = Measuring(desk.session, desk.folder.solutions, desk.folder.fits)

    @cached_property
    def environment(self) -> Mapping[str, Any]:
        return describe(self._session.device) | {"device": self._session.device.type}

    def look(self, before: Look, warn: Callable[[str], None]) -> Look:
        return looked(self._session, before, warn)

    def require_same(self, cells: Iterable[Wanted]) -> None:
        """They are."""

    def evaluations(self, cells: Iterable[Wanted], kept: Callable[[str], bool]) -> dict[str, int]:
        before, found = ProcessState(), dict[str, int]()
        for name, resolved in cells:
            if self._attempts.refusal(name) is not None:
                found[name] = 0
                continue
            with nullcontext() if kept(name) else self._attempts.attempt(name, "its evaluations"):
                found[name] = expected_evaluations(resolved)
        before.put_back()  # whoever changes it here does so again when its cell is measured, and is named there
        return found

    def get_ready(self) -> None:
        self._session.warm_up()

    def rate(self) -> float:
        return self._session.rate(self._session.plainest, 0.5).seconds

    def measure(self, cells: Iterable[Wanted], count: int, advanced: Advanced) -> Iterator[Measured]:
        for wanted in cells:
            if (refusal := self._attempts.refusal(wanted.name)) is not None:
                yield Measured(wanted, Failure(refusal))
                continue
            load, start = os.getloadavg()[0], time.monotonic()
            with self._attempts.attempt(wanted.name, "its images"):
                outcome = self._outcome(wanted, partial(advanced, wanted.name))
            yield Measured(wanted, outcome, time.monotonic() - start, {"load_average_1min": load})

    def _outcome(self, wanted: Wanted, advanced: Callable[[int], None]) -> Found | Failure:
        resolved, growth = wanted.resolved, self._desk.growth
        before = None if growth is None else growth.read(resolved)
        parts = [] if before is None else [before]
        if (done := 0 if before is None else before.end) < resolved.images:
            made = self._measuring.part(resolved, range(done, resolved.images), advanced, before)
            if isinstance(made, Failure):
                return made
            parts.append(made)
            if growth is not None:
                growth.write(resolved, joined(parts))
        return self._measuring.quality(resolved, parts)

    def visit(self, setting: Setting) -> int:
        if (refusal := self._attempts.refusal(setting.columns["id"])) is not None:
            setting.fail(refusal)
            return 0
        with self._attempts.attempt(setting.columns["id"], "its timing"):
            return self._rounds.visit(setting)

    @cached_property
    def _rounds(self) -> Rounds:
        session = self._session
        watches = monitor_of(session.device), Stopwatch(session.device)
        return Rounds(session, graphs_on(session.device), *watches, StudyFlops(session).of, self._measuring.fits)
