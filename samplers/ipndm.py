"""iPNDM. Zhang and Chen: Fast Sampling of Diffusion Models with Exponential Integrator (arXiv 2204.13902): PNDM (arXiv
2202.09778) whose first steps are multistep ones of lower order instead of Runge-Kutta ones.

Adams-Bashforth in rho = sigma / alpha with the weights for even steps, whatever the grid; so the order is 2 at most on
all but grids even in rho. The step to the clean level is a multistep one like any other: rho is 0 there, and the noise
predictions are extrapolated to it.

The right weights for uneven steps (`exact`) integrate the polynomial through the values in rho. That is the linear
multistep method of k-diffusion (`sample_lms`) and diffusers' LMSDiscreteScheduler, to the clean level as well, but for
what they lose by quadrature; ComfyUI's ends with x_0 itself, as `deis[variable=rho]` does. The "iPNDM_v" of published
tables (diff-sampler, copied by ComfyUI) is not that method: its code departs from it in three places. `v-published`
makes the same numbers; with four values it tends to order 3 on grids even in log-SNR and to order 2 on `karras`, so of
more than two it declares none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING, Literal

from models.denoiser import Denoiser
from models.schedule import Level
from samplers.base import Noise, Sampler
from samplers.coefficients import ratio_weights, weighted_sum
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor

ADAMS_BASHFORTH = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
"""Weights of the latest 1 ... 4 values, the latest first, for steps of equal length."""


@register("ipndm")
@dataclass(frozen=True)
class IPNDM(Sampler):
    """iPNDM.

    Attributes:
        solver_order: how many values are used, 4 in the paper.
        variant: "even": the weights for even steps, the paper's; "exact": the right ones for uneven steps;
            "v-published": those of iPNDM_v as its code has them.
    """

    solver_order: Literal[1, 2, 3, 4] = 4
    variant: Literal["even", "exact", "v-published"] = "even"

    paper = "arXiv:2204.13902"
    family = "ODE, multistep"
    stochastic = False

    @property
    def order(self) -> int | None:
        if self.variant == "v-published" and self.solver_order > 2:
            return None
        return self.solver_order if self.variant == "exact" else min(self.solver_order, 2)

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        past: list[tuple[Level, Tensor]] = []  # the latest first
        for t, s in pairwise(levels):
            past = [(t, model(x, t).eps), *past[: self.solver_order - 1]]
            x = transfer(x, t, s, self._weights(s, [level for level, _ in past]), [eps for _, eps in past])
        return x

    def _weights(self, s: Level, nodes: Sequence[Level]) -> Sequence[float]:
        if self.variant == "even":
            return ADAMS_BASHFORTH[len(nodes) - 1]
        if self.variant == "exact":
            return [w / (s.ratio - nodes[0].ratio) for w in ratio_weights(nodes[0], s, *nodes)]
        return published_uneven_weights([s.ratio, *(node.ratio for node in nodes)])


def published_uneven_weights(rho: Sequence[float]) -> tuple[float, ...]:
    """Weights of the latest 1 ... 4 values, the latest first, as the code of iPNDM_v has them.

    Each further value adds a multiple of a divided difference to the weights without it. What differs from the exact
    weights: the third value's multiple is (1 - a b) / 2 for (1 - a) b / 2, the fourth's has a sum for a difference, and
    its difference ends in h1 / h2 for h2 / h3, so that four weights sum to 1 only where steps grow evenly.

    Args:
        rho: where the step ends, where it starts, and where the values before lie: one more than there are weights.
    """
    h, *before = (later - earlier for later, earlier in pairwise(rho))
    added: list[tuple[float, ...]] = [(1.0,)]
    if before:
        h1 = before[0]
        added.append((h / h1 / 2, -h / h1 / 2))
    if len(before) > 1:
        h2 = before[1]
        a, b, p = h / (3 * (h + h1)), h * (h + h1) / (h1 * (h1 + h2)), h1 / h2
        third = (1 - a * b) / 2
        added.append((third, -(1 + p) * third, p * third))
    if len(before) > 2:
        h3 = before[2]
        q, span = p * (h1 + h2) / (h2 + h3), h + h1 + h2
        fourth = ((1 - a) / 2 + (1 - 1.5 * a) * h / (6 * span)) * b * span / (h1 + h2 + h3)
        added.append((fourth, -(1 + p + q) * fourth, (p + q * (1 + h2 / h3)) * fourth, -q * p * fourth))
    return tuple(sum(column) for column in zip_longest(*added, fillvalue=0.0))


def transfer(x: Tensor, t: Level, s: Level, weights: Sequence[float], values: Sequence[Tensor]) -> Tensor:
    """The transfer from t to s (PNDM), DDIM's, with a weighted sum of noise predictions."""
    ratio = s.alpha / t.alpha
    gain = s.sigma - ratio * t.sigma
    return weighted_sum((ratio, x), *((gain * w, eps) for w, eps in zip(weights, values, strict=True)))
