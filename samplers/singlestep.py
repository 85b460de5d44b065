"""Singlestep methods: each step starts afresh and spans several levels of the grid, at all of which but its last the
network is evaluated, so that N intervals always cost N evaluations.

How N is made up follows DPM-Solver's authors (arXiv 2206.00927, appendix, and their code): steps of the full order, and
at the end lower ones that fill up; for order 3, ... 3, 2, 1 where N is divisible by 3. The inner nodes of a step are
the grid's own levels. A step to the clean level has infinite length in log-SNR and is always of first order.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, final

from models.denoiser import Denoiser
from models.schedule import Level
from samplers.base import Noise, Sampler

if TYPE_CHECKING:
    from torch import Tensor


class SinglestepSampler(Sampler):
    """A singlestep method of some order, which is also the number of intervals that its steps span."""

    family = "ODE, one step"
    stochastic = False

    @property
    @abstractmethod
    def order(self) -> int: ...

    @final
    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    @final
    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        start = 0
        for size in spans(len(levels) - 1, self.order, levels[-1].is_clean):
            x = self.step(model, x, levels[start : start + size + 1])
            start += size
        return x

    @abstractmethod
    def step(self, model: Denoiser, x: Tensor, nodes: Sequence[Level]) -> Tensor:
        """Carry x from the first of 2 to order + 1 levels to the last, evaluating at all others."""


def spans(intervals: int, order: int, clean: bool) -> list[int]:
    """How many intervals each step spans: 7 by order 3 gives [3, 3, 1]."""
    full, rest = divmod(intervals, order)
    sizes = [order] * full + [rest] * (rest > 0)
    if order == 3 and rest == 0:
        sizes[-1:] = [2, 1]
    if clean and sizes[-1] > 1:
        sizes[-1:] = [sizes[-1] - 1, 1]
    return sizes
