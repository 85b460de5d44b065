"""Adaptive projected guidance. Sadat, Hilliges, Weber (arXiv 2410.02416), algorithm 1.

Of the difference of the two predictions of x_0, no longer than a threshold, the part along the conditional prediction
makes images too saturated; eta is what is kept of it. The paper's momentum, of the differences of earlier calls, is not
here: a call's answer would depend on the calls before it, which differ from sampler to sampler, and there would be no
flow whose solution a solver's error could be measured from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt

from models.guidance.base import BOTH, CONDITIONAL, Branch, Guidance
from models.guidance.registry import register

if TYPE_CHECKING:
    from torch import Tensor


_LEAST = 1e-30
"""Of a squared length that is divided by: of a prediction that is zero there is no part along it."""


@register("apg")
@dataclass(frozen=True)
class AdaptiveProjected(Guidance):
    """Adaptive projected guidance without momentum; two evaluations a call. With eta 1 and no threshold it is cfg.

    Attributes:
        scale: as that of cfg.
        eta: share that is kept of the part along the conditional prediction.
        norm: the most that an image's difference may be long, r in the paper, where it is tuned by the size of the
            state; "inf" for any length.
    """

    scale: float
    eta: Annotated[float, Ge(0)] = 0.0
    norm: Annotated[float, Gt(0)] | Literal["inf"] = "inf"

    paper = "arXiv:2410.02416"
    form = "sample"

    def __post_init__(self) -> None:
        if self.norm == float("inf"):
            object.__setattr__(self, "norm", "inf")

    @property
    def evaluated(self) -> tuple[Branch, ...]:
        return CONDITIONAL if self.scale == 1.0 else BOTH

    def join(self, *outputs: Tensor) -> Tensor:
        conditional, unconditional = outputs
        difference = conditional - unconditional
        if self.norm != "inf":
            difference *= (float(self.norm) / _dot(difference, difference).sqrt()).clamp(max=1.0)
        length2 = _dot(conditional, conditional).clamp(min=_LEAST)
        along = conditional * (_dot(difference, conditional) / length2)
        return conditional + (self.scale - 1.0) * (difference - (1.0 - self.eta) * along)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Scalar products of images, (N, 1, 1, 1), summed in float64 as its authors do."""
    return (a.double() * b.double()).sum(dim=tuple(range(1, a.dim())), keepdim=True).to(a.dtype)
