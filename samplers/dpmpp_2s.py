"""DPM-Solver++(2S). Lu et al.: DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models
(arXiv 2211.01095), algorithm 1.

A second-order singlestep exponential integrator in log-SNR for the data prediction.
"""

from __future__ import annotations

from dataclasses import dataclass

from samplers.registry import register
from samplers.singlestep import SinglestepSampler


@register("dpm++2s")
@dataclass(frozen=True)
class DPMpp2S(SinglestepSampler):
    """DPM-Solver++(2S); the midpoint is the grid's level between."""

    paper = "arXiv:2211.01095"
    order = 2
    rate = 1.0
