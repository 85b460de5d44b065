"""Restart sampling. Xu et al.: Restart Sampling for Improving Generative Processes (arXiv 2306.14878), algorithm 1.

Heun's method on the probability flow, and on arriving at the grid's level nearest to sigma_min: K times up to sigma_max
with fresh noise and down again by Heun on EDM's grid (rho = 7), which contracts the errors made before. Noise levels
are sigma / alpha. There is no restart where the grid's nearest level lies at sigma_max or above.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt

from models.denoiser import Denoiser
from models.grids import Karras
from models.schedule import Level
from samplers.base import Noise, Sampler
from samplers.edm import renoise
from samplers.heun import Heun
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("restart")
@dataclass(frozen=True)
class Restart(Sampler):
    """Restart sampling with one interval; the defaults are an example of the authors' for CIFAR-10.

    Attributes:
        sigma_min, sigma_max: ends of the restart interval; 0.06 and 0.3 are the paper's for CIFAR-10.
        iterations: K, how often.
        restart_steps: Heun steps down from sigma_max, of two evaluations each.
        s_noise: standard deviation of the noise that is added.
    """

    sigma_min: Annotated[float, Gt(0)] = 0.06
    sigma_max: Annotated[float, Gt(0)] = 0.3
    iterations: Annotated[int, Ge(1)] = 2
    restart_steps: Annotated[int, Ge(1)] = 2
    s_noise: Annotated[float, Gt(0)] = 1.0

    paper = "arXiv:2306.14878"
    family = "SDE"
    order = None
    stochastic = True

    def nfe(self, levels: Sequence[Level]) -> int:
        restarts = 0 if self._trigger(levels) is None else self.iterations
        return Heun().nfe(levels) + 2 * self.restart_steps * restarts

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        trigger = self._trigger(levels)
        for t, s in pairwise(levels):
            x = Heun().step(model, x, t, s, noise)
            if s == trigger:
                for _ in range(self.iterations):
                    x = self._restart(model, x, s, noise)
        return x

    def _trigger(self, levels: Sequence[Level]) -> Level | None:
        """The level reached by a step that is nearest to sigma_min, None if it is not below sigma_max."""
        noisy = [level for level in levels[1:] if not level.is_clean]
        nearest = min(noisy, key=lambda level: abs(level.ratio - self.sigma_min), default=None)
        return None if nearest is None or nearest.ratio >= self.sigma_max else nearest

    def _restart(self, model: Denoiser, x: Tensor, s: Level, noise: Noise) -> Tensor:
        grid = Karras(clean=False, sigma_min=s.ratio, sigma_max=self.sigma_max)
        inner = [*grid(model.schedule, self.restart_steps)[:-1], s]
        x = renoise(x, s, inner[0], self.s_noise, noise)
        for upper, lower in pairwise(inner):
            x = Heun().step(model, x, upper, lower, noise)
        return x
