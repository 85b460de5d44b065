"""One evaluation: x_0 as the model says it at the first level, and nothing after.

How generators are sampled that need no more: distilled and consistency networks (arXiv 2303.01469, algorithm 1 with a
single step) and, as the first level's noise is all they take, decoders of autoencoders (arXiv 1312.6114). On a denoiser
it gives the posterior mean, which is no sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.denoiser import Denoiser
from models.schedule import Level
from samplers.base import Noise, Sampler
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("one-step")
@dataclass(frozen=True)
class OneStep(Sampler):
    """One evaluation at the first level; all others are left out."""

    paper = "arXiv:2303.01469"
    family = "generator"
    starts_at_noise = True
    needs = "generator"
    order = None
    stochastic = False

    def nfe(self, levels: Sequence[Level]) -> int:
        return 1

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        return model(x, levels[0]).x0
