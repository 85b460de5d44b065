"""Grids that are placed by time, or by the index of a level that the network was trained on."""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Gt, Le, Lt

from models.common.errors import UsageError
from models.grids.base import GRIDS, Grid, sigma_range
from models.schedule import Schedule
from models.vp_time import VPTime


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
class Between(Grid):
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
class Linspace(Between):
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
class Power(Between):
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
        clock = VPTime(*sigma_range(schedule, self.sigma_min, self.sigma_max), self.t_end)
        roots = np.linspace(1.0, self.t_end ** (1 / self.rho), count)
        return [min(schedule.t_at(clock.level(float(root) ** self.rho).logsnr), 1.0) for root in roots]
