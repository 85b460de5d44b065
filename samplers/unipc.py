"""UniPC. Zhao et al.: UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of Diffusion Models (arXiv
2302.04867), multistep, for the data prediction or the noise prediction.

Each step predicts (UniP-p), evaluates there, and corrects with that value (UniC-p), which is then used again for the
next step, so that N steps make N evaluations; nothing is evaluated at the clean level, which is predicted only. The
unique solution of the paper's linear system for p values is the exponential integral of the polynomial through them,
whatever B(h). B(h) acts where the authors' code takes a coefficient of 1/2 instead of the solution: in UniP-2 and
UniC-1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge

from models.denoiser import Denoiser
from models.schedule import Level
from samplers.base import Noise, Sampler
from samplers.coefficients import exponential_step, first_order, orders_left, weighted_sum
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor

    _Value = tuple[Level, Tensor]


@register("unipc")
@dataclass(frozen=True)
class UniPC(Sampler):
    """UniPC-p, multistep.

    Attributes:
        solver_order: p; the corrector makes the order of convergence p + 1.
        variant: B(h) = h ("bh1", the default of the authors' code) or e^h - 1 ("bh2", that of diffusers), h being
            negative for the data prediction.
        prediction: what is integrated in log-SNR, x_0 ("data") or eps ("noise").
        lower_order_below: with fewer steps than this p falls to 1 towards the end. The authors' code does so at any
            number of steps; with many, one first-order step at the end would be most of the error.
        first_order_to: where p gets to 1: in the step to the lowest "noisy" level, as in the authors' code, or only in
            the step to the "clean" one, as in diffusers. The default is the better one over the grids trailing,
            leading, linspace, logsnr and karras at 5 to 20 evaluations: solver error on the digits 0.098 for 0.174
            (bh1: 0.108 for 0.322; geometric means), on the exact mixture 0.083 for 0.111, FD 0.71 for 0.80. On
            trailing alone, whose last step is short, "clean" is better (0.080 for 0.083, FD 0.55 for 0.70).
    """

    solver_order: Literal[1, 2, 3] = 3
    variant: Literal["bh1", "bh2"] = "bh2"
    lower_order_below: Annotated[int, Ge(0)] = 100
    first_order_to: Literal["noisy", "clean"] = "noisy"
    prediction: Literal["data", "noise"] = "data"

    paper = "arXiv:2302.04867"
    family = "ODE, multistep"
    stochastic = False

    @property
    def order(self) -> int:
        return self.solver_order + 1

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        steps = len(levels) - 1
        past: list[_Value] = [(levels[0], self._value(model, x, levels[0]))]  # the latest first
        for done, (t, s) in enumerate(pairwise(levels)):
            order = min(self.solver_order, len(past), self._most(levels, done))
            predicted = self._first_order(x, past[0][1], t, s) if s.is_clean else self._predict(x, s, past[:order])
            if done + 1 == steps:
                return predicted
            new = (s, self._value(model, predicted, s))
            x = self._correct(x, new, past[:order])
            past = [new, *past[: self.solver_order - 1]]
        raise ValueError("expected at least two levels")

    def _most(self, levels: Sequence[Level], done: int) -> int:
        """The highest order of the step after `done` ones."""
        if self.first_order_to == "clean" and len(levels) - 1 < self.lower_order_below:
            return len(levels) - 1 - done
        return orders_left(levels, done, self.lower_order_below) or self.solver_order

    @property
    def _rate(self) -> float:
        return 1.0 if self.prediction == "data" else -1.0

    def _value(self, model: Denoiser, x: Tensor, at: Level) -> Tensor:
        prediction = model(x, at)
        return prediction.x0 if self.prediction == "data" else prediction.eps

    def _predict(self, x: Tensor, s: Level, past: Sequence[_Value]) -> Tensor:
        """UniP-p from the latest level to s."""
        (t, value), *before = past
        if not before:
            return self._first_order(x, value, t, s)
        if len(past) == 2:
            ((level, value_before),) = before
            r = (level.logsnr - t.logsnr) / (s.logsnr - t.logsnr)
            change = self._half_b(t, s) / r
            return self._first_order(x, value, t, s).add_(value_before, alpha=change).add_(value, alpha=-change)
        return exponential_step(x, t, s, past, self._rate)

    def _correct(self, x: Tensor, new: _Value, past: Sequence[_Value]) -> Tensor:
        """UniC-p from the latest of the past levels to the new one, whose value it uses."""
        (t, value), (s, value_s) = past[0], new
        if len(past) == 1:
            change = self._half_b(t, s)
            return self._first_order(x, value, t, s).add_(value_s, alpha=change).add_(value, alpha=-change)
        return exponential_step(x, t, s, [new, *past], self._rate)

    def _half_b(self, t: Level, s: Level) -> float:
        """-B(h) / 2 times alpha_s, or sigma_s for the noise prediction."""
        h, gain = (t.logsnr - s.logsnr, s.alpha) if self.prediction == "data" else (s.logsnr - t.logsnr, s.sigma)
        return -0.5 * gain * (h if self.variant == "bh1" else math.expm1(h))

    def _first_order(self, x: Tensor, value: Tensor, t: Level, s: Level) -> Tensor:
        if self.prediction == "noise":
            return first_order(x, value, t, s)
        return weighted_sum((s.sigma / t.sigma, x), (-s.alpha * math.expm1(t.logsnr - s.logsnr), value))
