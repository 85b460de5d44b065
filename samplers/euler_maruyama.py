"""Euler-Maruyama on the reverse-time SDE. Song et al.: Score-Based Generative Modeling through Stochastic Differential
Equations (arXiv 2011.13456), eq. 6 and section 4.1.

dx = (f x - g^2 score) dt + g dw, run backwards in steps of the grid. The last step to the clean level adds no noise.

The authors' code walks N levels, evenly from t = 1 to eps = 1e-3, with dt = 1/N, where they are (1 - eps) / (N - 1)
apart; it makes such a step from the last of them, too, and returns the mean of that (`denoise`), so that the end is at
no level of the schedule. For VE its noise is geometric in t, so that g differs from that of EDM's linear one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.denoiser import Denoiser
from models.schedule import Level
from samplers.base import Noise, StepSampler
from samplers.brownian import increment
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("euler-maruyama")
@dataclass(frozen=True)
class EulerMaruyama(StepSampler):
    """Euler-Maruyama on the reverse-time SDE, in the schedule's own time."""

    paper = "arXiv:2011.13456"
    family = "SDE"
    order = None
    strong_order = 1.0
    stochastic = True

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        dt = t.t - s.t  # a positive length: time runs backwards
        mean = (1.0 - t.drift * dt) * x + (t.diffusion2 * dt) * model(x, t).score
        return mean if s.is_clean else mean + math.sqrt(t.diffusion2 * dt) * increment(noise, x, t, s)
