"""Ancestral sampling. Ho, Jain, Abbeel: Denoising Diffusion Probabilistic Models (arXiv 2006.11239), algorithm 2.

x_s is drawn from the posterior q(x_s | x_t, x_0) (eq. 6, 7) with the predicted x_0, respaced to the levels of the grid
(Nichol and Dhariwal, arXiv 2102.09672, section 4), and no noise on the last step. `fixed_small` takes the posterior's
own variance, right for data at a point; `fixed_large` takes beta, right for unit Gaussian data (section 3.2). Between
the two, FID on CIFAR-10 differs by hundreds at few steps (arXiv 2010.02502, table 1). `learned_range` takes what a
network that was trained to says, between these two (arXiv 2102.09672, eq. 15).
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
        variance: of the noise added in a step, "fixed_small", "fixed_large" or "learned_range".
    """

    variance: Literal["fixed_small", "fixed_large", "learned_range"] = "fixed_small"

    paper = "arXiv:2006.11239"
    family = "SDE"
    starts_at_noise = True
    order = None
    stochastic = True

    @property
    def takes_variance(self) -> bool:  # type: ignore[override]
        return self.variance == "learned_range"

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        ratio, beta = transition(s, t)
        prediction = model(x, t)
        # eq. 7: the mean and variance of q(x_s | x_t, x_0)
        mean = prediction.combine(x0=s.alpha * beta / t.sigma**2, x=ratio * s.sigma**2 / t.sigma**2)
        if s.is_clean:
            return mean
        small = beta * s.sigma**2 / t.sigma**2
        if self.variance == "learned_range":
            between = 0.5 * (prediction.variance + 1.0)  # of the logarithms (2102.09672, eq. 15)
            deviation = (0.5 * math.log(beta / small) * between + 0.5 * math.log(small)).exp()
            return mean.addcmul_(deviation, noise(x))
        return mean.add_(noise(x), alpha=math.sqrt(beta if self.variance == "fixed_large" else small))
