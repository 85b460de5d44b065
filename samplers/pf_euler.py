"""Euler's method on the probability-flow ODE in time. Song et al.: Score-Based Generative Modeling through Stochastic
Differential Equations (arXiv 2011.13456), eq. 13: dx = (f x - g^2 score / 2) dt.

What an ODE solver makes that knows nothing of diffusion models; DDIM is Euler's method on the same ODE in a variable in
which it is nearly straight.
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


@register("pf-euler")
@dataclass(frozen=True)
class ProbabilityFlowEuler(StepSampler):
    """Euler on the probability flow, in the schedule's own time."""

    paper = "arXiv:2011.13456"
    family = "ODE, one step"
    order = 1
    stochastic = False

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        dt = t.t - s.t  # a positive length: time runs backwards
        return weighted_sum((1.0 - t.drift * dt, x), (0.5 * t.diffusion2 * dt, model(x, t).score))
