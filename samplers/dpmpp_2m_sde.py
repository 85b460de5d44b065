"""DPM-Solver++(2M) SDE. Lu et al.: DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models
(arXiv 2211.01095), its SDE variant, with `eta` and `solver` as in Crowson's k-diffusion (`sample_dpmpp_2m_sde`).

The reverse SDE in log-SNR for the data prediction, whose linear part and noise are exact: with z = (1 + eta) h,

    x_s = (sigma_s / sigma_t) e^(-eta h) x_t + alpha_s (1 - e^-z) D + sigma_s sqrt(1 - e^(-2 eta h)) z.

D is x_0 extrapolated by half a step, as in DPM-Solver++(2M) ("midpoint"), or the line through the last two x_0 is
integrated exactly ("heun", diffusers' and k-diffusion's name). eta is the square of SA-Solver's tau, not DDIM's eta; at
1 it is the paper's. Neither the step to the clean level nor, having no history, the first is of second order; the
former is x_0 itself, without noise. diffusers can take the step before with first order, too; k-diffusion does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt

from models.denoiser import Denoiser
from models.schedule import Level
from samplers.base import Noise, Sampler
from samplers.brownian import increment
from samplers.coefficients import exponential_weights, reverse_sde, weighted_sum
from samplers.dpmpp_2m import extrapolated
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("dpm++2m-sde", "sde-dpm++2m")
@dataclass(frozen=True)
class DPMpp2MSDE(Sampler):
    """DPM-Solver++(2M) SDE.

    Attributes:
        eta: scale of the noise's variance: 0 gives the probability flow, 1 the usual reverse SDE.
        s_noise: factor of the noise.
        solver: how x_0 goes on from its last two values, "midpoint" or "heun".
    """

    eta: Annotated[float, Ge(0)] = 1.0
    s_noise: Annotated[float, Gt(0)] = 1.0
    solver: Literal["midpoint", "heun"] = "midpoint"

    paper = "arXiv:2211.01095"
    family = "SDE"
    starts_at_noise = True

    @property
    def order(self) -> int | None:
        return None if self.stochastic else 2

    @property
    def stochastic(self) -> bool:
        return self.eta > 0.0

    @property
    def strong_order(self) -> float | None:  # type: ignore[override]
        return 1.0 if self.stochastic else None

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        past: list[tuple[Level, Tensor]] = []  # the latest first
        for t, s in pairwise(levels):
            past = [(t, model(x, t).x0), *past[:1]]
            if s.is_clean:
                return past[0][1]
            left, std = reverse_sde(self.eta, t, s)
            terms = [(left, x), *self._data(past, s)]
            if std > 0.0:
                terms.append((self.s_noise * std, increment(noise, x, t, s, self.eta)))
            x = weighted_sum(*terms)
        return x

    def _data(self, past: Sequence[tuple[Level, Tensor]], s: Level) -> tuple[tuple[float, Tensor], ...]:
        """The terms of x_0 in the step to s."""
        t, rate = past[0][0], 1.0 + self.eta
        if self.solver == "midpoint" or len(past) == 1:
            h = s.logsnr - t.logsnr
            return extrapolated(past, h, -s.alpha * math.expm1(-rate * h))
        weights = exponential_weights(rate, t, s, *(level for level, _ in past))
        return tuple((s.alpha * w, x0) for w, (_, x0) in zip(weights, past, strict=True))
