"""Ancestral sampling as in k-diffusion: a step of a deterministic solver below the next level, and noise back up to it.

Crowson's `get_ancestral_step`, in the scaled state x / alpha and rho = sigma / alpha: for the step from rho_t to rho_s

    rho_up = min(rho_s, eta rho_s sqrt(rho_t^2 - rho_s^2) / rho_t),   rho_down = sqrt(rho_s^2 - rho_up^2).

The solver goes from rho_t to rho_down, and noise of the standard deviation s_noise rho_up is added. rho_up is DDIM's
sigma (arXiv 2010.02502, eq. 16) at the same eta, on every schedule; that of DDPM's posterior at eta = 1. Only where eta
is above 1, which DDIM's is not, the minimum acts: then nothing of the state's noise is left and the step is x_0 and
fresh noise. With Euler's method, which is DDIM's, that is `ddim[eta=1]`, known as Euler ancestral.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, final

from annotated_types import Ge, Gt

from models.denoiser import Denoiser, Prediction
from models.schedule import Level, Schedule
from samplers.base import Noise, StepSampler
from samplers.brownian import increment

if TYPE_CHECKING:
    from torch import Tensor


def split(rho_t: float, rho_s: float, eta: float) -> tuple[float, float]:
    """(rho_down, rho_up) of the step from rho_t to a lower rho_s, which may be 0."""
    share = min(eta * math.sqrt((rho_t - rho_s) * (rho_t + rho_s)) / rho_t, 1.0)
    return rho_s * math.sqrt((1.0 - share) * (1.0 + share)), rho_s * share


@lru_cache(16_384)
def level_at(schedule: Schedule, rho: float) -> Level:
    """The schedule's level with sigma / alpha = rho, kept: it takes as long as a kernel to find."""
    return schedule.at_ratio(rho)


@dataclass(frozen=True)
class AncestralSampler(StepSampler):
    """An ancestral sampler with a solver of two stages: the second halfway in log-SNR to rho_down.

    Attributes:
        eta: how much of the posterior's standard deviation is added as fresh noise; 0: the solver alone.
        s_noise: factor of the fresh noise.
    """

    eta: Annotated[float, Ge(0)] = 1.0
    s_noise: Annotated[float, Gt(0)] = 1.0

    family = "SDE"

    @property
    def order(self) -> int | None:
        return None if self.stochastic else 2

    @property
    def stochastic(self) -> bool:
        return self.eta > 0.0

    @property
    def strong_order(self) -> float | None:  # type: ignore[override]
        return 1.0 if self.stochastic else None

    @final
    def nfe(self, levels: Sequence[Level]) -> int:
        """Two a step; one where the step is x_0, as to the clean level."""
        return sum(1 + (split(t.ratio, s.ratio, self.eta)[0] > 0.0) for t, s in pairwise(levels))

    @final
    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        at_t = model(x, t)
        down, up = split(t.ratio, s.ratio, self.eta)
        if down == 0.0:
            ahead = at_t.combine(x0=s.alpha)
        else:
            middle = level_at(model.schedule, math.sqrt(t.ratio * down))
            at_middle = model(at_t.combine(x0=middle.alpha, eps=middle.sigma), middle)
            ahead = self.second(x, at_middle, t, s.alpha, down)
        return ahead.add_(increment(noise, x, t, s), alpha=s.alpha * self.s_noise * up) if up > 0.0 else ahead

    @abstractmethod
    def second(self, x: Tensor, at_middle: Prediction, t: Level, alpha: float, down: float) -> Tensor:
        """alpha times the solver's scaled state at rho_down, in a new tensor.

        Args:
            x: the state at t.
            at_middle: the prediction at the second stage.
            t: start of the step.
            alpha, down: of where it ends.
        """
