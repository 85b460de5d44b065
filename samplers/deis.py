"""DEIS. Zhang and Chen: Fast Sampling of Diffusion Models with Exponential Integrator (arXiv 2204.13902): tAB-DEIS and
rhoAB-DEIS.

In the scaled state x / alpha and rho = sigma / alpha the probability flow is d(x / alpha) = eps d rho. The polynomial
through the latest noise predictions is integrated exactly; it is one in t, in rho, or in log rho. As in the paper and
the authors' code the polynomial of degree r goes through r + 1 values (diffusers' `solver_order` counts the values).
The authors sum the integrals over 10,000 points; here they are exact, or, for t on a discrete schedule with its kinks,
good to 1e-4 at worst, which moves coefficients by 1e-4 to 8e-4. The step to the clean level, to which no polynomial is
extrapolated, is of first order.

In rho it is the linear multistep method with variable steps, iPNDM with the right weights for uneven steps, and ends
as ComfyUI's `sample_lms`; `ipndm[variant=exact]` goes on to the clean level, as k-diffusion's does. In log rho, degrees
1 and 2 are `dpm-solver-multistep[solver_type=taylor]` of order 2 and 3 but for how the order falls there at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from models.denoiser import Denoiser
from models.schedule import Level, Schedule
from models.vp_time import vp_time_of
from samplers.base import Noise, Sampler
from samplers.coefficients import exponential_weights, first_order, ratio_weights, time_weights, weighted_sum
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("deis")
@dataclass(frozen=True)
class DEIS(Sampler):
    """DEIS: exponential Adams-Bashforth.

    Attributes:
        degree: r of the polynomial, which goes through r + 1 values and makes the order r + 1; 3 is the paper's tAB3.
        variable: of the polynomial. "t" is the schedule's own, which EDM's models have proportional to rho; "vp-t" that
            of a VP schedule over the same noise levels (`models.vp_time`), diff-sampler's for tAB3 on EDM's models.
    """

    degree: Literal[1, 2, 3] = 3
    variable: Literal["t", "vp-t", "rho", "log-rho"] = "t"

    paper = "arXiv:2204.13902"
    family = "ODE, multistep"
    stochastic = False

    @property
    def order(self) -> int:
        return self.degree + 1

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        past: list[tuple[Level, Tensor]] = []  # the latest first
        for t, s in pairwise(levels):
            past = [(t, model(x, t).eps), *past[: self.degree]]
            if s.is_clean:  # the polynomial would be extrapolated to a level where there is no noise to predict
                return first_order(x, past[0][1], t, s)
            weights = self._weights(model, t, s, [level for level, _ in past])
            x = weighted_sum((s.alpha / t.alpha, x), *((w, eps) for w, (_, eps) in zip(weights, past, strict=True)))
        return x

    def _weights(self, model: Denoiser, t: Level, s: Level, nodes: Sequence[Level]) -> list[float]:
        if self.variable == "log-rho":
            return [s.sigma * w for w in exponential_weights(-1.0, t, s, *nodes)]
        if self.variable == "rho":
            return [s.alpha * w for w in ratio_weights(t, s, *nodes)]
        clock: Schedule = model.schedule
        start, end, *places = t, s, *nodes
        if self.variable == "vp-t":
            clock = vp_time_of(model.schedule)
            start, end, *places = (clock.at_ratio(level.ratio) for level in (t, s, *nodes))
        return [s.alpha * w for w in time_weights(clock, start, end, *places)]
