"""Ancestral sampling. Ho, Jain, Abbeel: Denoising Diffusion Probabilistic Models (arXiv 2006.11239), algorithm 2.

x_s is drawn from the posterior q(x_s | x_t, x_0) (eq. 6, 7) with the predicted x_0, respaced to the levels of the grid
(Nichol and Dhariwal, arXiv 2102.09672, section 4), and no noise on the last step. `fixed_small` takes the posterior's
own variance, right for data at a point; `fixed_large` takes beta, right for unit Gaussian data (section 3.2). Between
the two, FID on CIFAR-10 differs by hundreds at few steps (arXiv 2010.02502, table 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from models.denoiser import Denoiser
from models.schedule import Level, transition
from samplers.base import Noise, StepSampler
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("ddpm")
@dataclass(frozen=True)
class DDPM(StepSampler):
    """Ancestral DDPM.

    Attributes:
        variance: of the noise added in a step, "fixed_small" or "fixed_large".
    """

    variance: Literal["fixed_small", "fixed_large"] = "fixed_small"

    paper = "arXiv:2006.11239"
    family = "SDE"
    starts_at_noise = True
    order = None
    stochastic = True

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        ratio, beta = transition(s, t)
        # eq. 7: the mean and variance of q(x_s | x_t, x_0)
        mean = model(x, t).combine(x0=s.alpha * beta / t.sigma**2, x=ratio * s.sigma**2 / t.sigma**2)
        if s.is_clean:
            return mean
        variance = beta if self.variance == "fixed_large" else beta * s.sigma**2 / t.sigma**2
        return mean.add_(noise(x), alpha=math.sqrt(variance))
