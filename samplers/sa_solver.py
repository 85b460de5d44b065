"""SA-Solver. Xue et al.: SA-Solver: Stochastic Adams Solver for Fast Sampling of Diffusion Models (arXiv 2309.05019),
algorithm 1, for the data prediction.

The reverse SDE with tau times its usual noise has the exact solution x_s = (sigma_s / sigma_t) e^(-tau^2 h) x_t +
alpha_s (1 + tau^2) integral of e^(-(1 + tau^2) (lambda_s - lambda)) x_0 d lambda + sigma_s sqrt(1 - e^(-2 tau^2 h)) z,
in which x_0 is replaced by the polynomial through its latest values. The predictor's result is evaluated and corrected
with that value and the same z, so N steps make N evaluations; the step to the clean level is x_0 itself.

The authors' code has two `mode`s. Both lower the orders at the end at any number of steps and take tau at a step's end;
"own", as diffusers, takes that of a step's start.

- "few_steps", which they recommend, ends at a noisy level, without noise in the last step, and where two values are
  used integrates the line through them as if the step were short (appendix D), as diffusers does: with
  z = (1 + tau^2) h its first moment is z / 2 in place of (z - 1 + e^-z) / z. In "own" the integrals are as they are.
- "more_steps" evaluates and corrects at the lowest noisy level, too, and evaluates x_0 there once more
  (`evaluate_end`): N + 2 evaluations by its own count of N steps, which leaves out the one to the clean level.

Corrected values are evaluated once more, for the steps after, in `pc_mode` "PECE" (two evaluations a step); a
`corrector_order` of 0 is no corrector.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Le

from models.denoiser import Denoiser
from models.schedule import Level
from samplers.base import Noise, Sampler
from samplers.brownian import increment
from samplers.coefficients import exponential_weights, orders_left, reverse_sde, weighted_sum
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
        corrector_order: values that the corrector uses, the new one among them; 0: none corrects.
        tau: scale of the noise: 0 gives the probability flow, 1 the usual reverse SDE.
        t_min, t_max: times between which there is noise; a step has that of its start, in the authors' modes of its
            end.
        lower_order_below: with fewer steps than this the orders fall towards the end, to 1 of the predictor and 2 of
            the corrector in the step to the lowest noisy level; 0: never. The authors' modes do so at any number. The
            default is the better one over the grids trailing, leading, linspace, logsnr and karras at 5 to 20
            evaluations, at tau = 0: solver error on the digits 0.091 for 0.165 (geometric means), on the exact mixture
            0.075 for 0.107, FD 0.71 for 0.72. On trailing alone, whose last step is short, 0 is better (0.079 for
            0.084, FD 0.56 for 0.70).
        evaluate_end: whether the state at the lowest noisy level is corrected and, before the step to the clean level,
            evaluated once more. At equal evaluations that is no better on the exact mixture, so it is off.
        mode: "own", or one of the authors' code, "few_steps" or "more_steps", which has `evaluate_end`.
        pc_mode: "PEC", or "PECE", which evaluates what is corrected.
    """

    predictor_order: Literal[1, 2, 3, 4] = 2
    corrector_order: Literal[0, 1, 2, 3, 4] = 2
    tau: Annotated[float, Ge(0)] = 1.0
    t_min: Annotated[float, Ge(0), Le(1)] = 0.2
    t_max: Annotated[float, Ge(0), Le(1)] = 0.8
    lower_order_below: Annotated[int, Ge(0)] = 100
    evaluate_end: bool = False
    mode: Literal["own", "few_steps", "more_steps"] = "own"
    pc_mode: Literal["PEC", "PECE"] = "PEC"

    paper = "arXiv:2309.05019"
    family = "SDE"

    @property
    def order(self) -> int | None:
        if self.stochastic:
            return None
        order = min(self.predictor_order + 1, self.corrector_order) or self.predictor_order
        return min(order, 2) if self.mode == "few_steps" else order  # its last step is of first order

    @property
    def stochastic(self) -> bool:
        return self.tau > 0.0 and self.t_min <= self.t_max

    @property
    def strong_order(self) -> float | None:  # type: ignore[override]
        """Where noise begins and ends between levels, that of a part of a step is missing or too much."""
        return 1.0 if self.stochastic and self.t_min == 0.0 and self.t_max == 1.0 else None

    @property
    def _ends_corrected(self) -> bool:
        return self.corrector_order > 0 and (self.evaluate_end or self.mode == "more_steps")

    @property
    def _evaluates_twice(self) -> bool:
        return self.corrector_order > 0 and self.pc_mode == "PECE"

    def nfe(self, levels: Sequence[Level]) -> int:
        clean = levels[-1].is_clean
        reached = len(levels) - 1 - clean  # noisy levels, of which the last is not always evaluated
        if reached == 0:
            return 1
        evaluated = reached if clean or self._ends_corrected else reached - 1
        again = evaluated if clean or not self._ends_corrected else evaluated - 1
        return 1 + evaluated + (again if self._evaluates_twice else clean and self._ends_corrected)

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        kept = max(self.predictor_order, self.corrector_order - 1)
        below = self.lower_order_below if self.mode == "own" else len(levels)
        past: list[_Value] = [(levels[0], model(x, levels[0]).x0)]  # the latest first
        for done, (t, s) in enumerate(pairwise(levels)):
            if s.is_clean:
                once_more = self._ends_corrected and not self._evaluates_twice and done > 0
                return model(x, t).x0 if once_more else past[0][1]
            most = orders_left(levels, done, below) or kept
            last = done + 2 == len(levels)
            tau2 = self._tau2(t, s, last)
            linear = _linear(x, tau2, t, s, noise)
            x = self._adams(linear, tau2, t, s, past[: min(self.predictor_order, most)])
            if last and not self._ends_corrected:
                return x
            new = (s, model(x, s).x0)
            if self.corrector_order > 0:
                x = self._adams(linear, tau2, t, s, [new, *past[: min(self.corrector_order - 1, most)]])
                if self._evaluates_twice and not last:
                    new = (s, model(x, s).x0)
            past = [new, *past[: kept - 1]]
        return x

    def _tau2(self, t: Level, s: Level, last: bool) -> float:
        """tau^2 of a step, of which there may be no further one."""
        if last and self.mode == "few_steps":
            return 0.0
        return self.tau**2 if self.t_min <= (t if self.mode == "own" else s).t <= self.t_max else 0.0

    def _adams(
        self, linear: Sequence[tuple[float, Tensor]], tau2: float, t: Level, s: Level, values: Sequence[_Value]
    ) -> Tensor:
        """The solution at s with x_0 the polynomial through some values; `linear` is its part without x_0."""
        weights = _short_step if self.mode == "few_steps" and len(values) == 2 else exponential_weights
        found = weights(1.0 + tau2, t, s, *(level for level, _ in values))
        return weighted_sum(*linear, *((s.alpha * w, x0) for w, (_, x0) in zip(found, values, strict=True)))


def _linear(x: Tensor, tau2: float, t: Level, s: Level, noise: Noise) -> list[tuple[float, Tensor]]:
    """The terms of the solution at s without x_0, with tau^2 times the usual noise."""
    left, std = reverse_sde(tau2, t, s)
    return [(left, x), (std, increment(noise, x, t, s, tau2))] if tau2 > 0.0 else [(left, x)]


@lru_cache(4096)
def _short_step(rate: float, t: Level, s: Level, *nodes: Level) -> tuple[float, float]:
    """The weights of two values with the first moment z / 2 of a short step."""
    z = rate * (s.logsnr - t.logsnr)
    a, b = (rate * (node.logsnr - t.logsnr) / z for node in nodes)
    whole = -math.expm1(-z)
    first = (0.5 * z - b * whole) / (a - b)
    return first, whole - first
