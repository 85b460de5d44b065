"""Classifier-free guidance. Ho, Salimans (arXiv 2207.12598), in an interval of levels as Kynkaanniemi et al. have it
(arXiv 2404.07724).

The guided output is unconditional + scale * (conditional - unconditional). The scale is that of Imagen, DiT, EDM2 and
diffusers, where 1 is the conditional model and 0 the unconditional one; the paper's own w is the scale minus 1. It is
guided first and clipped then, as the references do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt

from models.guidance.base import BOTH, CONDITIONAL, Branch, Guidance
from models.guidance.registry import register

if TYPE_CHECKING:
    from torch import Tensor


def extrapolated(towards: Tensor, away: Tensor, scale: float) -> Tensor:
    """away + scale * (towards - away)."""
    return away.lerp(towards, scale)


@register("cfg")
@dataclass(frozen=True)
class ClassifierFree(Guidance):
    """Classifier-free guidance; two evaluations a call inside the interval, one outside and at a scale of 1 or 0.

    Attributes:
        scale: 1 for the conditional model, more for guidance.
        low, high: sigma / alpha in (low, high] is guided, and the conditional model taken elsewhere; "inf" for no upper
            end.
    """

    scale: float
    low: Annotated[float, Ge(0)] = 0.0
    high: Annotated[float, Gt(0)] | Literal["inf"] = "inf"

    paper = "arXiv:2207.12598"

    def __post_init__(self) -> None:
        if self.high == float("inf"):
            object.__setattr__(self, "high", "inf")
        if self.low >= float(self.high):
            raise ValueError("expected low < high")

    @property
    def interval(self) -> tuple[float, float]:  # type: ignore[override]
        return self.low, float(self.high)

    @property
    def evaluated(self) -> tuple[Branch, ...]:
        if self.scale == 1.0:
            return CONDITIONAL
        return ("unconditional",) if self.scale == 0.0 else BOTH

    def join(self, *outputs: Tensor) -> Tensor:
        conditional, unconditional = outputs
        return extrapolated(conditional, unconditional, self.scale)
