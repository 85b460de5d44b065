"""Heun's method on the probability-flow ODE. Karras et al.: Elucidating the Design Space of Diffusion-Based Generative
Models (arXiv 2206.00364), algorithm 1.

In the scaled state x / alpha and the noise level sigma / alpha the ODE is d(x / alpha) = eps d(sigma / alpha) for every
schedule (eq. 4). Two evaluations a step; the step to the clean level is Euler's, so N steps make 2 N - 1 evaluations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.denoiser import Denoiser
from models.schedule import Level
from samplers.base import Noise, StepSampler
from samplers.coefficients import weighted_sum
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("heun")
@dataclass(frozen=True)
class Heun(StepSampler):
    """EDM's deterministic sampler: Heun's second-order method, also known as the explicit trapezoidal rule."""

    paper = "arXiv:2206.00364"
    family = "ODE, one step"
    order = 2
    stochastic = False

    def nfe(self, levels: Sequence[Level]) -> int:
        return 2 * (len(levels) - 1) - int(levels[-1].is_clean)

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        at_t = model(x, t)
        euler = at_t.combine(x0=s.alpha, eps=s.sigma)  # s.alpha (x / t.alpha + h d_t), h = s.ratio - t.ratio
        if s.is_clean:
            return euler
        half = 0.5 * s.alpha * (s.ratio - t.ratio)
        # algorithm 1, line 8: half of d_t is replaced by half of d_s
        return weighted_sum((1.0, euler), (half, model(euler, s).eps), (-half, at_t.eps))
