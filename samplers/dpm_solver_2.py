"""DPM-Solver-2. Lu et al.: DPM-Solver: A Fast ODE Solver for Diffusion Probabilistic Model Sampling in Around 10 Steps
(arXiv 2206.00927), algorithm 1 with a general r_1 (appendix).

A second-order singlestep exponential integrator in log-SNR for the noise prediction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.denoiser import Denoiser
from models.schedule import Level
from samplers.coefficients import weighted_sum
from samplers.registry import register
from samplers.singlestep import SinglestepSampler

if TYPE_CHECKING:
    from torch import Tensor


@register("dpm-solver-2")
@dataclass(frozen=True)
class DPMSolver2(SinglestepSampler):
    """DPM-Solver-2, singlestep; the midpoint is the grid's level between."""

    paper = "arXiv:2206.00927"
    order = 2

    def step(self, model: Denoiser, x: Tensor, nodes: Sequence[Level]) -> Tensor:
        s, t = nodes[0], nodes[-1]  # the paper goes from s to t
        eps_s = model(x, s).eps
        if len(nodes) == 2:
            return first_order(x, eps_s, s, t)
        s_1 = nodes[1]
        h = t.logsnr - s.logsnr
        r_1 = (s_1.logsnr - s.logsnr) / h
        eps_1 = model(first_order(x, eps_s, s, s_1), s_1).eps
        slope = t.sigma * math.expm1(h) / (2.0 * r_1)
        return weighted_sum((t.alpha / s.alpha, x), (slope - t.sigma * math.expm1(h), eps_s), (-slope, eps_1))


def first_order(x: Tensor, eps: Tensor, s: Level, t: Level) -> Tensor:
    """DPM-Solver-1 (eq. 3.7), which is DDIM: from s to t with the noise prediction as it is at s.

    sigma_t (e^h - 1) is written as alpha_t sigma_s / alpha_s - sigma_t, which holds at the clean level as well.
    """
    ratio = t.alpha / s.alpha
    return weighted_sum((ratio, x), (t.sigma - ratio * s.sigma, eps))
