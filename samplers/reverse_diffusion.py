"""The reverse diffusion predictor. Song et al.: Score-Based Generative Modeling through Stochastic Differential
Equations (arXiv 2011.13456), appendix E, eq. 46.

The reverse SDE is discretised like the forward chain itself, x_t = r x_s + sqrt(v) z: backwards
x_s = x_t - (r - 1) x_t + v score + sqrt(v) z. The last step to the clean level adds no noise.

The authors' code takes r and v of the chain of all N trained steps (VP: beta_i, VE: sigma_i^2 - sigma_(i-1)^2) at the
index t (N - 1) cut to an integer, while the score is that at t itself; here both are those of the grid's own levels. It
walks N levels evenly from t = 1 to eps = 1e-3 and returns the mean of a further step from the last (`denoise`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.denoiser import Denoiser
from models.schedule import Level, transition
from samplers.base import Noise, StepSampler
from samplers.brownian import increment
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
    starts_at_noise = True
    order = None
    strong_order = 1.0
    stochastic = True

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        ratio, variance = transition(s, t)
        mean = weighted_sum((2.0 - ratio, x), (variance, model(x, t).score))
        return mean if s.is_clean else mean.add_(increment(noise, x, t, s), alpha=math.sqrt(variance))
