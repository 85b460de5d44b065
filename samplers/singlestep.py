"""Singlestep methods: each step starts afresh and spans several levels of the grid, at all of which but its last the
network is evaluated, so that N intervals always cost N evaluations.

How N is made up follows DPM-Solver's authors (arXiv 2206.00927, appendix, and their code): steps of the full order, and
at the end lower ones that fill up; for order 3, ... 3, 2, 1 where N is divisible by 3. The inner nodes of a step are
the grid's own levels. A step to the clean level has infinite length in log-SNR and is always of first order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, final

from models.denoiser import Denoiser
from models.schedule import Level
from samplers.base import Noise, Sampler
from samplers.runge_kutta import exponential, take
from samplers.tableaus import HALF_SLOPE, LINE_THEN_QUADRATIC, LINE_TO_THIRD, LINEAR

if TYPE_CHECKING:
    from torch import Tensor

_TABLEAUS = {
    "dpmsolver": {2: HALF_SLOPE, 3: LINE_TO_THIRD},
    "taylor": {2: LINEAR, 3: LINE_THEN_QUADRATIC},
}


@dataclass(frozen=True)
class SinglestepSampler(Sampler):
    """A singlestep exponential method of some order, which is also the number of intervals that its steps span.

    Attributes:
        solver_type: what is made of a step's values, as the authors' code calls it: "dpmsolver", their default and the
            papers', uses two of them at the end, "taylor" integrates the polynomial through all.
        rate: 1 where x_0 is integrated in log-SNR, -1 where eps is.
    """

    solver_type: Literal["dpmsolver", "taylor"] = "dpmsolver"

    family = "ODE, one step"
    stochastic = False
    order: ClassVar[int]
    rate: ClassVar[float]

    @final
    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    @final
    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        start = 0
        for size in spans(len(levels) - 1, self.order, levels[-1].is_clean):
            x = self._step(model, x, levels[start : start + size + 1])
            start += size
        return x

    def _step(self, model: Denoiser, x: Tensor, nodes: Sequence[Level]) -> Tensor:
        """Carry x from the first of 2 to order + 1 levels to the last, evaluating at all others."""
        if len(nodes) == 2:  # DDIM's, at the clean level as well
            return model(x, nodes[0]).combine(x0=nodes[1].alpha, eps=nodes[1].sigma)
        tableau = _TABLEAUS[self.solver_type][len(nodes) - 1]
        return take(model, x, exponential(tableau, self.rate, *nodes))[0]


def spans(intervals: int, order: int, clean: bool) -> list[int]:
    """How many intervals each step spans: 7 by order 3 gives [3, 3, 1]."""
    full, rest = divmod(intervals, order)
    sizes = [order] * full + [rest] * (rest > 0)
    if order == 3 and rest == 0:
        sizes[-1:] = [2, 1]
    if clean and sizes[-1] > 1:
        sizes[-1:] = [sizes[-1] - 1, 1]
    return sizes
