"""DPM-Solver++ SDE. Crowson's k-diffusion (`sample_dpmpp_sde`): DPM-Solver++(2S) of Lu et al. (arXiv 2211.01095) for
the reverse SDE, of which their paper has the first order (its appendix on SDE solvers) and 2M.

A step has two stages, to the level r of the way in log-SNR and to its end, both from its start and with the noise of
one Brownian path. In y = x / alpha and rho = sigma / alpha, (d, u) = `samplers.ancestral.split`, D = x_0 and W the
path:

    y_m = (d_m / rho_t) y_t + (1 - d_m / rho_t) D_t + s_noise u_m W(t, m),
    y_s = (d_s / rho_t) y_t + (1 - d_s / rho_t) ((1 - 1 / 2r) D_t + 1 / 2r D_m) + s_noise u_s W(t, s),

with W(t, m) and W(t, s) standard normal. At eta = 1 both stages are the exact solution for a constant D, and their
noise is exact with the path in the clock of the signal-to-noise ratio ("snr"), where W(t, m) has the correlation
sqrt(rho_s / (rho_t + rho_s)) with W(t, s) at r = 1/2. k-diffusion's path runs in rho, where it is
sqrt(sqrt(rho_t) / (sqrt(rho_t) + sqrt(rho_s))). Both reach the law. With "snr" and eta = 1 it is SEEDS-2 (`seeds-2`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt, Lt

from models.denoiser import Denoiser
from models.schedule import Level
from samplers.ancestral import level_at, split
from samplers.base import Noise, StepSampler
from samplers.brownian import increments
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor

_RATES = {"sigma": -0.5, "snr": 1.0}


@register("dpm++sde")
@dataclass(frozen=True)
class DPMppSDE(StepSampler):
    """DPM-Solver++ SDE: two evaluations and two draws a step.

    Attributes:
        eta: how much of the posterior's standard deviation is added as fresh noise; 0: DPM-Solver++(2S).
        s_noise: factor of the fresh noise.
        r: how far in log-SNR the second stage is.
        clock: of the path: "sigma" / alpha as in k-diffusion, or the signal-to-noise ratio, which is exact at eta = 1.
    """

    eta: Annotated[float, Ge(0)] = 1.0
    s_noise: Annotated[float, Gt(0)] = 1.0
    r: Annotated[float, Gt(0), Lt(1)] = 0.5
    clock: Literal["sigma", "snr"] = "sigma"

    paper = "arXiv:2211.01095"
    family = "SDE"

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
        return 2 * (len(levels) - 1) - int(levels[-1].is_clean)

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        at_t = model(x, t)
        if s.is_clean:
            return at_t.x0
        middle = level_at(model.schedule, t.ratio ** (1.0 - self.r) * s.ratio**self.r)
        draws = increments(noise, x, _RATES[self.clock], t, middle, s) if self.stochastic else [x, x]
        down, up = split(t.ratio, middle.ratio, self.eta)
        left = down / t.ratio
        x_middle = at_t.combine(x=middle.alpha / t.alpha * left, x0=middle.alpha * (1.0 - left))
        if up > 0.0:
            x_middle.add_(draws[0], alpha=middle.alpha * self.s_noise * up)
        down, up = split(t.ratio, s.ratio, self.eta)
        left, share = down / t.ratio, 0.5 / self.r
        gain = s.alpha * (1.0 - left)
        ahead = at_t.combine(x=s.alpha / t.alpha * left, x0=gain * (1.0 - share))
        ahead.add_(model(x_middle, middle).x0, alpha=gain * share)
        return ahead.add_(draws[1], alpha=s.alpha * self.s_noise * up) if up > 0.0 else ahead
