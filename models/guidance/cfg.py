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

from models.guidance.base import CONDITIONAL, Branch, Guidance
from models.guidance.registry import register

if TYPE_CHECKING:
    from torch import Tensor


def branches_of(scale: float) -> tuple[Branch, ...]:
    """What a scale needs: at 1 and 0 a single evaluation."""
    if scale == 1.0:
        return CONDITIONAL
    return ("unconditional",) if scale == 0.0 else ("conditional", "unconditional")


def extrapolated(towards: Tensor, away: Tensor, scale: float) -> Tensor:
    """away + scale * (towards - away)."""
    return away.lerp(towards, scale)


@register("cfg")
@dataclass(frozen=True)
class ClassifierFree(Guidance):
    """Classifier-free guidance; two evaluations a call inside the interval, one outside.

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
            raise ValueError(f"expected low < high, got {self.low:g} and {self.high}")

    @property
    def interval(self) -> tuple[float, float]:  # type: ignore[override]
        return self.low, float(self.high)

    @property
    def evaluated(self) -> tuple[Branch, ...]:
        return branches_of(self.scale)

    def join(self, *outputs: Tensor) -> Tensor:
        conditional, unconditional = outputs
        return extrapolated(conditional, unconditional, self.scale)
