"""Gradient estimation. Permenter, Yuan: Interpreting and Improving Diffusion Models from an Optimization Perspective
(arXiv 2306.04848), section 5.

Denoising is gradient descent on the squared distance to the data, and eps the estimate of its gradient. DDIM steps
along the latest estimate; this sampler along a combination of the last two, with the error that they share taken out:

    eps_bar_t = gamma eps_t + (1 - gamma) eps_{t+1},    x_{t-1} = x_t + (sigma_{t-1} - sigma_t) eps_bar_t

in the paper's state and noise level, x / alpha and sigma / alpha of ours. gamma = 1 is DDIM, gamma = 2 the authors'
choice. With steps that change slowly in length, eps_bar is eps extrapolated to (gamma - 1) of a step ahead: at
gamma = 3/2, the middle of the step, that is Adams and Bashforth's method of order 2; any other gamma is of order 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from annotated_types import Ge, Le
from torch import Tensor

from models.denoiser import Denoiser
from models.schedule import Level
from samplers import Noise, Sampler, register


@register("my-gradient-estimation")
@dataclass(frozen=True)
class GradientEstimation(Sampler):
    """DDIM along a combination of the last two noise estimates.

    Attributes:
        gamma: weight of the latest estimate, 1 ... 3; that of the one before is 1 - gamma.
    """

    gamma: Annotated[float, Ge(1), Le(3)] = 2.0

    paper = "arXiv:2306.04848"
    family = "ODE, multistep"
    stochastic = False

    @property
    def order(self) -> int:
        return 2 if self.gamma == 1.5 else 1

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        eps_before = None
        for t, s in pairwise(levels):
            prediction = model(x, t)
            x0, eps_bar = prediction.x0, prediction.eps
            if eps_before is not None:
                correction = (self.gamma - 1.0) * (prediction.eps - eps_before)
                # the x_0 that x_t = alpha_t x_0 + sigma_t eps_bar gives
                x0, eps_bar = x0 - (t.sigma / t.alpha) * correction, eps_bar + correction
            x = s.alpha * x0 + s.sigma * eps_bar
            eps_before = prediction.eps
        return x
