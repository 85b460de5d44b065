"""SA-Solver. Xue et al.: SA-Solver: Stochastic Adams Solver for Fast Sampling of Diffusion Models (arXiv 2309.05019),
algorithm 1, for the data prediction.

The reverse SDE with tau times its usual noise has the exact solution x_s = (sigma_s / sigma_t) e^(-tau^2 h) x_t +
alpha_s (1 + tau^2) integral of e^(-(1 + tau^2) (lambda_s - lambda)) x_0 d lambda + sigma_s sqrt(1 - e^(-2 tau^2 h)) z,
in which x_0 is replaced by the polynomial through its latest values. The predictor's result is evaluated and corrected
with that value and the same z, so N steps make N evaluations; the step to the clean level is x_0 itself.

The authors' code has two modes. Both lower the orders at the end (`lower_order_below`) and take tau at a step's end;
here, as in diffusers, it is that of a step's start.

- `few_steps`, which they recommend, ends at a noisy level, without noise in the last step, and adds a term of third
  order to the coefficients at order 2 (appendix D), as diffusers does; here the integrals are as they are.
- `more_steps` evaluates and corrects at the lowest noisy level, too, and evaluates x_0 there once more
  (`evaluate_end`): N + 2 evaluations by its own count of N steps, which leaves out the one to the clean level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Le

from models.denoiser import Denoiser
from models.schedule import Level
from samplers.base import Noise, Sampler
from samplers.coefficients import exponential_weights, orders_left, weighted_sum
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor

    _Value = tuple[Level, Tensor]


@register("sa-solver")
@dataclass(frozen=True)
class SASolver(Sampler):
    """SA-Solver.

    Attributes:
        predictor_order: values that the predictor uses.
        corrector_order: values that the corrector uses, the new one among them.
        tau: scale of the noise: 0 gives the probability flow, 1 the usual reverse SDE.
        t_min, t_max: times between which there is noise; a step has that of its start.
        lower_order_below: with fewer steps than this the orders fall towards the end, to 1 of the predictor and 2 of
            the corrector in the step to the lowest noisy level; 0: never. The authors' code does so at any number. The
            default is the better one over the grids trailing, leading, linspace, logsnr and karras at 5 to 20
            evaluations, at tau = 0: solver error on the digits 0.091 for 0.165 (geometric means), on the exact mixture
            0.075 for 0.107, FD 0.71 for 0.72. On trailing alone, whose last step is short, 0 is better (0.079 for
            0.084, FD 0.56 for 0.70).
        evaluate_end: whether the state at the lowest noisy level is corrected and, before the step to the clean level,
            evaluated once more. At equal evaluations that is no better on the exact mixture, so it is off.
    """

    predictor_order: Literal[1, 2, 3, 4] = 2
    corrector_order: Literal[1, 2, 3, 4] = 2
    tau: Annotated[float, Ge(0)] = 1.0
    t_min: Annotated[float, Ge(0), Le(1)] = 0.2
    t_max: Annotated[float, Ge(0), Le(1)] = 0.8
    lower_order_below: Annotated[int, Ge(0)] = 100
    evaluate_end: bool = False

    paper = "arXiv:2309.05019"
    family = "SDE"

    @property
    def order(self) -> int | None:
        return None if self.stochastic else min(self.predictor_order + 1, self.corrector_order)

    @property
    def stochastic(self) -> bool:
        return self.tau > 0.0 and self.t_min <= self.t_max

    def nfe(self, levels: Sequence[Level]) -> int:
        steps = len(levels) - 1
        return steps + (self.evaluate_end and steps > levels[-1].is_clean)

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        kept = max(self.predictor_order, self.corrector_order - 1)
        past: list[_Value] = [(levels[0], model(x, levels[0]).x0)]  # the latest first
        for done, (t, s) in enumerate(pairwise(levels)):
            if s.is_clean:
                return model(x, t).x0 if self.evaluate_end and done > 0 else past[0][1]
            most = orders_left(levels, done, self.lower_order_below) or kept
            tau2 = self.tau**2 if self.t_min <= t.t <= self.t_max else 0.0
            linear = _linear(x, tau2, t, s, noise)
            x = _adams(linear, tau2, t, s, past[: min(self.predictor_order, most)])
            if done + 2 == len(levels) and not self.evaluate_end:
                return x
            new = (s, model(x, s).x0)
            x = _adams(linear, tau2, t, s, [new, *past[: min(self.corrector_order - 1, most)]])
            past = [new, *past[: kept - 1]]
        return x


def _linear(x: Tensor, tau2: float, t: Level, s: Level, noise: Noise) -> list[tuple[float, Tensor]]:
    """The terms of the solution at s without x_0, with tau^2 times the usual noise."""
    h = s.logsnr - t.logsnr
    terms = [(s.sigma / t.sigma * math.exp(-tau2 * h), x)]
    if tau2 > 0.0:
        terms.append((s.sigma * math.sqrt(-math.expm1(-2.0 * tau2 * h)), noise(x)))
    return terms


def _adams(linear: Sequence[tuple[float, Tensor]], tau2: float, t: Level, s: Level, values: Sequence[_Value]) -> Tensor:
    """The solution at s with x_0 the polynomial through some values; `linear` is its part without x_0."""
    weights = exponential_weights(1.0 + tau2, t, s, *(level for level, _ in values))
    return weighted_sum(*linear, *((s.alpha * w, x0) for w, (_, x0) in zip(weights, values, strict=True)))
