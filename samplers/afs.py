"""The analytical first step (AFS). Dockhorn, Vahdat and Kreis: GENIE: Higher-Order Denoising Diffusion Solvers (arXiv
2210.05475): at the noisiest level the noise prediction is nearly the state itself, and no network is needed to say so.

Any other sampler with its first evaluation answered so, eps = x / sqrt(alpha^2 + sigma^2), and one evaluation fewer. On
EDM's levels that is diff-sampler's `afs`. Where a sampler makes a single evaluation, the network makes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from models.common.errors import UsageError
from models.denoiser import Denoiser, Prediction
from models.fitted import Fitted
from models.schedule import Level
from samplers.base import Family, Noise, Sampler
from samplers.registry import SAMPLERS, register

if TYPE_CHECKING:
    from torch import Tensor


@register("afs")
@dataclass(frozen=True)
class AnalyticalFirstStep(Sampler):
    """A sampler with the analytical first step.

    Attributes:
        sampler: its specification, such as dpm++2m[solver_type=taylor].
    """

    sampler: str = "ipndm"

    paper = "arXiv:2210.05475"
    order = None  # the error of the answer stays, however many steps there are

    def __post_init__(self) -> None:
        inner = _made(self.sampler)
        if isinstance(inner, AnalyticalFirstStep) or inner.places_steps or inner.needs != "denoiser":
            raise UsageError(
                f"the analytical first step is one of samplers on a grid that ask a denoiser, got {self.sampler!r}"
            )
        if isinstance(inner, Fitted) and inner.takes_fit:
            raise UsageError(f"the analytical first step is one of samplers without a fit, got {self.sampler!r}")

    @property
    def family(self) -> Family:  # type: ignore[override]
        return _made(self.sampler).family

    @property
    def stochastic(self) -> bool:
        return _made(self.sampler).stochastic

    @property
    def starts_at_noise(self) -> bool:  # type: ignore[override]
        return _made(self.sampler).starts_at_noise

    @property
    def takes_variance(self) -> bool:  # type: ignore[override]
        return _made(self.sampler).takes_variance

    @property
    def takes_betas(self) -> bool:  # type: ignore[override]
        return _made(self.sampler).takes_betas

    @property
    def takes_flow(self) -> bool:  # type: ignore[override]
        return _made(self.sampler).takes_flow

    @property
    def strong_order(self) -> float | None:  # type: ignore[override]
        return _made(self.sampler).strong_order

    @property
    def caveat(self) -> str | None:  # type: ignore[override]
        return _made(self.sampler).caveat

    def nfe(self, levels: Sequence[Level]) -> int | None:
        whole = _made(self.sampler).nfe(levels)
        if whole is None:
            raise UsageError(f"the analytical first step is one of samplers with fixed steps, got {self.sampler!r}")
        return max(whole - 1, min(whole, 1))

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        inner = _made(self.sampler)
        fewer = self.nfe(levels) != inner.nfe(levels)
        return inner.sample(_FirstKnown(model) if fewer else model, x, levels, noise)


@lru_cache(1024)
def _made(spec: str) -> Sampler:
    return SAMPLERS.make(spec)


class _FirstKnown(Denoiser):
    """A denoiser that answers the first question itself."""

    def __init__(self, model: Denoiser) -> None:
        self._model, self.schedule, self._asked = model, model.schedule, False

    def rows(self, images: slice) -> Denoiser:
        return _FirstKnown(self._model.rows(images))

    def __call__(self, x: Tensor, at: Level) -> Prediction:
        if self._asked:
            return self._model(x, at)
        self._asked = True
        return Denoiser(_nearly_noise, "sample", self.schedule)(x, at)


def _nearly_noise(x: Tensor, at: Level) -> Tensor:
    """x_0 where eps is x / size, size = sqrt(alpha^2 + sigma^2); written so that it is 0 at alpha = 0."""
    size = math.hypot(at.alpha, at.sigma)
    return x * (at.alpha / (size * (size + at.sigma)))
