"""What a grid is.

A grid of N steps has N + 1 levels, strictly descending: N noisy ones and the clean level, which the last step goes to;
with `clean=False` it has N + 1 noisy ones and sampling ends at the lowest. The next level of a step is always the next
entry, never an index computed from a step ratio (which is wrong whenever N does not divide T).
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, final

from models.common.errors import UsageError
from models.common.explain import shown
from models.plugins.bibtex import check_entries
from models.plugins.registry import Registry
from models.schedule import Level, Schedule


class TooManySteps(UsageError):
    """A schedule does not have as many levels as a grid of so many steps needs; fewer steps may do."""


@dataclass(frozen=True)
class Grid(ABC):
    """A rule that places steps.

    Attributes:
        bibtex: entries for the bibliography of whoever shows its rows, as BibTeX has them: a plugin's.
        clean: whether the last step goes to the clean level; otherwise sampling ends at the grid's lowest noisy level.
    """

    bibtex: ClassVar[str] = ""
    clean: bool = True

    @abstractmethod
    def times(self, schedule: Schedule, count: int) -> list[float]:
        """`count` noisy times of the schedule in (0, 1], descending; the first is its t_max unless told otherwise."""

    @final
    def __call__(self, schedule: Schedule, steps: int) -> list[Level]:
        """The levels of a grid of `steps` steps: descending, `steps + 1` of them.

        Raises:
            TooManySteps: more noisy levels than the network was trained on, or than there are between the grid's ends.
            UsageError: fewer steps than 1, or times that do not descend.
        """
        count = steps if self.clean else steps + 1
        most = schedule.train_steps
        if steps < 1 or (most is not None and count > most):
            allowed = "at least 1" if most is None else f"1 to {most - (not self.clean)} (trained on {most} levels)"
            raise TooManySteps(f"cannot place {steps} steps; expected {allowed}")
        times = self.times(schedule, count)
        if any(later >= earlier for earlier, later in pairwise(times)):
            repeats = all(later <= earlier for earlier, later in pairwise(times))
            raise (TooManySteps if repeats else UsageError)(f"grid times must descend, got {shown(times)}")
        if most is not None and times[-1] < schedule.t_min * (1.0 - 1e-9):
            raise UsageError(f"the grid goes down to t = {times[-1]:.3g}, below 1/{most}, the lowest level of training")
        return [schedule.level(time) for time in ([*times, 0.0] if self.clean else times)]


def _examine(name: str, grid: Grid) -> None:
    check_entries(f"grid {name!r}", type(grid), grid.bibtex)


GRIDS: Registry[Grid] = Registry("grid", Grid, examine=_examine)


def sigma_range(schedule: Schedule, low: float | None, high: float | None) -> tuple[float, float]:
    """The lowest and highest sigma / alpha of a grid: as given, else the schedule's own; UsageError if not on it."""
    low = math.exp(-schedule.level(schedule.t_min).logsnr) if low is None else low
    high = math.exp(-schedule.level(schedule.t_max).logsnr) if high is None else high
    check_range("sigma_min", low, "sigma_max", high)
    if high > (highest := schedule.level(1.0).ratio) * (1.0 + 1e-9):
        raise UsageError(f"sigma_max={high!r} lies above the schedule's noisiest level, sigma / alpha = {highest:.6g}")
    return low, high


def check_range(low_name: str, low: float, high_name: str, high: float) -> None:
    if not -math.inf < low < high < math.inf:
        raise UsageError(f"expected finite {low_name} < {high_name}, got {low!r} and {high!r}; set them on the grid")
