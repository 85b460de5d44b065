"""SDE-DPM-Solver++(2M). Lu et al.: DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models
(arXiv 2211.01095), its SDE variant, as in Crowson's k-diffusion (`dpmpp_2m_sde`, midpoint).

The reverse SDE in log-SNR for the data prediction, whose linear part and noise are exact: DPM-Solver++(2M) with x_s =
(sigma_s / sigma_t) e^-h x_t + alpha_s (1 - e^-2h) D + sigma_s sqrt(1 - e^-2h) z. Neither the step to the clean level
nor, having no history, the first is of second order; the former is x_0 itself, without noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from models.denoiser import Denoiser
from models.schedule import Level
from samplers.base import Noise, Sampler
from samplers.coefficients import weighted_sum
from samplers.dpmpp_2m import extrapolated
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("sde-dpm++2m")
@dataclass(frozen=True)
class SDEDPMpp2M(Sampler):
    """SDE-DPM-Solver++(2M)."""

    paper = "arXiv:2211.01095"
    family = "SDE"
    starts_at_noise = True
    order = None
    stochastic = True

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        past: list[tuple[Level, Tensor]] = []  # the latest first
        for t, s in pairwise(levels):
            past = [(t, model(x, t).x0), *past[:1]]
            if s.is_clean:
                return past[0][1]
            h = s.logsnr - t.logsnr
            fresh = -math.expm1(-2.0 * h)
            x = weighted_sum(
                (s.sigma / t.sigma * math.exp(-h), x),
                *extrapolated(past, h, s.alpha * fresh),
                (s.sigma * math.sqrt(fresh), noise(x)),
            )
        return x
