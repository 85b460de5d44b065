"""Grids that are placed by flow time, the time that rectified flow gives to a noise level: sigma / (alpha + sigma).

It is a flow's own t, and on other schedules a measure of noise from 0 at the data to 1 at pure noise, so that what was
published for flow matching can be placed on any model. The noisiest level is the schedule's own unless told otherwise;
the authors start at 1, which on flows is `t_start=1`.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from models.common.errors import UsageError
from models.grids.base import GRIDS, Grid, TooManySteps
from models.schedule import Level, Schedule


def flow_time(level: Level) -> float:
    """sigma / (alpha + sigma)."""
    return level.sigma / (level.alpha + level.sigma)


def at_flow_time(schedule: Schedule, u: float) -> float:
    """The time of the level at flow time u in (0, 1), or of the noisiest level if that lies below."""
    return min(schedule.t_at(math.log1p(-u) - math.log(u)), 1.0)


def _placed(schedule: Schedule, start: float, flow_times: np.ndarray) -> list[float]:
    """Times, the first of which is `start` to the last digit.

    Raises:
        TooManySteps: the network was never trained as low as the last of them.
    """
    times = [start, *(at_flow_time(schedule, float(u)) for u in flow_times[1:])]
    if schedule.train_steps is not None and times[-1] < schedule.t_min * (1.0 - 1e-9):
        raise TooManySteps(
            f"{len(times)} noisy levels even in flow time go down to t = {times[-1]:.3g}, below "
            f"1/{schedule.train_steps}, the lowest level of training; take fewer steps"
        )
    return times


@dataclass(frozen=True)
class _FromStart(Grid):
    """A grid from one time on.

    Attributes:
        t_start: noisiest time; None: the schedule's own, which is 1 but for flows.
    """

    t_start: Annotated[float, Gt(0), Le(1)] | None = None

    def _start(self, schedule: Schedule) -> tuple[float, float]:
        """The noisiest time, and its flow time."""
        start = schedule.t_max if self.t_start is None else self.t_start
        return start, flow_time(schedule.level(start))


@GRIDS.register("shift")
@dataclass(frozen=True)
class Shift(_FromStart):
    """Even in flow time, then sigma / alpha times a shift: SD3's (arXiv 2403.03206, eq. 23) and FLUX's.

    Flow time u goes to shift u / (1 + (shift - 1) u). N steps are at n / N of the noisiest, n = N ... 1, as in FLUX's
    pipeline; with t_end they run from t_start to there, both included. SD3's pipeline leaves them to its scheduler,
    which shifts its lowest level, 1/1000, twice: `shift=3,t_start=1,t_end=0.00893`. The larger an image, the more noise
    it takes to hide it: with `tokens`, log(shift) is a line through base_shift at base_tokens and max_shift at
    max_tokens, FLUX's and diffusers' `use_dynamic_shifting`; a FLUX image has (height / 16) x (width / 16) tokens.

    Attributes:
        shift: 3 in SD3 at 1024 x 1024 pixels, and where neither is given; 1 is even in flow time.
        tokens: of the state, instead of `shift`.
        base_shift, max_shift: log(shift) at base_tokens and max_tokens.
        t_end: lowest noisy time, included; None: a step's length above the data.
    """

    shift: Annotated[float, Gt(0)] | None = None
    tokens: Annotated[int, Ge(1)] | None = None
    base_shift: float = 0.5
    max_shift: float = 1.15
    base_tokens: Annotated[int, Ge(1)] = 256
    max_tokens: Annotated[int, Ge(1)] = 4096
    t_end: Annotated[float, Gt(0), Lt(1)] | None = None

    def factor(self) -> float:
        """What sigma / alpha is multiplied by; UsageError if two things say it, or none can."""
        if self.tokens is None:
            return 3.0 if self.shift is None else self.shift
        if self.shift is not None:
            raise UsageError(f"the shift grid takes shift or tokens, got shift={self.shift!r} and tokens={self.tokens}")
        if self.base_tokens >= self.max_tokens:
            raise UsageError(f"expected base_tokens < max_tokens, got {self.base_tokens} and {self.max_tokens}")
        slope = (self.max_shift - self.base_shift) / (self.max_tokens - self.base_tokens)
        logarithm = self.base_shift + slope * (self.tokens - self.base_tokens)
        if abs(logarithm) > 50.0:
            raise UsageError(f"{self.tokens} tokens make a shift of exp({logarithm:.3g}); expected exp(-50) to exp(50)")
        return math.exp(logarithm)

    def times(self, schedule: Schedule, count: int) -> list[float]:
        shift, (start, highest) = self.factor(), self._start(schedule)
        before = highest / (shift - (shift - 1.0) * highest)  # that the shift takes to the noisiest level
        if self.t_end is None:
            even = before * np.arange(count, 0, -1) / count
        else:
            if self.t_end >= start:
                raise UsageError(f"expected t_end < t_start, got t_end={self.t_end!r} and t_start={start!r}")
            lowest = flow_time(schedule.level(self.t_end))
            even = np.linspace(before, lowest / (shift - (shift - 1.0) * lowest), count)
        times = _placed(schedule, start, shift * even / (1.0 + (shift - 1.0) * even))
        return times if self.t_end is None or count == 1 else [*times[:-1], self.t_end]


@GRIDS.register("linear-quadratic")
@dataclass(frozen=True)
class LinearQuadratic(_FromStart):
    """Short even steps at high noise, then ever longer ones: Genmo's Mochi (`linear_quadratic_schedule` of its code).

    1 - u, as a fraction of the noisiest level's u, rises in a line to `threshold` in the first `linear_steps` steps,
    and from there along a parabola with the same slope at first to 1 at the data. ComfyUI has the same fractions, but
    of sigma / alpha on models that predict noise; here they are of flow time on every schedule.

    Attributes:
        threshold: where the parabola begins, less than linear_steps / N.
        linear_steps: how many; None: half of the steps, rounded down.
    """

    threshold: Annotated[float, Gt(0), Lt(1)] = 0.025
    linear_steps: Annotated[int, Ge(1)] | None = None

    def times(self, schedule: Schedule, count: int) -> list[float]:
        start, highest = self._start(schedule)
        if count == 1:
            return [start]
        linear = count // 2 if self.linear_steps is None else self.linear_steps
        if linear >= count or self.threshold * count >= linear:
            raise UsageError(
                f"{linear} even steps to threshold {self.threshold:g} of {count} in all cannot be followed by longer "
                f"ones; expected linear_steps < {count} and threshold < linear_steps / {count}"
            )
        slope, left, n = self.threshold / linear, count - linear, np.arange(count)
        # beyond the threshold: slope m + bend m^2 of the m-th step, 1 - threshold at the last
        bend = (1.0 - self.threshold - slope * left) / left**2
        beyond = np.maximum(n - linear, 0)
        return _placed(schedule, start, highest * (1.0 - slope * n - bend * beyond**2))
