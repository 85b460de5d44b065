"""PNDM. Liu et al.: Pseudo Numerical Methods for Diffusion Models on Manifolds (arXiv 2202.09778), algorithm 2 (F-PNDM)
and its second-order variant (S-PNDM).

The transfer from one level to another is DDIM's, the noise prediction in it comes from classical methods: F-PNDM takes
three Runge-Kutta steps of four evaluations, with the midpoint in t, then Adams-Bashforth of four values, and makes N +
9 evaluations in N steps (where N allows three such steps); S-PNDM one improved Euler step, then Adams-Bashforth of two,
and N + 1. The authors' code looks the levels up one index off, which leaves a constant error; here the paper's
equations are followed. A step to the clean level, where there is no noise to predict, is multistep always.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from models.denoiser import Denoiser
from models.schedule import Level, Schedule
from samplers.base import Noise, Sampler
from samplers.coefficients import first_order
from samplers.ipndm import ADAMS_BASHFORTH, transfer
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor

_WARM_UP = {"F": 3, "S": 1}
"""Steps before the multistep ones."""


@register("pndm")
@dataclass(frozen=True)
class PNDM(Sampler):
    """PNDM.

    Attributes:
        variant: "F" of fourth-order methods or "S" of second-order ones. On uneven grids both converge with order 2.
    """

    variant: Literal["F", "S"] = "F"

    paper = "arXiv:2202.09778"
    family = "ODE, multistep"
    order = 2
    stochastic = False

    def nfe(self, levels: Sequence[Level]) -> int:
        steps = len(levels) - 1
        warm = min(_WARM_UP[self.variant], steps - levels[-1].is_clean)
        return steps + (3 if self.variant == "F" else 1) * warm

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        past: list[Tensor] = []  # noise predictions at the grid's levels, the latest first
        for done, (t, s) in enumerate(pairwise(levels)):
            past = [model(x, t).eps, *past[:3]]
            if done < _WARM_UP[self.variant] and not s.is_clean:
                start = _runge_kutta if self.variant == "F" else _improved_euler
                x = start(model, x, past[0], t, s)
            else:
                used = past[: 4 if self.variant == "F" else 2]
                x = transfer(x, t, s, ADAMS_BASHFORTH[len(used) - 1], used)
        return x


def _runge_kutta(model: Denoiser, x: Tensor, eps_1: Tensor, t: Level, s: Level) -> Tensor:
    """The pseudo Runge-Kutta step, given the first of its four noise predictions."""
    middle = _middle(model.schedule, t, s)
    eps_2 = model(first_order(x, eps_1, t, middle), middle).eps
    eps_3 = model(first_order(x, eps_2, t, middle), middle).eps
    eps_4 = model(first_order(x, eps_3, t, s), s).eps
    return transfer(x, t, s, (1 / 6, 1 / 3, 1 / 3, 1 / 6), (eps_1, eps_2, eps_3, eps_4))


def _improved_euler(model: Denoiser, x: Tensor, eps_1: Tensor, t: Level, s: Level) -> Tensor:
    eps_2 = model(first_order(x, eps_1, t, s), s).eps
    return transfer(x, t, s, (1 / 2, 1 / 2), (eps_1, eps_2))


@lru_cache
def _middle(schedule: Schedule, t: Level, s: Level) -> Level:
    return schedule.level(0.5 * (t.t + s.t))
