"""Grids that are fitted to a model before they are used."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, final

from models.common.explain import shown
from models.fitted import Fitted
from models.grids.base import Grid
from models.grids.by_time import Power
from models.schedule import Level, Schedule

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class FittedGrid(Grid, Fitted):
    """A grid whose levels between its ends are found out; it starts at the schedule's noisiest level, and ends at its
    lowest one if it is not `clean`.

    Until it is fitted it is even in time, so that plans and counts can be made.

    Attributes:
        fits_sampler: the specification of the sampler that it is fitted to; "own": the one that it is run with; None:
            none.
        fits_grid: that of the grid that the fit starts from, if one is named.
    """

    fits_sampler: ClassVar[str | None] = None
    fits_grid: ClassVar[str | None] = None

    @final
    def times(self, schedule: Schedule, count: int) -> list[float]:
        self.check(schedule, count - (not self.clean))
        return Power(exponent=1.0).times(schedule, count)

    def check(self, schedule: Schedule, steps: int) -> None:
        """UsageError if it cannot be fitted in so many steps, whatever the model says."""

    @abstractmethod
    def read(self, found: Mapping[str, Tensor], steps: int) -> list[float]:
        """The noisy times, descending."""

    @final
    def fitted(self, schedule: Schedule, steps: int, found: Mapping[str, Tensor]) -> list[Level]:
        """The levels that were found.

        Raises:
            ValueError: they are not as many, do not descend, or do not have the ends of the grid.
        """
        before, times = self(schedule, steps), self.read(found, steps)
        noisy = before[:-1] if self.clean else before
        ends = [noisy[0].t] if self.clean else [noisy[0].t, noisy[-1].t]
        descends = all(later < earlier for earlier, later in pairwise(times))
        descends = descends and times[-1] >= schedule.t_min * (1.0 - 1e-9)
        if len(times) != len(noisy) or [times[0], times[-1]][: len(ends)] != ends or not descends:
            raise ValueError(
                f"expected {len(noisy)} times that descend from {ends[0]:g} to {schedule.t_min:g} or above, and were "
                f"fitted {shown(times)}"
            )
        return [schedule.level(t) for t in times] + ([before[-1]] if self.clean else [])
