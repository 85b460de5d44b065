"""Predictor-corrector sampling. Song et al.: Score-Based Generative Modeling through Stochastic Differential Equations
(arXiv 2011.13456), algorithms 1 to 5.

As in the authors' code, at each level the corrector runs first, a few Langevin steps towards that level's marginal,
then the predictor goes to the next level; nothing follows the last predictor, which adds no noise to go to the clean
level.

What the authors' code does otherwise: beta and sigma of the predictors, and the corrector's 1 - beta, are those of the
trained chain at the index t (N - 1) cut to an integer, while the score is that at t; the ancestral predictor too takes
beta_i there and not the variance between two levels of the grid. Its last predictor starts at eps (1e-3, for VE 1e-5)
and its mean is returned (`denoise`), without noise but at no level of the schedule. The corrector's step size comes
from norms averaged over the batch, and "norms", not "level", is what its published figures were made with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt

from models.denoiser import Denoiser
from models.schedule import Level
from samplers.base import Noise, StepSampler
from samplers.ddpm import DDPM
from samplers.euler_maruyama import EulerMaruyama
from samplers.langevin import StepSize, langevin_step
from samplers.pf_euler import ProbabilityFlowEuler
from samplers.registry import register
from samplers.reverse_diffusion import ReverseDiffusion

if TYPE_CHECKING:
    from torch import Tensor

PREDICTORS: dict[str, StepSampler] = {
    "ancestral": DDPM("fixed_small"),
    "ancestral-large": DDPM("fixed_large"),
    "reverse-diffusion": ReverseDiffusion(),
    "euler-maruyama": EulerMaruyama(),
    "probability-flow": ProbabilityFlowEuler(),
}


@register("predictor-corrector")
@dataclass(frozen=True)
class PredictorCorrector(StepSampler):
    """Predictor-corrector with a Langevin corrector.

    Attributes:
        predictor: "ancestral" with the variance that the authors use for VE, "ancestral-large" with that for VP.
        snr: the corrector's signal-to-noise ratio r, the authors' 0.16 for CIFAR-10.
        corrections: Langevin steps, and so evaluations, a level.
        step_size: of the corrector, as `langevin` has it: "norms", of each image alone, is that of algorithms 4 and 5.
    """

    predictor: Literal["ancestral", "ancestral-large", "reverse-diffusion", "euler-maruyama", "probability-flow"] = (
        "reverse-diffusion"
    )
    snr: Annotated[float, Gt(0)] = 0.16
    corrections: Annotated[int, Ge(1)] = 1
    step_size: StepSize = "level"

    paper = "arXiv:2011.13456"
    family = "Langevin"
    order = None
    stochastic = True

    @property
    def starts_at_noise(self) -> bool:  # type: ignore[override]
        return PREDICTORS[self.predictor].starts_at_noise

    def nfe(self, levels: Sequence[Level]) -> int:
        return (1 + self.corrections) * (len(levels) - 1)

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        for _ in range(self.corrections):
            x = langevin_step(model, x, t, s, self.snr, self.step_size, noise)
        return PREDICTORS[self.predictor].step(model, x, t, s, noise)
