"""iPNDM. Zhang and Chen: Fast Sampling of Diffusion Models with Exponential Integrator (arXiv 2204.13902): PNDM (arXiv
2202.09778) whose first steps are multistep ones of lower order instead of Runge-Kutta ones.

Adams-Bashforth in rho = sigma / alpha with the weights for even steps, whatever the grid; so the order is 2 at most on
all but grids even in rho. The right weights for uneven steps are `deis[variable=rho]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from models.denoiser import Denoiser
from models.schedule import Level
from samplers.base import Noise, Sampler
from samplers.coefficients import weighted_sum
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor

ADAMS_BASHFORTH = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
"""Weights of the latest 1 ... 4 values, the latest first, for steps of equal length."""


@register("ipndm")
@dataclass(frozen=True)
class IPNDM(Sampler):
    """iPNDM.

    Attributes:
        solver_order: how many values are used, 4 in the paper.
    """

    solver_order: Literal[1, 2, 3, 4] = 4

    paper = "arXiv:2204.13902"
    family = "ODE, multistep"
    stochastic = False

    @property
    def order(self) -> int:
        return min(self.solver_order, 2)

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        past: list[Tensor] = []  # the latest first
        for t, s in pairwise(levels):
            past = [model(x, t).eps, *past[: self.solver_order - 1]]
            x = transfer(x, t, s, ADAMS_BASHFORTH[len(past) - 1], past)
        return x


def transfer(x: Tensor, t: Level, s: Level, weights: Sequence[float], values: Sequence[Tensor]) -> Tensor:
    """The transfer from t to s (PNDM), DDIM's, with a weighted sum of noise predictions."""
    ratio = s.alpha / t.alpha
    gain = s.sigma - ratio * t.sigma
    return weighted_sum((ratio, x), *((gain * w, eps) for w, eps in zip(weights, values, strict=True)))
