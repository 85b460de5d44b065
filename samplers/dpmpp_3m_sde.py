"""DPM-Solver++(3M) SDE. Crowson's k-diffusion (`sample_dpmpp_3m_sde`), of which there is no paper: DPM-Solver++(3M) of
Lu et al. (arXiv 2211.01095) for the reverse SDE, as DPM-Solver++(2M) SDE is 2M's.

The quadratic through the last three x_0 is integrated exactly in log-SNR against (1 + eta) e^(-(1 + eta) (lambda_s -
lambda)); linear part and noise are those of `dpm++2m-sde`. k-diffusion's code counts the second derivative of the
quadratic half, as that of 3M does (`halved`). diffusers' (`sde-dpmsolver++` of order 3) has a half of its factor with
the wrong sign, an error in h^2 in every step, which makes it a method of first order. The first step is of first order
and the second the line's exact integral; the step to the clean level is x_0 itself, without noise, and no order falls
before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt

from models.denoiser import Denoiser
from models.schedule import Level
from samplers.base import Noise, Sampler
from samplers.brownian import increment
from samplers.coefficients import exponential_weights, reverse_sde, weighted_sum
from samplers.dpmpp_3m import halved_weights
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("dpm++3m-sde")
@dataclass(frozen=True)
class DPMpp3MSDE(Sampler):
    """DPM-Solver++(3M) SDE.

    Attributes:
        eta: scale of the noise's variance: 0 gives the probability flow, 1 the usual reverse SDE.
        s_noise: factor of the noise.
        halved: whether the second derivative counts half, as in k-diffusion.
    """

    eta: Annotated[float, Ge(0)] = 1.0
    s_noise: Annotated[float, Gt(0)] = 1.0
    halved: bool = True

    paper = "arXiv:2211.01095"
    family = "SDE"

    @property
    def order(self) -> int | None:
        return None if self.stochastic else 2 if self.halved else 3

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
            past = [(t, model(x, t).x0), *past[:2]]
            if s.is_clean:
                return past[0][1]
            weights = halved_weights if self.halved and len(past) == 3 else exponential_weights
            data = zip(weights(1.0 + self.eta, t, s, *(level for level, _ in past)), past, strict=True)
            left, std = reverse_sde(self.eta, t, s)
            terms = [(left, x), *((s.alpha * w, x0) for w, (_, x0) in data)]
            if std > 0.0:
                terms.append((self.s_noise * std, increment(noise, x, t, s, self.eta)))
            x = weighted_sum(*terms)
        return x
