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
        self._since = now()
        self._spent, self._evaluations = 0.0, 0

    def __bool__(self) -> bool:
        """Whether there is an end."""
        return self._end < math.inf

    def calibrate(self, seconds: Callable[[], float], workers: int = 1) -> None:
        """Measure what an evaluation of one image takes, where that matters, of as many workers at a time."""
        if self:
            self._spent, self._evaluations = seconds() / workers, 1

    def start(self) -> None:
        """From now on time is spent on images."""
        self._since = self._now()

    def spent(self, evaluations: int) -> None:
        """So many image evaluations were done since this was called last, or since the start."""
        # the calibration is one evaluation, which the first cell outweighs
        self._spent += self._now() - self._since
        self._evaluations += evaluations
        self._since = self._now()

    def affords(self, evaluations: float, reserved: float = 0.0) -> bool:
        """Whether so many image evaluations, and then as many as are reserved, still fit."""
        return not self or self._now() + self.seconds(evaluations + reserved) <= self._end

    def seconds(self, evaluations: float) -> float:
        """About how long so many image evaluations take."""
        return evaluations * self._spent / self._evaluations if self._evaluations else 0.0

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return self._now() >= self._end
