"""Annealed Langevin dynamics. Song and Ermon (arXiv 1907.05600), algorithm 1, with the step size and the denoising last
step of Song et al. (arXiv 2011.13456), algorithms 4 and 5.

At every noisy level of the grid, from the highest, x takes a few Langevin steps towards that level's marginal,
x + h score + sqrt(2 h) z, and is then handed to the next level as it is. When the grid ends at the clean level, the
last step is the posterior mean of x_0 (arXiv 2009.05475): one more evaluation.

The step size aims at a ratio r between signal and noise, with a = 1 for VE and a = 1 - beta for VP, where beta is that
of the grid's own step:

- "level": h = 2 a (r sigma)^2, the authors' annealed variant, the same at every state of a level;
- "norms": h = 2 a (r |z| / |score|)^2 (algorithms 4 and 5). The norms are those of each image alone; the authors' code
  takes their mean over the batch, which makes an image depend on its neighbours.

Their code has beta, unlike the score, at the index t (N - 1) of the trained chain, cut to an integer. Its corrector
alone, without a predictor, returns the last state with its noise, as `clean=false` does here: there is no mean to take.

"norms" ties the step to its own noise and to the state, so it does not leave the marginal as it is, however small r: in
d dimensions it widens a Gaussian by (1 + 2/d)^2, 6 % of the variance at d = 64 and 0.1 % at d = 3072. Hence "level".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt

from models.denoiser import Denoiser
from models.schedule import Level, transition
from samplers.base import Noise, Sampler
from samplers.coefficients import weighted_sum
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor

StepSize = Literal["level", "norms"]


@register("langevin")
@dataclass(frozen=True)
class Langevin(Sampler):
    """Annealed Langevin dynamics along the grid.

    Attributes:
        snr: r, the signal-to-noise ratio that the step size aims at; 0.16 is the authors' choice for CIFAR-10 with 1000
            levels. With few levels x needs larger steps to keep up with them.
        corrections: Langevin steps, and so evaluations, a level.
        step_size: what the step size is computed from, "level" or "norms".
    """

    snr: Annotated[float, Gt(0)] = 0.16
    corrections: Annotated[int, Ge(1)] = 2
    step_size: StepSize = "level"

    paper = "arXiv:1907.05600"
    family = "Langevin"
    starts_at_noise = True
    order = None
    stochastic = True

    def nfe(self, levels: Sequence[Level]) -> int:
        clean = levels[-1].is_clean
        return self.corrections * (len(levels) - clean) + clean

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        for t, s in zip_longest(levels, levels[1:], fillvalue=levels[-1]):
            if t.is_clean:
                break
            for _ in range(self.corrections):
                x = langevin_step(model, x, t, s, self.snr, self.step_size, noise)
        return model(x, levels[-2]).x0 if levels[-1].is_clean else x


def langevin_step(
    model: Denoiser, x: Tensor, t: Level, s: Level, snr: float, step_size: StepSize, noise: Noise
) -> Tensor:
    """One Langevin step at level t, x + h score + sqrt(2 h) z; s, the next level of the grid, is what a depends on."""
    score, z = model(x, t).score, noise(x)
    ratio, _ = transition(s, t)
    if step_size == "level":
        size = ratio * snr * t.sigma  # h = 2 size^2, with a = ratio^2
        return weighted_sum((1.0, x), (2.0 * size**2, score), (2.0 * size, z))
    sizes = ratio * snr * _norm(z) / _norm(score)
    return x + (2.0 * sizes**2) * score + (2.0 * sizes) * z


def _norm(x: Tensor) -> Tensor:
    """Euclidean norm of each image, (N, 1, 1, 1)."""
    import torch  # here there are tensors already; to list and plan samplers nothing needs it

    norm: Tensor = torch.linalg.vector_norm(x, dim=tuple(range(1, x.ndim)), keepdim=True)
    return norm
