"""my-sampler. AUTHORS: TITLE (arXiv 0000.00000), algorithm N.

WHAT A STEP DOES, in the paper's symbols; the number of an equation stands beside the line that needs it:

    x_s = alpha_s x_0 + sqrt(sigma_s^2 - tau^2) eps + tau z                               (eq. N)
    tau = eta sigma_s sqrt(1 - alpha_t^2 / alpha_s^2) / sigma_t                           (eq. M)

As it stands this is DDIM (arXiv 2010.02502, eq. 12 and 16) and conforms: replace it a piece at a time, and check it
after each.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le
from torch import Tensor

from models.denoiser import Denoiser
from models.schedule import Level, transition
from samplers import Noise, StepSampler, register


@register("my-sampler")
@dataclass(frozen=True)
class MySampler(StepSampler):
    """ONE LINE ON THE METHOD.

    Attributes:
        eta: share of the posterior's standard deviation that is fresh noise, 0 ... 1.
    """

    # a field is a parameter: my-sampler[eta=0.5]; a value out of its range is refused
    eta: Annotated[float, Ge(0), Le(1)] = 0.0

    paper = "arXiv:2010.02502"
    family = "ODE, one step"  # or "ODE, multistep", "SDE", "Langevin", "generator", "library", "other"

    # both may be plain attributes, such as `order = 2` and `stochastic = False`, where no parameter changes them
    @property
    def order(self) -> int | None:
        """Of the error on the probability-flow ODE as steps double; None if it does not solve that."""
        return 1 if self.eta == 0.0 else None

    @property
    def stochastic(self) -> bool:
        """Whether it draws noise after the initial state."""
        return self.eta > 0.0

    def nfe(self, levels: Sequence[Level]) -> int:
        """Network evaluations an image; N steps have N + 1 levels. None if nobody can know before."""
        return len(levels) - 1

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        """Carry x (N, C, H, W), not to be changed in place, from level t to the next lower level s.

        A level has .alpha and .sigma of x_t = alpha x_0 + sigma eps, .logsnr, .drift and .diffusion2 of the forward
        SDE, all Python floats; s may be the clean data, where s.is_clean, s.sigma is 0 and the model is undefined.
        """
        prediction = model(x, t)  # one network evaluation: .x0 .eps .score .v, each (N, C, H, W)
        _, beta = transition(s, t)  # q(x_t | x_s) = N(ratio x_s, beta I)
        tau = self.eta * s.sigma * math.sqrt(beta) / t.sigma  # eq. M
        x_s = s.alpha * prediction.x0 + math.sqrt(s.sigma**2 - tau**2) * prediction.eps  # eq. N
        # noise(x) is a fresh standard normal draw like x; torch.randn would make an image depend on its batch
        return x_s + tau * noise(x) if tau > 0.0 else x_s
