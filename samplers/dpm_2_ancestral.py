"""DPM2 ancestral. Crowson's k-diffusion (`sample_dpm_2_ancestral`), of which there is no paper: the midpoint method of
Karras et al. (arXiv 2206.00364, table 1, "2nd-order" solvers) in `samplers.ancestral`.

In y = x / alpha and rho = sigma / alpha, with dy = eps d rho and rho_m = sqrt(rho_t rho_down):

    y_m = y_t + (rho_m - rho_t) eps(y_t, rho_t),   y_down = y_t + (rho_down - rho_t) eps(y_m, rho_m).

The middle is the geometric one, as in DPM-Solver-2 and unlike EDM's, which leaves the order at 2.
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


@register("dpm-2-ancestral")
@dataclass(frozen=True)
class DPM2Ancestral(AncestralSampler):
    """DPM2 ancestral; at eta = 0 the midpoint method, k-diffusion's `sample_dpm_2` without churn."""

    paper = "arXiv:2206.00364"

    def second(self, x: Tensor, at_middle: Prediction, t: Level, alpha: float, down: float) -> Tensor:
        return weighted_sum((alpha / t.alpha, x), (alpha * (down - t.ratio), at_middle.eps))
