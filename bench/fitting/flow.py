"""Tight solutions of the probability flow, by classical Runge-Kutta of order 4 (Kutta, 1901).

It is solved in the angle theta = atan(sigma / alpha), in which the state z = x / sqrt(alpha^2 + sigma^2) = cos(theta)
x_0 + sin(theta) eps obeys dz / dtheta = cos(theta) eps - sin(theta) x_0, the velocity v of arXiv 2202.00512, appendix
D. Nothing is singular in it, neither where alpha is 0 nor where sigma is small. Steps are even in a mean of
log(sigma / alpha) and of the time t: the data want the first, and networks, which vary with the index that they are
given, the second. The state is kept in float64; the network sees it in the model's precision.

The convention, the same for every sampler and grid. The solution starts at the first level of the cell. It ends at the
last, if that is noisy; if it is the clean one, the flow is followed to the lowest noisy level of the *schedule*, t_min,
and the posterior mean E[x_0 | x] is taken there. So whatever a sampler loses by stepping to clean data from a higher
level than that is part of its error.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.denoiser import Denoiser
from models.schedule import Level, Schedule

STEPS = 250
"""Runge-Kutta steps of a reference solution, of four evaluations each."""

IN_RATIO = 1 / 3
"""Weight of log(sigma / alpha) in the placement of steps; that of t is the rest. Of 16 images of the digits' network
0.3 was mostly better than 0.5, 0.7 and 1; each record has the error that came of it."""
FARTHEST = 1e3
"""sigma / alpha from which on steps are even in time alone: where alpha is 0 it is infinite."""
_BEYOND = 1.0 + 1e-7
"""How close to a jump, as a factor of sigma / alpha."""
_TABLE = 1024
"""Times between which the placement is interpolated."""


def solve(
    model: Denoiser, x: Tensor, first: Level, last: Level, steps: int = STEPS, jumps: Sequence[float] = ()
) -> Tensor:
    """The probability flow's end at `last` (by the convention above, if that is clean), for x at `first`.

    Args:
        model: four evaluations a step and image, and one more if `last` is clean.
        x: (N, C, H, W), the state at `first`, in the model's precision; not changed.
        first, last: levels, `last` below `first`.
        steps: of Runge-Kutta.
        jumps: values of sigma / alpha where predictions jump, as at the ends of a guidance's interval: no step goes
            across one, but for a tiny one.

    Returns:
        (N, C, H, W) float64.
    """
    levels = _with_jumps(_nodes(model.schedule, first, last, steps), model.schedule, jumps)
    z = x.double() / math.hypot(first.alpha, first.sigma)
    for t, s in pairwise(levels):
        z = _step(model, z, t, s, x.dtype)
    end = levels[-1]
    x = _state(z, end, x.dtype)
    return model(x, end).x0.double() if last.is_clean else z * math.hypot(end.alpha, end.sigma)


def _nodes(schedule: Schedule, first: Level, last: Level, steps: int) -> list[Level]:
    """`steps` + 1 noisy levels, placed as the module says; `first` alone if there is no lower one to go to."""
    lowest = schedule.level(schedule.t_min) if last.is_clean else last
    if first.t <= lowest.t:
        return [first]
    times = np.geomspace(lowest.t, first.t, _TABLE)
    logs = np.log([min(schedule.level(min(float(t), first.t)).ratio, FARTHEST) for t in times])
    progress = IN_RATIO * _fraction(logs) + (1.0 - IN_RATIO) * _fraction(times)
    placed = np.interp(np.linspace(1.0, 0.0, steps + 1)[1:-1], progress, times)
    return [first, *(schedule.level(float(t)) for t in placed), lowest]


def _with_jumps(levels: list[Level], schedule: Schedule, jumps: Sequence[float]) -> list[Level]:
    """The levels, with two more close to each jump between the first and the last, one on either side."""
    inside = [jump for jump in jumps if levels[-1].ratio * _BEYOND < jump < levels[0].ratio / _BEYOND]
    beside = [schedule.at_ratio(each) for jump in inside for each in (jump * _BEYOND, jump / _BEYOND)]
    return sorted([*levels, *beside], key=lambda level: -level.t) if beside else levels


def _fraction(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((values - values[0]) / (values[-1] - values[0]))


def _step(model: Denoiser, z: Tensor, t: Level, s: Level, dtype: torch.dtype) -> Tensor:
    """One step of classical Runge-Kutta from level t to s; the middle is that of their angles."""
    start, end = _angle(t), _angle(s)
    h, half = end - start, model.schedule.at_ratio(math.tan(0.5 * (start + end)))

    def slope(z: Tensor, at: Level) -> Tensor:
        norm = math.hypot(at.alpha, at.sigma)
        return model(_state(z, at, dtype), at).combine(eps=at.alpha / norm, x0=-at.sigma / norm).double()

    k1 = slope(z, t)
    k2 = slope(z + 0.5 * h * k1, half)
    k3 = slope(z + 0.5 * h * k2, half)
    k4 = slope(z + h * k3, s)
    return z + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)


def _angle(level: Level) -> float:
    return math.atan2(level.sigma, level.alpha)


def _state(z: Tensor, at: Level, dtype: torch.dtype) -> Tensor:
    return (z * math.hypot(at.alpha, at.sigma)).to(dtype)
