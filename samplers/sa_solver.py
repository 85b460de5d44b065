"""SA-Solver. Xue et al.: SA-Solver: Stochastic Adams Solver for Fast Sampling of Diffusion Models (arXiv 2309.05019),
algorithm 1, for the data prediction.

The reverse SDE with tau times its usual noise has the exact solution x_s = (sigma_s / sigma_t) e^(-tau^2 h) x_t +
alpha_s (1 + tau^2) integral of e^(-(1 + tau^2) (lambda_s - lambda)) x_0 d lambda + sigma_s sqrt(1 - e^(-2 tau^2 h)) z,
in which x_0 is replaced by the polynomial through its latest values. The predictor's result is evaluated and corrected
with that value and the same z, so N steps make N evaluations; the step to the clean level is x_0 itself. The authors'
code for few steps adds a term of third order to the coefficients at order 2, lowers the order at the end, and takes tau
at a step's end; here the integrals are as they are, the orders full where there are as many values, and tau is that of
a step's start, as in diffusers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Le

from models.denoiser import Denoiser
from models.schedule import Level
from samplers.base import Noise, Sampler
from samplers.coefficients import exponential_weights, weighted_sum
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
    """

    predictor_order: Literal[1, 2, 3, 4] = 2
    corrector_order: Literal[1, 2, 3, 4] = 2
    tau: Annotated[float, Ge(0)] = 1.0
    t_min: Annotated[float, Ge(0), Le(1)] = 0.2
    t_max: Annotated[float, Ge(0), Le(1)] = 0.8

    paper = "arXiv:2309.05019"
    family = "SDE"

    @property
    def order(self) -> int | None:
        return None if self.stochastic else min(self.predictor_order + 1, self.corrector_order)

    @property
    def stochastic(self) -> bool:
        return self.tau > 0.0 and self.t_min <= self.t_max

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        kept = max(self.predictor_order, self.corrector_order - 1)
        past: list[_Value] = [(levels[0], model(x, levels[0]).x0)]  # the latest first
        for s in levels[1:]:
            if s.is_clean:
                return past[0][1]
            t = past[0][0]
            h = s.logsnr - t.logsnr
            tau2 = self.tau**2 if self.t_min <= t.t <= self.t_max else 0.0
            linear = [(s.sigma / t.sigma * math.exp(-tau2 * h), x)]
            if tau2 > 0.0:
                linear.append((s.sigma * math.sqrt(-math.expm1(-2.0 * tau2 * h)), noise(x)))
            x = _adams(linear, tau2, t, s, past[: self.predictor_order])
            if s is levels[-1]:
                return x
            new = (s, model(x, s).x0)
            x = _adams(linear, tau2, t, s, [new, *past[: self.corrector_order - 1]])
            past = [new, *past[: kept - 1]]
        return x


def _adams(linear: Sequence[tuple[float, Tensor]], tau2: float, t: Level, s: Level, values: Sequence[_Value]) -> Tensor:
    """The solution at s with x_0 the polynomial through some values; `linear` is its part without x_0."""
    weights = exponential_weights(1.0 + tau2, t, s, *(level for level, _ in values))
    return weighted_sum(*linear, *((s.alpha * w, x0) for w, (_, x0) in zip(weights, values, strict=True)))
