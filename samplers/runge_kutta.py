"""Explicit Runge-Kutta steps on the probability flow, which all its one-step solvers of several evaluations share.

In every form of the flow the state at a stage and at the end is a multiple of the state at the start and a weighted sum
of slopes at the stages before: a row (keep, weights).

- Exponential, in lambda = log(alpha / sigma): the slope is x_0 (rate 1) or eps (rate -1), weights depend on the step.
- Plain, in a variable u: (x / scale)' is a mix of x, x_0 and eps, weights are the step's length times the tableau's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from models.denoiser import Denoiser, Prediction
from models.schedule import Level, Schedule
from samplers.coefficients import KEPT, phi
from samplers.tableaus import Exponential, Rows, nodes_of

if TYPE_CHECKING:
    from torch import Tensor

Row = tuple[float, tuple[float, ...]]
"""The factor of the state at the start, and those of the first values."""


class Mix(NamedTuple):
    """A slope as a sum of what a prediction says."""

    x: float = 0.0
    x0: float = 0.0
    eps: float = 0.0

    def of(self, prediction: Prediction) -> Tensor:
        if self == DATA:
            return prediction.x0
        return prediction.eps if self == NOISE else prediction.combine(x=self.x, x0=self.x0, eps=self.eps)


DATA, NOISE = Mix(x0=1.0), Mix(eps=1.0)


class Steps(NamedTuple):
    """What a step does: where it evaluates, the slopes there, and the rows of all nodes but the first and of the ends.

    More than one end are what embedded methods compare.
    """

    nodes: tuple[Level, ...]
    mixes: tuple[Mix, ...]
    rows: tuple[Row, ...]


def take(model: Denoiser, x: Tensor, steps: Steps, first: Prediction | None = None) -> list[Tensor]:
    """The ends of a step from x, with an evaluation at each node; the first of them may have been made."""
    first, mix = first or model(x, steps.nodes[0]), steps.mixes[0]
    values: list[Tensor] = []
    found: list[Tensor] = []
    for i, (keep, (weight, *weights)) in enumerate(steps.rows, 1):
        new = first.combine(x=keep + weight * mix.x, x0=weight * mix.x0, eps=weight * mix.eps)
        for factor, value in zip(weights, values, strict=False):
            if factor != 0.0:
                new.add_(value, alpha=factor)
        if i < len(steps.nodes):
            values.append(steps.mixes[i].of(model(new, steps.nodes[i])))
        else:
            found.append(new)
    return found


@lru_cache(KEPT)
def exponential(tableau: Exponential, rate: float, *levels: Level) -> Steps:
    """A step of an exponential method.

    Args:
        tableau: as long as there are nodes.
        rate: 1 for x_0, -1 for eps.
        levels: noisy ones; the nodes of the stages, and last where the step ends.
    """
    start, end = levels[0], levels[-1]
    h = end.logsnr - start.logsnr
    z = rate * h
    c = [(level.logsnr - start.logsnr) / h for level in levels[:-1]]
    inner = tableau.rows(c, lambda k, at: phi(k, at * z))
    rows = list[Row]()
    for level, row in zip(levels[1:], inner, strict=True):
        whole = -math.expm1(-rate * (level.logsnr - start.logsnr))
        weights = [z * w for w in row]
        keep, gain = (level.sigma / start.sigma, level.alpha) if rate > 0 else (level.alpha / start.alpha, level.sigma)
        rows.append((keep, (gain * (whole - math.fsum(weights)), *(gain * w for w in weights))))
    return Steps(levels[:-1], (DATA if rate > 0 else NOISE,) * len(c), tuple(rows))


class Variable(NamedTuple):
    """A variable u in which the probability flow is (x / scale)' = factor * mix.

    Attributes:
        of: u of a level.
        level: the level at a value of u.
        scale: of a level.
        slope: factor and mix at a level.
    """

    of: Callable[[Level], float]
    level: Callable[[Schedule, float], Level]
    scale: Callable[[Level], float]
    slope: Callable[[Level], tuple[float, Mix]]


VARIABLES = {
    # EDM, eq. 4, and DEIS: d(x / alpha) = eps d rho
    "rho": Variable(lambda at: at.ratio, Schedule.at_ratio, lambda at: at.alpha, lambda at: (1.0, NOISE)),
    "lambda-data": Variable(
        lambda at: at.logsnr, Schedule.at_logsnr, lambda at: at.sigma, lambda at: (at.alpha / at.sigma, DATA)
    ),
    "lambda-noise": Variable(
        lambda at: at.logsnr, Schedule.at_logsnr, lambda at: at.alpha, lambda at: (-at.ratio, NOISE)
    ),
    # Score SDE, eq. 13: dx = (f x - g^2 score / 2) dt
    "t": Variable(
        lambda at: at.t,
        lambda schedule, t: schedule.level(t),
        lambda at: 1.0,
        lambda at: (1.0, Mix(x=at.drift, eps=0.5 * at.diffusion2 / at.sigma)),
    ),
    # rectified flow's velocity in its time, to which every path can be scaled
    "flow": Variable(
        lambda at: at.sigma / (at.alpha + at.sigma),
        lambda schedule, u: schedule.at_ratio(u / (1.0 - u)),
        lambda at: at.alpha + at.sigma,
        lambda at: (1.0, Mix(x0=-1.0, eps=1.0)),
    ),
}


@lru_cache(KEPT)
def plain(tableau: Rows, variable: str, schedule: Schedule, t: Level, s: Level) -> Steps:
    """A step of a plain method from t to s in a variable."""
    of, level_at, scale, slope = VARIABLES[variable]
    width = of(s) - of(t)
    nodes = _between(lambda c: level_at(schedule, of(t) + c * width), nodes_of(tableau), t, s)
    factors, mixes = zip(*(slope(node) for node in nodes), strict=True)
    rows = tuple(
        (scale(at) / scale(t), tuple(scale(at) * width * w * f for w, f in zip(row, factors, strict=False)))
        for at, row in zip([*nodes[1:], s], tableau, strict=True)
    )
    return Steps(nodes, mixes, rows)


@lru_cache(KEPT)
def exponential_between(tableau: Exponential, rate: float, schedule: Schedule, t: Level, s: Level) -> Steps:
    """A step of an exponential method from t to s, its stages where the tableau has them."""
    h = s.logsnr - t.logsnr
    nodes = _between(lambda c: schedule.at_logsnr(t.logsnr + c * h), tableau.nodes, t, s)
    return exponential(tableau, rate, *nodes, s)


def _between(level: Callable[[float], Level], places: Sequence[float], t: Level, s: Level) -> tuple[Level, ...]:
    """The levels at parts of a step; its ends as they are, without round-off."""
    return tuple({0.0: t, 1.0: s}.get(c) or level(c) for c in places)
