"""DPM-Solver-3. Lu et al.: DPM-Solver: A Fast ODE Solver for Diffusion Probabilistic Model Sampling in Around 10 Steps
(arXiv 2206.00927), algorithm 2 with general r_1 and r_2 (appendix), with lower orders at the end as the authors have
them.

A third-order singlestep exponential integrator in log-SNR for the noise prediction. Where the number of intervals is
not 2 modulo 3 the last step is of first order, and the error of that one step, of second order, remains. diffusers
has the coefficient (e^h - 1) / 2 of DPM-Solver-2 in the second stage, instead of line 5's (e^h - 1) / h - 1; with
`taylor`, its "heun", it makes the same images.
"""

from __future__ import annotations

from dataclasses import dataclass

from samplers.registry import register
from samplers.singlestep import SinglestepSampler


@register("dpm-solver-3")
@dataclass(frozen=True)
class DPMSolver3(SinglestepSampler):
    """DPM-Solver-3, singlestep; the inner nodes are the two levels of the grid between."""

    paper = "arXiv:2206.00927"
    order = 3
    rate = -1.0
