"""Restart sampling. Xu et al.: Restart Sampling for Improving Generative Processes (arXiv 2306.14878), algorithm 1.

Heun's method on the probability flow, and on arriving at the grid's level nearest to sigma_min: K times up to sigma_max
with fresh noise and down again by Heun on EDM's grid (rho = 7), which contracts the errors made before. Noise levels
are sigma / alpha. There is no restart where the grid's nearest level lies at sigma_max or above. Where two intervals
meet the same level the later one counts, as in the authors' code.

The authors' `restart_info` has {i: [N_i, K_i, t_min, t_max]}, N_i counting the levels down from t_max, both ends among
them; an interval here is [N_i - 1, K_i, t_min, t_max]. Their settings for EDM's models, all on `karras`:

- CIFAR-10, 18 steps: [2, K, 0.06, 0.3] with K = 2, 5, 10 or 20; 20 steps: [8, 30, 0.06, 0.2] (43 to 519 evaluations);
- ImageNet 64, 36 steps (203 evaluations), s_noise = 1.003: [[3, 1, 19.35, 40.79], [3, 1, 1.09, 1.92],
  [3, 5, 0.59, 1.09], [3, 5, 0.3, 0.59], [5, 6, 0.06, 0.3]].
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


_Interval = tuple[Annotated[int, Ge(1)], Annotated[int, Ge(1)], Annotated[float, Gt(0)], Annotated[float, Gt(0)]]


@register("restart")
@dataclass(frozen=True)
class Restart(Sampler):
    """Restart sampling; the defaults are an example of the authors' for CIFAR-10.

    Attributes:
        sigma_min, sigma_max: ends of the restart interval; 0.06 and 0.3 are the paper's for CIFAR-10.
        iterations: K, how often.
        restart_steps: Heun steps down from sigma_max, of two evaluations each.
        s_noise: standard deviation of the noise that is added.
        intervals: several of them, each [restart_steps, iterations, sigma_min, sigma_max], in the place of the one.
    """

    sigma_min: Annotated[float, Gt(0)] = 0.06
    sigma_max: Annotated[float, Gt(0)] = 0.3
    iterations: Annotated[int, Ge(1)] = 2
    restart_steps: Annotated[int, Ge(1)] = 2
    s_noise: Annotated[float, Gt(0)] = 1.0
    intervals: tuple[_Interval, ...] = ()

    paper = "arXiv:2306.14878"
    family = "SDE"
    order = None
    stochastic = True

    def nfe(self, levels: Sequence[Level]) -> int:
        restarts = (2 * steps * times for steps, times, _ in self._triggers(levels).values())
        return Heun().nfe(levels) + sum(restarts)

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        triggers = self._triggers(levels)
        for t, s in pairwise(levels):
            x = Heun().step(model, x, t, s, noise)
            if s in triggers:
                steps, times, sigma_max = triggers[s]
                for _ in range(times):
                    x = self._restart(model, x, s, steps, sigma_max, noise)
        return x

    def _triggers(self, levels: Sequence[Level]) -> dict[Level, tuple[int, int, float]]:
        """Steps, iterations and sigma_max by the level reached by a step that is nearest to sigma_min."""
        noisy = [level for level in levels[1:] if not level.is_clean]
        single = (self.restart_steps, self.iterations, self.sigma_min, self.sigma_max)
        found: dict[Level, tuple[int, int, float]] = {}
        for steps, times, low, high in (self.intervals or (single,)) if noisy else ():
            nearest = min(noisy, key=lambda level, low=low: abs(level.ratio - low))  # type: ignore[misc]
            found[nearest] = steps, times, high
        return {level: each for level, each in found.items() if level.ratio < each[2]}

    def _restart(self, model: Denoiser, x: Tensor, s: Level, steps: int, sigma_max: float, noise: Noise) -> Tensor:
        grid = Karras(clean=False, sigma_min=s.ratio, sigma_max=sigma_max)
        inner = [*grid(model.schedule, steps)[:-1], s]
        x = renoise(x, s, inner[0], self.s_noise, noise)
        for upper, lower in pairwise(inner):
            x = Heun().step(model, x, upper, lower, noise)
        return x
