"""Multistep consistency sampling. Song et al.: Consistency Models (arXiv 2303.01469), algorithm 1.

The model's x_0 is already a sample (the end of the probability flow through x_t); each further step puts the noise of
the next level onto it and evaluates again, which trades evaluations for quality. The authors' x_0 lies at their lowest
noise level eps, and sqrt(sigma^2 - eps^2) is added; here it is clean, and all of sigma is. On a denoiser, whose x_0 is
a mean, this loses variance and does not sample the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.denoiser import Denoiser
from models.schedule import Level
from samplers.base import Noise, StepSampler
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("consistency")
@dataclass(frozen=True)
class Consistency(StepSampler):
    """Multistep consistency sampling: to x_0 and back up to the next level."""

    paper = "arXiv:2303.01469"
    family = "generator"
    starts_at_noise = True
    needs = "generator"
    order = None
    stochastic = True

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        prediction = model(x, t)
        return prediction.x0 if s.is_clean else prediction.combine(x0=s.alpha).add_(noise(x), alpha=s.sigma)
