"""The reverse diffusion predictor. Song et al.: Score-Based Generative Modeling through Stochastic Differential
Equations (arXiv 2011.13456), appendix E, eq. 46.

The reverse SDE is discretised like the forward chain itself, x_t = r x_s + sqrt(v) z: backwards
x_s = x_t - (r - 1) x_t + v score + sqrt(v) z. The last step adds no noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.denoiser import Denoiser
from models.schedule import Level, transition
from samplers.base import Noise, StepSampler
from samplers.coefficients import weighted_sum
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("reverse-diffusion")
@dataclass(frozen=True)
class ReverseDiffusion(StepSampler):
    """The reverse diffusion predictor."""

    paper = "arXiv:2011.13456"
    family = "SDE"
    order = None
    stochastic = True

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        ratio, variance = transition(s, t)
        mean = weighted_sum((2.0 - ratio, x), (variance, model(x, t).score))
        return mean if s.is_clean else mean.add_(noise(x), alpha=math.sqrt(variance))
