"""DPM-Solver, multistep. Lu et al.: DPM-Solver: A Fast ODE Solver for Diffusion Probabilistic Model Sampling in Around
10 Steps (arXiv 2206.00927), as its authors' code has it with `method="multistep"`, `algorithm_type="dpmsolver"`.

DPM-Solver++(2M) and (3M) for the noise prediction: one evaluation a step, the noise predictions before reused. What
their docstrings say of the forms of order 2, of the halved second derivative of order 3 and of the last steps holds
here: the code of the authors and of diffusers has the half (`halved`); the step to the clean level is x_0 itself. With
`taylor` order 2 is `deis[degree=1,variable=log-rho]` but for how it ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge

from models.denoiser import Denoiser
from models.schedule import Level
from samplers.base import Noise, Sampler
from samplers.coefficients import exponential_step, first_order, orders_left, weighted_sum
from samplers.dpmpp_2m import extrapolated
from samplers.dpmpp_3m import third_order
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("dpm-solver-multistep")
@dataclass(frozen=True)
class DPMSolverMultistep(Sampler):
    """DPM-Solver of order 2 or 3, multistep.

    Attributes:
        solver_order: how many noise predictions are used.
        solver_type: what two of them are integrated by: "midpoint", half of their difference, or "taylor", exactly.
        halved: whether the second derivative counts half, as in the authors' code; order 3 is one of order 2 then.
        lower_order_below: with fewer steps than this the order falls to 1 on the step to the lowest noisy level; 0:
            never; 10: as the authors' code. The default is that of `dpm++2m` and `dpm++3m`.
    """

    solver_order: Literal[2, 3] = 2
    solver_type: Literal["midpoint", "taylor"] = "midpoint"
    halved: bool = False
    lower_order_below: Annotated[int, Ge(0)] = 100

    paper = "arXiv:2206.00927"
    family = "ODE, multistep"
    stochastic = False

    @property
    def order(self) -> int:
        return 2 if self.halved else self.solver_order

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        past: list[tuple[Level, Tensor]] = []  # the latest first
        for done, (t, s) in enumerate(pairwise(levels)):
            past = [(t, model(x, t).eps), *past[: self.solver_order - 1]]
            order = 1 if s.is_clean else orders_left(levels, done, self.lower_order_below)
            match len(used := past[:order]):
                case 1:
                    x = first_order(x, past[0][1], t, s)
                case 2 if self.solver_type == "midpoint":
                    h = s.logsnr - t.logsnr
                    x = weighted_sum((s.alpha / t.alpha, x), *extrapolated(used, h, -s.sigma * math.expm1(h)))
                case 2:
                    x = exponential_step(x, t, s, used, -1.0)
                case _:
                    x = third_order(x, t, s, used, -1.0, self.halved)
        return x
