"""DPM-Solver-2. Lu et al.: DPM-Solver: A Fast ODE Solver for Diffusion Probabilistic Model Sampling in Around 10 Steps
(arXiv 2206.00927), algorithm 1 with a general r_1 (appendix).

A second-order singlestep exponential integrator in log-SNR for the noise prediction. With r_1 = 1/2 and its midpoints
between the levels of the grid it is `rk[tableau=exp-midpoint,variable=lambda-noise]`, k-diffusion's `sample_dpm_2`.
"""

from __future__ import annotations

from dataclasses import dataclass

from samplers.registry import register
from samplers.singlestep import SinglestepSampler


@register("dpm-solver-2")
@dataclass(frozen=True)
class DPMSolver2(SinglestepSampler):
    """DPM-Solver-2, singlestep; the midpoint is the grid's level between."""

    paper = "arXiv:2206.00927"
    order = 2
    rate = -1.0
