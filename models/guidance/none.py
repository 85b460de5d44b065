"""No guidance: the network with the image's class, or one that takes none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.guidance.base import CONDITIONAL, Branch, Guidance
from models.guidance.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("none")
@dataclass(frozen=True)
class Unguided(Guidance):
    """No guidance; one evaluation a call."""

    @property
    def evaluated(self) -> tuple[Branch, ...]:
        return CONDITIONAL

    def join(self, *outputs: Tensor) -> Tensor:
        return outputs[0]
