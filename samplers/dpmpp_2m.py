"""DPM-Solver++(2M). Lu et al.: DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models
(arXiv 2211.01095), algorithm 2.

A second-order multistep exponential integrator in log-SNR for the data prediction: one evaluation a step, the previous
x_0 reused. The first step has no history and the step to the clean level an infinite length in log-SNR; both are first
order, the latter being x_0 itself.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from models.denoiser import Denoiser
from models.schedule import Level
from samplers.base import Noise, Sampler
from samplers.registry import register


@register("dpm++2m")
@dataclass(frozen=True)
class DPMpp2M(Sampler):
    """DPM-Solver++(2M)."""

    paper = "arXiv:2211.01095"
    family = "ODE, multistep"
    order = 2
    stochastic = False

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        x0_before, h_before = x, 0.0  # of the step before; there is none while h_before is 0
        for t, s in pairwise(levels):
            x0 = model(x, t).x0
            h = s.logsnr - t.logsnr
            d = x0
            if h_before > 0.0 and not s.is_clean:
                d = x0 + (0.5 * h / h_before) * (x0 - x0_before)  # algorithm 2, line 8, with r = h_before / h
            x = (s.sigma / t.sigma) * x - (s.alpha * math.expm1(-h)) * d
            x0_before, h_before = x0, h
        return x
