"""EDM's stochastic sampler. Karras et al.: Elucidating the Design Space of Diffusion-Based Generative Models
(arXiv 2206.00364), algorithm 2.

Each step first raises the noise level a little with fresh noise ("churn"), then goes down with Heun's method. Noise
levels are those of the scaled state x / alpha, sigma / alpha, so it runs on every schedule. Churn never goes above the
schedule's noisiest level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt

from models.denoiser import Denoiser
from models.schedule import Level, Schedule
from samplers.base import Noise, Sampler
from samplers.coefficients import weighted_sum
from samplers.heun import Heun
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("edm")
@dataclass(frozen=True)
class EDM(Sampler):
    """EDM's stochastic sampler; at s_churn = 0 it is `heun`. The defaults are the paper's for CIFAR-10, VP (table 5).

    Attributes:
        s_churn: how much noise is put in over all steps; a step multiplies the noise level by at most sqrt(2).
        s_min, s_max: range of sigma / alpha in which it is; "inf", which JSON can hold, for no upper end.
        s_noise: standard deviation of the noise put in; slightly above 1 makes up for the network's loss of detail.
    """

    s_churn: Annotated[float, Ge(0)] = 30.0
    s_min: Annotated[float, Ge(0)] = 0.01
    s_max: Annotated[float, Gt(0)] | Literal["inf"] = 1.0
    s_noise: Annotated[float, Gt(0)] = 1.007

    paper = "arXiv:2206.00364"
    family = "SDE"

    def __post_init__(self) -> None:
        if self.s_max == math.inf:
            object.__setattr__(self, "s_max", "inf")

    @property
    def order(self) -> int | None:
        return 2 if self.s_churn == 0.0 else None

    @property
    def stochastic(self) -> bool:
        return self.s_churn > 0.0

    def nfe(self, levels: Sequence[Level]) -> int:
        return Heun().nfe(levels)

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        gamma = min(self.s_churn / (len(levels) - 1), math.sqrt(2.0) - 1.0)
        for t, s in pairwise(levels):
            hat = t
            if gamma > 0.0 and self.s_min <= t.ratio <= float(self.s_max):
                hat = _churned(model.schedule, t, gamma)
            if hat.ratio > t.ratio:
                x = renoise(x, t, hat, self.s_noise, noise)
            x = Heun().step(model, x, hat, s, noise)
        return x


@lru_cache(16_384)
def _churned(schedule: Schedule, t: Level, gamma: float) -> Level:
    """The level with 1 + gamma times the noise of t, or the noisiest one; t if nothing lies above it."""
    return max(t, schedule.at_ratio((1.0 + gamma) * t.ratio), key=lambda level: level.ratio)


def renoise(x: Tensor, s: Level, t: Level, s_noise: float, noise: Noise) -> Tensor:
    """Forward from level s to the noisier level t, with noise of the standard deviation s_noise."""
    added = s_noise * t.alpha * math.sqrt(t.ratio**2 - s.ratio**2)
    return weighted_sum((t.alpha / s.alpha, x), (added, noise(x)))
