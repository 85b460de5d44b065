"""STORK-2 and STORK-4. Tan, Wang, Bertozzi and Ryu: STORK: Faster Diffusion and Flow Matching Sampling by Resolving
both Stiffness and Structure-Dependence (arXiv 2505.24210).

Stabilised Runge-Kutta methods of many substeps (RKG2 of Skaras et al., 2021; ROCK4 of Abdulle, 2002), for which what
the network says between two levels is a polynomial in time through its latest values, so that a step costs a single
evaluation. What a step makes of these values is linear, and so a weighted sum, whose weights the substeps find:

- "flow": the polynomial is one of the velocity eps - x_0 in rectified flow's time sigma / (alpha + sigma), on every
  schedule. The state does not enter, and a method of order 4 integrates it exactly: STORK-4 is Adams-Bashforth here.
- "noise": that of eps in the schedule's time, in dx = (f x + g^2 eps / (2 sigma)) dt. There STORK-4 takes the tables of
  ROCK4, and is not here.

As in the authors' `STORKScheduler` the first step has one evaluation more, at its middle in time: Euler's method to
there, then Adams-Bashforth; the second has two values. That code takes the substeps' places from another method (RKL2's
(j^2 + j - 2) / (s^2 + s - 2), where RKG2 has (j^2 + 3 j - 4) / (s^2 + 3 s - 4)) and the first derivative as if steps
were even: `published`. At degree 3 its first derivative of a line is twice the slope, and its STORK-2 for the noise
leaves out f x: neither is here. Its STORK-4 for flows moves its stages on before the second is made, which swaps the
first two, and is not consistent: in 8 steps a velocity of 1 goes to -0.9992 for -1; put right, it makes ours to 1e-5.
Its defaults are order 4 and the noise prediction; its documentation recommends order 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from annotated_types import Ge, Le

from models.common.errors import UsageError
from models.denoiser import Denoiser
from models.schedule import Level, Schedule
from samplers.base import Noise, Sampler
from samplers.coefficients import KEPT, integral, weighted_sum
from samplers.registry import register
from samplers.runge_kutta import VARIABLES, plain, take

if TYPE_CHECKING:
    from torch import Tensor

_START = ((0.5,), (0.25, 0.75))
"""Euler's method to the middle, and from there Adams-Bashforth of two values."""


@register("stork")
@dataclass(frozen=True)
class STORK(Sampler):
    """STORK.

    Attributes:
        solver_order: 2 or 4, of the stabilised method.
        prediction: "flow" or "noise", whose predictions are continued.
        degree: of the polynomial, through one value more.
        substeps: s of a step.
        published: places and derivatives as in the authors' code; of STORK-2 for flows, of degree 2.
    """

    solver_order: Literal[2, 4] = 2
    prediction: Literal["flow", "noise"] = "flow"
    degree: Literal[1, 2, 3] = 2
    substeps: Annotated[int, Ge(2), Le(200)] = 50
    published: bool = False

    paper = "arXiv:2505.24210"
    family = "ODE, multistep"
    stochastic = False

    def __post_init__(self) -> None:
        if self.prediction == "noise" and self.solver_order == 4:
            raise UsageError("STORK-4 for the noise prediction is not here; take solver_order=2 or prediction=flow")
        if self.published and (self.prediction, self.solver_order, self.degree) != ("flow", 2, 2):
            raise UsageError("published is of prediction=flow, solver_order=2 and degree=2 alone")

    @property
    def starts_at_noise(self) -> bool:  # type: ignore[override]
        return self.prediction == "flow"

    @property
    def order(self) -> int | None:
        if self.published:
            return 1
        if self.prediction == "noise" and self.degree > 1:
            return None  # 2, but with hundreds of steps more of the error still is the polynomial's, of higher order
        return self.degree + 1 if self.solver_order == 4 else 2

    def nfe(self, levels: Sequence[Level]) -> int:
        steps = len(levels) - 1
        return steps + (steps > levels[-1].is_clean)

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        variable = "flow" if self.prediction == "flow" else "t"
        past: list[tuple[Level, Tensor]] = []  # the latest first
        for done, (t, s) in enumerate(pairwise(levels)):
            now = model(x, t)
            value = now.combine(x0=-1.0, eps=1.0) if self.prediction == "flow" else now.eps
            past = [(t, value), *past[: self.degree]]
            if s.is_clean and (done == 0 or self.prediction == "noise"):
                x = now.combine(x0=s.alpha)
            elif done == 0:
                x = take(model, x, plain(_START, variable, model.schedule, t, s), now)[0]
            else:
                keep, *weights = _weights(self, model.schedule, t, s, *(level for level, _ in past))
                x = weighted_sum((keep, x), *((w, each) for w, (_, each) in zip(weights, past, strict=True)))
        return x


@lru_cache(KEPT)
def _weights(method: STORK, schedule: Schedule, t: Level, s: Level, *nodes: Level) -> tuple[float, ...]:
    """Factors of the state and of the values at the nodes, the latest first, in a step from t to s."""
    variable = VARIABLES["flow" if method.prediction == "flow" else "t"]
    width = variable.of(s) - variable.of(t)
    places = [(variable.of(node) - variable.of(t)) / width for node in nodes]
    basis = _as_published if method.published and len(nodes) == 3 else _lagrange
    if method.solver_order == 4 or (method.published and len(nodes) < 3):
        exact = [integral(partial(_each, basis, places, j), 0.0, 1.0) for j in range(len(nodes))]
        found = [1.0, *(width * w for w in exact)]
    else:

        def slope(c: float, factors: np.ndarray) -> np.ndarray:
            values = np.array([0.0, *basis(places, c)])
            if method.prediction == "flow":
                return width * values
            at = schedule.level(t.t + c * width)
            return width * (at.drift * factors + 0.5 * at.diffusion2 / at.sigma * values)

        found = _rkg2(slope, method.substeps, method.published, len(nodes))
    scale = variable.scale(s)
    return (scale / variable.scale(t) * found[0], *(scale * w for w in found[1:]))


_Basis = Callable[[Sequence[float], float], list[float]]


def _each(basis: _Basis, places: Sequence[float], j: int, at: np.ndarray) -> np.ndarray:
    return np.array([basis(places, float(v))[j] for v in at])


def _rkg2(slope: Callable[[float, np.ndarray], np.ndarray], substeps: int, published: bool, values: int) -> list[float]:
    """What RKG2 makes, from 0 to 1, of the state's own factor, 1 at first, and of those of the values, 0 at first."""
    s = substeps
    w_1 = 6.0 / ((s + 4) * (s - 1))
    start = np.eye(values + 1)[0]
    at_start = slope(0.0, start)
    before, now = start, start + w_1 * at_start
    for j in range(2, s + 1):
        mu = (2 * j + 1) * _b(j) / (j * _b(j - 1))
        nu = -(j + 1) * _b(j) / (j * _b(j - 2))
        gamma = -mu * w_1 * (1.0 - 0.5 * j * (j + 1) * _b(j - 1))
        i = j - 1
        if published:
            place = (i * i + i - 2) / (s * s + s - 2) if i > 1 else 4.0 / (3.0 * (s * s + s - 2))
        else:
            place = (i - 1) * (i + 4) / ((s - 1) * (s + 4)) if i > 1 else w_1
        rest = (1.0 - mu - nu) * start + gamma * at_start
        before, now = now, mu * now + nu * before + mu * w_1 * slope(place, now) + rest
    return [float(each) for each in now]


def _b(j: int) -> float:
    return 4.0 * (j - 1) * (j + 4) / (3.0 * j * (j + 1) * (j + 2) * (j + 3)) if j > 1 else (1.0, 1.0 / 3.0)[j]


def _lagrange(places: Sequence[float], at: float) -> list[float]:
    """The polynomials that are 1 at one of the places and 0 at all others."""
    return [
        math.prod((at - other) / (place - other) for k, other in enumerate(places) if k != j)
        for j, place in enumerate(places)
    ]


def _as_published(places: Sequence[float], at: float) -> list[float]:
    """A parabola whose second derivative is right, and whose first derivative is right for even steps."""
    h_1, h_2 = places[0] - places[1], places[1] - places[2]
    bend = at * at / (h_1 * h_2 * (h_1 + h_2))
    slope = at / (2.0 * h_1)
    return [1.0 + 3.0 * slope + h_2 * bend, -4.0 * slope - (h_1 + h_2) * bend, slope + h_1 * bend]
