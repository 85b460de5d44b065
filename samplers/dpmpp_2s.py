"""DPM-Solver++(2S). Lu et al.: DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models
(arXiv 2211.01095), algorithm 1.

A second-order singlestep exponential integrator in log-SNR for the data prediction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.denoiser import Denoiser
from models.schedule import Level
from samplers.registry import register
from samplers.singlestep import SinglestepSampler

if TYPE_CHECKING:
    from torch import Tensor


@register("dpm++2s")
@dataclass(frozen=True)
class DPMpp2S(SinglestepSampler):
    """DPM-Solver++(2S); the midpoint is the grid's level between."""

    paper = "arXiv:2211.01095"
    order = 2

    def step(self, model: Denoiser, x: Tensor, nodes: Sequence[Level]) -> Tensor:
        s, t = nodes[0], nodes[-1]  # the paper goes from s to t
        at_s = model(x, s)
        keep, gain = _first_order(s, t)
        if len(nodes) == 2:
            return at_s.combine(x=keep, x0=gain)
        middle = nodes[1]
        to_middle, from_x0 = _first_order(s, middle)
        x0_middle = model(at_s.combine(x=to_middle, x0=from_x0), middle).x0
        half_r = 0.5 * (t.logsnr - s.logsnr) / (middle.logsnr - s.logsnr)  # line 6, with 1 / (2 r)
        return at_s.combine(x=keep, x0=gain * (1.0 - half_r)).add_(x0_middle, alpha=gain * half_r)


def _first_order(s: Level, t: Level) -> tuple[float, float]:
    """Factors of x and D in line 7, x_t = (sigma_t / sigma_s) x - alpha_t (e^-h - 1) D; at the clean level 0 and 1."""
    return t.sigma / s.sigma, -t.alpha * math.expm1(s.logsnr - t.logsnr)
