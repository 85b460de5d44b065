"""DPM-Solver++(2S) ancestral. Lu et al.: DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic
Models (arXiv 2211.01095), algorithm 1 with r = 1/2, in `samplers.ancestral`, as in Crowson's k-diffusion
(`sample_dpmpp_2s_ancestral`).

In y = x / alpha and rho = sigma / alpha, with rho_m = sqrt(rho_t rho_down):

    y_m = (rho_m / rho_t) y_t + (1 - rho_m / rho_t) x_0(y_t, rho_t),
    y_down = (rho_down / rho_t) y_t + (1 - rho_down / rho_t) x_0(y_m, rho_m).

Unlike `dpm++2s`, whose middle is a level of the grid, it takes two evaluations a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.denoiser import Prediction
from models.schedule import Level
from samplers.ancestral import AncestralSampler
from samplers.coefficients import weighted_sum
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("dpm++2s-ancestral")
@dataclass(frozen=True)
class DPMpp2SAncestral(AncestralSampler):
    """DPM-Solver++(2S) ancestral; at eta = 0 DPM-Solver++(2S)."""

    paper = "arXiv:2211.01095"

    def second(self, x: Tensor, at_middle: Prediction, t: Level, alpha: float, down: float) -> Tensor:
        left = down / t.ratio
        return weighted_sum((alpha / t.alpha * left, x), (alpha * (1.0 - left), at_middle.x0))
