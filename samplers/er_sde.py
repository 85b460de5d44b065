"""ER-SDE-Solvers. Cui et al.: Elucidating the Solution Space of Extended Reverse-Time SDE for Diffusion Models (arXiv
2309.06169).

In the scaled state x / alpha and rho = sigma / alpha (the paper's lambda) the reverse SDE is solved for a noise scale
function phi: x = (phi(rho_s) / phi(rho_t)) x + (1 - phi(rho_s) / phi(rho_t)) x_0 + noise to first order, with Taylor
terms of x_0, by differences of past values, to second and third; but the difference that stands for the first
derivative is that of half a step before, so the third term does not raise the order of convergence above 2. phi(rho) =
rho is the probability flow and phi(rho) = rho^2 the reverse SDE; the default lies between. The authors sum the
integrals of 1 / phi over 100 points and leave out noise of a variance below 1e-6; here the integrals are exact and no
noise is left out. A step to the clean level is x_0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from models.denoiser import Denoiser
from models.schedule import Level
from samplers.base import Noise, Sampler
from samplers.brownian import increment
from samplers.coefficients import integral, weighted_sum
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor

NoiseScale = Literal["ode", "sde", "er-sde-5"]

# phi(rho) / rho
_SCALES: dict[NoiseScale, Callable[[np.ndarray], np.ndarray]] = {
    "ode": np.ones_like,
    "sde": np.asarray,
    "er-sde-5": lambda rho: np.exp(rho**0.3) + 10.0,  # the authors' choice, "SDE_5" of their code
}


@register("er-sde")
@dataclass(frozen=True)
class ERSDE(Sampler):
    """ER-SDE-Solver.

    Attributes:
        solver_order: 1, 2 or 3 Taylor terms of x_0.
        noise_scale: phi.
    """

    solver_order: Literal[1, 2, 3] = 3
    noise_scale: NoiseScale = "er-sde-5"

    paper = "arXiv:2309.06169"
    family = "SDE"

    @property
    def order(self) -> int | None:
        return None if self.stochastic else min(self.solver_order, 2)

    @property
    def stochastic(self) -> bool:
        return self.noise_scale != "ode"

    @property
    def strong_order(self) -> float | None:  # type: ignore[override]
        return 1.0 if self.stochastic else None

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        past: list[tuple[Level, Tensor]] = []  # levels and x_0, the latest first
        for t, s in pairwise(levels):
            past = [(t, model(x, t).x0), *past[: self.solver_order - 1]]
            if s.is_clean:
                return past[0][1]
            ratio, std, *taylor = _coefficients(self.noise_scale, t.ratio, s.ratio, len(past))
            terms = [(s.alpha * w, d) for w, d in zip([1.0 - ratio, *taylor], _differences(past), strict=True)]
            if std > 0.0:
                terms.append((s.alpha * std, increment(noise, x, t, s)))
            x = weighted_sum((s.alpha / t.alpha * ratio, x), *terms)
        return x


@lru_cache(16_384)
def _coefficients(noise_scale: NoiseScale, rho_t: float, rho_s: float, order: int) -> tuple[float, ...]:
    """phi(rho_s) / phi(rho_t), the noise's standard deviation, and the factors of the Taylor terms beyond the first."""
    scale = _SCALES[noise_scale]
    phi_t, phi_s = (float(rho * scale(np.asarray(rho))) for rho in (rho_t, rho_s))
    ratio = phi_s / phi_t
    # rho_s^2 - rho_t^2 ratio^2, without cancellation: ratio = (rho_s / rho_t) times the ratio of the scales
    relative = float(scale(np.asarray(rho_s)) / scale(np.asarray(rho_t)))
    std = rho_s * math.sqrt(max((1.0 - relative) * (1.0 + relative), 0.0))
    taylor = []
    for n in range(1, order):

        def inside(v: np.ndarray, power: int = n - 1) -> np.ndarray:
            return np.asarray((np.exp(v) - rho_t) ** power / scale(np.exp(v)))

        part = integral(inside, math.log(rho_s), math.log(rho_t))  # over log rho, in which 1 / phi is not singular
        taylor.append((rho_s - rho_t) ** n / math.factorial(n) + phi_s * part / math.factorial(n - 1))
    return ratio, std, *taylor


def _differences(past: Sequence[tuple[Level, Tensor]]) -> list[Tensor]:
    """x_0 and its first and second derivative in rho, by differences (half-sums of their spans, as in the paper)."""
    derivatives = [past[0][1]]
    if len(past) > 1:
        first = [(b - a) / (u.ratio - v.ratio) for (v, a), (u, b) in pairwise(past)]
        derivatives.append(first[0])
        if len(past) > 2:
            derivatives.append((first[0] - first[1]) * (2.0 / (past[0][0].ratio - past[2][0].ratio)))
    return derivatives
