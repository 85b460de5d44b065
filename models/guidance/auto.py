"""Autoguidance: away from a weaker version of the same network. Karras et al.: Guiding a Diffusion Model with a Bad
Version of Itself (arXiv 2406.02507), eq. 3.

The guided output is weaker + scale * (conditional - weaker), both of the image's class if there are classes. Every call
takes an evaluation of each network, which count alike; what one of the weaker costs is a column of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.guidance.base import CONDITIONAL, Branch, Guidance
from models.guidance.cfg import extrapolated
from models.guidance.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("auto")
@dataclass(frozen=True)
class Auto(Guidance):
    """Autoguidance: away from a weaker network; an evaluation of each a call.

    Attributes:
        scale: 1 is the network itself, 0 the weaker one.
        model: the weaker network, as a study names models: of the same shape, schedule, parametrisation and classes.
    """

    scale: float
    model: str

    paper = "arXiv:2406.02507"

    @property
    def weaker(self) -> str:  # type: ignore[override]
        return self.model

    @property
    def evaluated(self) -> tuple[Branch, ...]:
        if self.scale == 1.0:
            return CONDITIONAL
        return ("weaker",) if self.scale == 0.0 else ("conditional", "weaker")

    def join(self, *outputs: Tensor) -> Tensor:
        conditional, weaker = outputs
        return extrapolated(conditional, weaker, self.scale)
