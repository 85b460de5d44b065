"""DPM-Solver-3. Lu et al.: DPM-Solver: A Fast ODE Solver for Diffusion Probabilistic Model Sampling in Around 10 Steps
(arXiv 2206.00927), algorithm 2 with general r_1 and r_2 (appendix), with lower orders at the end as the authors have
them.

A third-order singlestep exponential integrator in log-SNR for the noise prediction. Where the number of intervals is
not 2 modulo 3 the last step is of first order, and the error of that one step, of second order, remains. diffusers
has the coefficient (e^h - 1) / 2 of DPM-Solver-2 in the second stage, instead of line 5's (e^h - 1) / h - 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.denoiser import Denoiser
from models.schedule import Level
from samplers.dpm_solver_2 import DPMSolver2, first_order
from samplers.registry import register
from samplers.singlestep import SinglestepSampler

if TYPE_CHECKING:
    from torch import Tensor


@register("dpm-solver-3")
@dataclass(frozen=True)
class DPMSolver3(SinglestepSampler):
    """DPM-Solver-3, singlestep; the inner nodes are the two levels of the grid between."""

    paper = "arXiv:2206.00927"
    order = 3

    def step(self, model: Denoiser, x: Tensor, nodes: Sequence[Level]) -> Tensor:
        if len(nodes) < 4:
            return DPMSolver2().step(model, x, nodes)
        s, s_1, s_2, t = nodes  # the paper goes from s to t
        h = t.logsnr - s.logsnr
        r_1, r_2 = (s_1.logsnr - s.logsnr) / h, (s_2.logsnr - s.logsnr) / h
        eps_s = model(x, s).eps
        d_1 = model(first_order(x, eps_s, s, s_1), s_1).eps - eps_s
        u_2 = first_order(x, eps_s, s, s_2)
        u_2.add_(d_1, alpha=-s_2.sigma * r_2 / r_1 * (math.expm1(r_2 * h) / (r_2 * h) - 1.0))
        d_2 = model(u_2, s_2).eps - eps_s
        x_t = first_order(x, eps_s, s, t)
        return x_t.add_(d_2, alpha=-t.sigma / r_2 * (math.expm1(h) / h - 1.0))
