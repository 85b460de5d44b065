"""DDIM. Song, Meng, Ermon: Denoising Diffusion Implicit Models (arXiv 2010.02502), eq. 12 and 16.

Deterministic at eta = 0, where it is the first-order exponential integrator of the probability-flow ODE in log-SNR;
equal to ancestral DDPM with `fixed_small` variance at eta = 1. The paper's alpha is the square of ours.

k-diffusion's Euler ancestral is the same method with the same eta, of which 1 is the default there
(`samplers.ancestral` has its formulas): `ddim[eta=1]`. Where DDIM's ends at 1, k-diffusion's eta goes on: the noise is
cut at that of the next level, and where it is cut the step is x_0 and fresh noise. The eta of the methods with "SDE" in
their names (`dpm++2m-sde`, `seeds-2`) is another one, the square of SA-Solver's tau; it is the same at 0 and 1 alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt

from models.denoiser import Denoiser
from models.schedule import Level, transition
from samplers.base import Noise, StepSampler
from samplers.brownian import increment
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("ddim")
@dataclass(frozen=True)
class DDIM(StepSampler):
    """DDIM.

    Attributes:
        eta: how much of the posterior's standard deviation is added as fresh noise; above 1, which the paper does not
            have, at most what noise there is at the next level.
        s_noise: factor of the fresh noise, k-diffusion's.
    """

    eta: Annotated[float, Ge(0)] = 0.0
    s_noise: Annotated[float, Gt(0)] = 1.0

    paper = "arXiv:2010.02502"
    family = "ODE, one step"
    starts_at_noise = True

    @property
    def order(self) -> int | None:
        return 1 if self.eta == 0.0 else None

    @property
    def stochastic(self) -> bool:
        return self.eta > 0.0

    @property
    def strong_order(self) -> float | None:  # type: ignore[override]
        return 1.0 if self.stochastic else None

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        prediction = model(x, t)
        _, beta = transition(s, t)
        fresh = min(self.eta * math.sqrt(beta) / t.sigma, 1.0)  # the share of s.sigma that is fresh noise
        std = s.sigma * fresh  # eq. 16
        direction = s.sigma * math.sqrt(1.0 - fresh**2)
        x_s = prediction.combine(x0=s.alpha, eps=direction)  # eq. 12
        return x_s.add_(increment(noise, x, t, s, self.eta**2), alpha=self.s_noise * std) if std > 0.0 else x_s
