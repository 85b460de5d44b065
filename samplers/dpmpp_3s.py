"""DPM-Solver++(3S). Lu et al.: DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models
(arXiv 2211.01095), the singlestep solver of order 3, which its code has: DPM-Solver-3 for the data prediction, with
lower orders at the end.

A third-order singlestep exponential integrator in log-SNR. What `dpm-solver-3` says of its last step holds here too.
diffusers has the coefficient -(e^-h - 1) / 2 of DPM-Solver++(2S) in the second stage, instead of (e^-h - 1) / h + 1;
with `taylor`, its "heun", it makes the same images.
"""

from __future__ import annotations

from dataclasses import dataclass

from samplers.registry import register
from samplers.singlestep import SinglestepSampler


@register("dpm++3s")
@dataclass(frozen=True)
class DPMpp3S(SinglestepSampler):
    """DPM-Solver++(3S); the inner nodes are the two levels of the grid between."""

    paper = "arXiv:2211.01095"
    order = 3
    rate = 1.0
