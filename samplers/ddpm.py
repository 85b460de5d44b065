"""Ancestral sampling. Ho, Jain, Abbeel: Denoising Diffusion Probabilistic Models (arXiv 2006.11239), algorithm 2.

x_s is drawn from the posterior q(x_s | x_t, x_0) (eq. 6, 7) with the predicted x_0, respaced to the levels of the grid
(Nichol and Dhariwal, arXiv 2102.09672, section 4), and no noise on the last step. `fixed_small` takes the posterior's
own variance, right for data at a point; `fixed_large` takes beta, right for unit Gaussian data (section 3.2). Between
the two, FID on CIFAR-10 differs by hundreds at few steps (arXiv 2010.02502, table 1). `learned_range` takes what a
network that was trained to says, between these two (arXiv 2102.09672, eq. 15).

`analytic` takes the best variance that is the same for all elements, that of Analytic-DPM (Bao, Li, Zhu, Zhang, arXiv
2201.06503, theorem 1): fixed_small's and, by the law of total variance, what the mean moves by as x_0 does given x_t,

    sigma_n^2 = lambda_n^2 + (sqrt(bar_beta_n / alpha_n) - sqrt(bar_beta_{n-1} - lambda_n^2))^2 (1 - bar_beta_n Gamma_n)
              = small + (alpha_s beta / sigma_t^2)^2 Var[x_0 | x_t],
    Var[x_0 | x_t] = (sigma_t / alpha_t)^2 (1 - bar_beta_n Gamma_n),

where Gamma_n = E |score|^2 / D, so that bar_beta_n Gamma_n is the mean squared eps. That variance is fitted to the
model once (`samplers.x0_variance`), as the mean squared error of the predicted x_0, which is the same for an exact
network, within what x_0 can have in the model's range of values. What the authors' code does besides is not done: in
the step to index 0, where their grids end, it keeps the noise below 2 / 255.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from models.denoiser import Denoiser
from models.fitted import FitModel, Fitted
from models.schedule import Level, Schedule, transition
from samplers import x0_variance
from samplers.base import Noise, StepSampler
from samplers.brownian import increment
from samplers.registry import register
from samplers.x0_variance import X0Variance

if TYPE_CHECKING:
    from torch import Tensor


@register("ddpm")
@dataclass(frozen=True)
class DDPM(StepSampler, Fitted):
    """Ancestral DDPM.

    Attributes:
        variance: of the noise added in a step, "fixed_small", "fixed_large", "learned_range" or "analytic".
    """

    variance: Literal["fixed_small", "fixed_large", "learned_range", "analytic"] = "fixed_small"

    paper = "arXiv:2006.11239"
    family = "SDE"
    starts_at_noise = True
    order = None
    strong_order = 1.0
    stochastic = True
    fit_parameters = ()

    @property
    def takes_variance(self) -> bool:  # type: ignore[override]
        return self.variance == "learned_range"

    @property
    def takes_fit(self) -> bool:  # type: ignore[override]
        return self.variance == "analytic"

    @property
    def fit_images(self) -> int:
        return x0_variance.IMAGES

    def fit_evaluations(self, schedule: Schedule, steps: int) -> int:
        return x0_variance.evaluations(schedule)

    def fit(self, model: FitModel) -> dict[str, Tensor]:
        return x0_variance.fit(model)

    def read(self, found: Mapping[str, Tensor], steps: int) -> X0Variance:
        return x0_variance.read(found)

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        ratio, beta = transition(s, t)
        prediction = model(x, t)
        # eq. 7: the mean and variance of q(x_s | x_t, x_0)
        share = s.alpha * beta / t.sigma**2
        mean = prediction.combine(x0=share, x=ratio * s.sigma**2 / t.sigma**2)
        if s.is_clean:
            return mean
        small = beta * s.sigma**2 / t.sigma**2
        if self.variance == "learned_range":
            between = 0.5 * (prediction.variance + 1.0)  # of the logarithms (2102.09672, eq. 15)
            deviation = (0.5 * math.log(beta / small) * between + 0.5 * math.log(small)).exp()
            return mean.addcmul_(deviation, increment(noise, x, t, s))
        variance = beta if self.variance == "fixed_large" else small
        if self.variance == "analytic":
            variance += share**2 * model.fitted(t)
        return mean.add_(increment(noise, x, t, s), alpha=math.sqrt(variance))
