"""How N steps are placed on a schedule: the discretisation, independent of the solver that walks it.

A grid of N steps has N + 1 levels, strictly descending: N noisy ones and the clean level, which the last step goes to;
with `clean=False` it has N + 1 noisy ones and sampling ends at the lowest. The next level of a step is always the next
entry, never an index computed from a step ratio (which is wrong whenever N does not divide T).
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar, final

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from models.common.errors import UsageError
from models.common.explain import shown
from models.plugins.bibtex import check_entries
from models.plugins.registry import Registry
from models.schedule import Level, Schedule
from models.vp_time import VPTime


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


@GRIDS.register("leading", "uniform")
@dataclass(frozen=True)
class Leading(Grid):
    """Indices 0, k, 2k, ... with k = T // N: DDIM's uniform grid (arXiv 2010.02502). It starts below T - 1."""

    def times(self, schedule: Schedule, count: int) -> list[float]:
        total = schedule.train_steps
        if total is None:  # of very many steps, as many as there is room for
            stride = min(1.0 / count, (schedule.t_max - schedule.t_min) / max(count - 1, 1))
        else:
            stride = (total // count) / total
        return [schedule.nearest(min(schedule.t_min + n * stride, 1.0)) for n in reversed(range(count))]


@GRIDS.register("trailing")
@dataclass(frozen=True)
class Trailing(Grid):
    """Indices T - 1, T - 1 - T/N, ..., rounded (arXiv 2305.08891, table 2). It starts at the noisiest level.

    Attributes:
        t_start: noisiest time; None: the schedule's own. At 1 it is the even grid of rectified flow's Euler.
    """

    t_start: Annotated[float, Gt(0), Le(1)] | None = None

    def times(self, schedule: Schedule, count: int) -> list[float]:
        start = schedule.t_max if self.t_start is None else self.t_start
        return [schedule.nearest(start * (n / count)) for n in range(count, 0, -1)]


@GRIDS.register("native")
@dataclass(frozen=True)
class Native(Trailing):
    """Stands for the steps of samplers that place them themselves; what it places, such a sampler only counts."""


@dataclass(frozen=True)
class _Between(Grid):
    """A grid that runs from one time to another, both included.

    Attributes:
        t_start: noisiest time; None: the schedule's own, which is 1 but for flows.
        t_end: lowest noisy time; None: the schedule's own (1/T of a discrete one).
    """

    t_start: Annotated[float, Gt(0), Le(1)] | None = None
    t_end: Annotated[float, Gt(0), Le(1)] | None = None

    def ends(self, schedule: Schedule) -> tuple[float, float]:
        """(t_start, t_end) on a schedule; UsageError if they do not descend."""
        start = schedule.t_max if self.t_start is None else self.t_start
        end = schedule.t_min if self.t_end is None else self.t_end
        if end >= start:
            raise UsageError(f"expected t_end < t_start, got t_end={end!r} and t_start={start!r}")
        return start, end


@GRIDS.register("linspace")
@dataclass(frozen=True)
class Linspace(_Between):
    """N times evenly from t_start to t_end; of discrete schedules, indices, rounded (arXiv 2102.09672, section 4)."""

    def times(self, schedule: Schedule, count: int) -> list[float]:
        start, end = self.ends(schedule)
        total = schedule.train_steps
        if total is None:
            return [float(t) for t in np.linspace(start, end, count)]
        # 9 digits, so that a half that is off by round-off is a half; then halves to even, as numpy.round
        indices = np.linspace(start * total - 1, end * total - 1, count)
        return [(round(round(float(index), 9)) + 1) / total for index in indices]


@GRIDS.register("power")
@dataclass(frozen=True)
class Power(_Between):
    """Even in the exponent-th root of t from t_start to t_end; 2 is DPM-Solver's quadratic grid (arXiv 2206.00927).

    Attributes:
        exponent: larger puts more steps at low noise; 1 is even in t.
    """

    exponent: Annotated[float, Gt(0)] = 2.0

    def times(self, schedule: Schedule, count: int) -> list[float]:
        start, end = self.ends(schedule)
        roots = np.linspace(start ** (1 / self.exponent), end ** (1 / self.exponent), count)
        return [min(float(root) ** self.exponent, start) for root in roots]


@GRIDS.register("quad")
@dataclass(frozen=True)
class Quad(Grid):
    """Squares of an even spacing over 0 ... 0.8 T, cut to integers: DDIM's quadratic grid (arXiv 2010.02502, app. D.2).

    At 50 steps it visits index 0 twice, so 49 remain. In continuous time it runs over 0 ... 0.8 too, but to the
    schedule's t_max where sigma / alpha at 0.8 is at most 10, so that data are still seen: on a flow, for one.
    """

    def times(self, schedule: Schedule, count: int) -> list[float]:
        total = schedule.train_steps
        if total is None:
            # sigma / alpha at 0.8 is 25 on Score SDE's VP, 64 on EDM's VE and 4 on a flow: no pure noise to start from
            reach = 0.8 if schedule.level(0.8).ratio > 10.0 else schedule.t_max - schedule.t_min
            return [schedule.t_min + float(root) ** 2 for root in np.linspace(0.0, math.sqrt(reach), count)[::-1]]
        indices = [int(root**2) for root in np.linspace(0.0, math.sqrt(0.8 * total), count)[::-1]]
        return [(index + 1) / total for index in sorted(set(indices), reverse=True)]


@GRIDS.register("karras", "edm")
@dataclass(frozen=True)
class Karras(Grid):
    """EDM's grid (arXiv 2206.00364, eq. 5): sigma / alpha evenly spaced in its rho-th root.

    Attributes:
        rho: 7 in the paper; larger puts more steps at low noise.
        sigma_min: lowest sigma / alpha; None: the schedule's own.
        sigma_max: highest sigma / alpha; None: the schedule's own.
    """

    rho: Annotated[float, Ge(1)] = 7.0
    sigma_min: Annotated[float, Gt(0)] | None = None
    sigma_max: Annotated[float, Gt(0)] | None = None

    def times(self, schedule: Schedule, count: int) -> list[float]:
        low, high = _sigma_range(schedule, self.sigma_min, self.sigma_max)
        roots = np.linspace(high ** (1 / self.rho), low ** (1 / self.rho), count)
        return [min(schedule.t_at(-self.rho * math.log(root)), 1.0) for root in roots]


@GRIDS.register("logsnr")
@dataclass(frozen=True)
class LogSNR(_Between):
    """Even in lambda = log(alpha / sigma) from t_start to t_end (DPM-Solver, arXiv 2206.00927)."""

    def times(self, schedule: Schedule, count: int) -> list[float]:
        low, high = (schedule.level(t).logsnr for t in self.ends(schedule))
        _check_range("lambda(t_start)", low, "lambda(t_end)", high)
        return [min(schedule.t_at(float(logsnr)), 1.0) for logsnr in np.linspace(low, high, count)]


@GRIDS.register("vp-time", "time_uniform")
@dataclass(frozen=True)
class InVPTime(Grid):
    """Even in the rho-th root of VP time (`models.vp_time`), whatever the schedule: diff-sampler's `time_uniform`.

    Attributes:
        rho: 2 in diff-sampler's tables of DEIS; 1 is even in that time.
        t_end: time of the lowest noisy level; the noisiest is at 1.
        sigma_min: sigma / alpha at t_end; None: the schedule's own lowest.
        sigma_max: sigma / alpha at time 1; None: the schedule's own highest.
    """

    rho: Annotated[float, Gt(0)] = 2.0
    t_end: Annotated[float, Gt(0), Lt(1)] = 1e-3
    sigma_min: Annotated[float, Gt(0)] | None = None
    sigma_max: Annotated[float, Gt(0)] | None = None

    def times(self, schedule: Schedule, count: int) -> list[float]:
        clock = VPTime(*_sigma_range(schedule, self.sigma_min, self.sigma_max), self.t_end)
        roots = np.linspace(1.0, self.t_end ** (1 / self.rho), count)
        return [min(schedule.t_at(clock.level(float(root) ** self.rho).logsnr), 1.0) for root in roots]


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


def _sigma_range(schedule: Schedule, low: float | None, high: float | None) -> tuple[float, float]:
    """The lowest and highest sigma / alpha of a grid: as given, else the schedule's own; UsageError if not on it."""
    low = math.exp(-schedule.level(schedule.t_min).logsnr) if low is None else low
    high = math.exp(-schedule.level(schedule.t_max).logsnr) if high is None else high
    _check_range("sigma_min", low, "sigma_max", high)
    if high > (highest := schedule.level(1.0).ratio) * (1.0 + 1e-9):
        raise UsageError(f"sigma_max={high!r} lies above the schedule's noisiest level, sigma / alpha = {highest:.6g}")
    return low, high


def _check_range(low_name: str, low: float, high_name: str, high: float) -> None:
    if not -math.inf < low < high < math.inf:
        raise UsageError(f"expected finite {low_name} < {high_name}, got {low!r} and {high!r}; set them on the grid")
