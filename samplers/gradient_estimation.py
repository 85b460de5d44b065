"""Gradient estimation. Permenter and Yuan: Interpreting and Improving Diffusion Models from an Optimization Perspective
(arXiv 2306.04848), section 5.

DDIM with the noise prediction gamma eps_t + (1 - gamma) eps_(t+1) instead of eps_t, which the paper sees as the lower
error of two estimates of a gradient. At gamma = 1.5 that is Adams-Bashforth of two values for even steps in rho, of
second order (`ipndm[solver_order=2]`), at any other of first. The step to the clean level is x_0 itself, as ComfyUI's
`gradient_estimation` has it now; the paper's grids end at a noisy level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge

from models.denoiser import Denoiser
from models.schedule import Level
from samplers.base import Noise, Sampler
from samplers.ipndm import transfer
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("gradient-estimation")
@dataclass(frozen=True)
class GradientEstimation(Sampler):
    """DDIM with gradient estimation.

    Attributes:
        gamma: weight of the latest noise prediction; 2 in the paper, 1 for DDIM.
    """

    gamma: Annotated[float, Ge(1)] = 2.0

    paper = "arXiv:2306.04848"
    family = "ODE, multistep"
    stochastic = False

    @property
    def order(self) -> int:
        return 2 if self.gamma == 1.5 else 1

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        past: list[Tensor] = []  # the latest first
        for t, s in pairwise(levels):
            past = [model(x, t).eps, *past[:1]]
            weights = (1.0,) if s.is_clean or len(past) == 1 else (self.gamma, 1.0 - self.gamma)
            x = transfer(x, t, s, weights, past[: len(weights)])
        return x
