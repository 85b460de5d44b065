"""Grids that are lists of levels."""

from dataclasses import dataclass

from models.common.errors import UsageError
from models.common.explain import shown
from models.grids.base import GRIDS, Grid
from models.schedule import Schedule


@GRIDS.register("explicit")
@dataclass(frozen=True)
class Explicit(Grid):
    """Noisy levels given one by one, descending, such as a published optimised schedule; in one of three ways.

    Attributes:
        t: times in (0, 1]; as many as there are steps (one more with clean=False).
        sigma: sigma / alpha, as optimised schedules for EDM-like models are given.
        index: indices 0 ... T - 1 of a schedule trained on T levels, fractions allowed.
    """

    t: tuple[float, ...] = ()
    sigma: tuple[float, ...] = ()
    index: tuple[float, ...] = ()

    def times(self, schedule: Schedule, count: int) -> list[float]:
        given = [name for name in ("t", "sigma", "index") if getattr(self, name)]
        if len(given) != 1:
            raise UsageError(
                f"the explicit grid takes one list of t, sigma or index, got {' and '.join(given) or 'none'}"
            )
        listed = len(getattr(self, given[0]))
        if listed != count:
            raise UsageError(f"the explicit grid lists {listed} noisy levels, but these steps need {count}")
        times = self._times(schedule)
        if not all(0.0 < t <= 1.0 for t in times):
            raise UsageError(f"explicit levels must lie at times in (0, 1]; {given[0]} gives {shown(times)}")
        return times

    def _times(self, schedule: Schedule) -> list[float]:
        if self.index:
            if schedule.train_steps is None:
                raise UsageError("the explicit grid lists indices, but the schedule is continuous; give t or sigma")
            return [(index + 1.0) / schedule.train_steps for index in self.index]
        if any(sigma <= 0.0 for sigma in self.sigma):
            raise UsageError(f"expected sigma > 0, got {shown(self.sigma)}; the step to the clean level is `clean`")
        return [schedule.at_ratio(sigma).t for sigma in self.sigma] or list(self.t)
