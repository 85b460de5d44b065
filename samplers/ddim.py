"""DDIM. Song, Meng, Ermon: Denoising Diffusion Implicit Models (arXiv 2010.02502), eq. 12 and 16.

Deterministic at eta = 0, where it is the first-order exponential integrator of the probability-flow ODE in log-SNR;
equal to ancestral DDPM with `fixed_small` variance at eta = 1. The paper's alpha is the square of ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Le

from models.denoiser import Denoiser
from models.schedule import Level, transition
from samplers.base import Noise, StepSampler
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("ddim")
@dataclass(frozen=True)
class DDIM(StepSampler):
    """DDIM.

    Attributes:
        eta: how much of the posterior's standard deviation is added as fresh noise, 0 ... 1.
    """

    eta: Annotated[float, Ge(0), Le(1)] = 0.0

    paper = "arXiv:2010.02502"
    family = "ODE, one step"
    starts_at_noise = True

    @property
    def order(self) -> int | None:
        return 1 if self.eta == 0.0 else None

    @property
    def stochastic(self) -> bool:
        return self.eta > 0.0

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        prediction = model(x, t)
        _, beta = transition(s, t)
        fresh = self.eta * math.sqrt(beta) / t.sigma  # the share of s.sigma that is fresh noise
        std = s.sigma * fresh  # eq. 16
        direction = s.sigma * math.sqrt(1.0 - fresh**2)
        x_s = prediction.combine(x0=s.alpha, eps=direction)  # eq. 12
        return x_s.add_(noise(x), alpha=std) if std > 0.0 else x_s
