"""A budget of time: what is begun must fit into what is left of it."""

import math
import time
from collections.abc import Callable


class Deadline:
    """How much time a run has.

    What will be needed is told from how long images took so far; before the first, from evaluations alone.

    Args:
        seconds: from now on; infinite: there is no end.
        now: the clock.
    """

    def __init__(self, seconds: float = math.inf, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._end = now, now() + seconds
        self._spent, self._evaluations = 0.0, 0

    def __bool__(self) -> bool:
        """Whether there is an end."""
        return self._end < math.inf

    def calibrate(self, seconds: Callable[[], float]) -> None:
        """Measure what an evaluation of one image takes, where that matters."""
        if self:
            self._spent, self._evaluations = seconds(), 1

    def spent(self, evaluations: int, seconds: float) -> None:
        """So many image evaluations took a worker so long."""
        # the calibration is one evaluation, which the first cell outweighs
        self._spent += seconds
        self._evaluations += evaluations

    def affords(self, evaluations: float) -> bool:
        """Whether so many image evaluations of one worker still fit."""
        return not self or self._now() + self.seconds(evaluations) <= self._end

    def seconds(self, evaluations: float) -> float:
        """About how long so many image evaluations take a worker."""
        return evaluations * self._spent / self._evaluations if self._evaluations else 0.0

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return self._now() >= self._end
