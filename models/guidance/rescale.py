"""Classifier-free guidance with its contrast rescaled. Lin, Liu, Li, Yang: Common Diffusion Noise Schedules and Sample
Steps Are Flawed (arXiv 2305.08891), section 3.4.

The guided output is scaled to the standard deviation of the conditional one, each image by its own, and mixed with the
guided one as it is (eq. 15, 16). The paper's network gives v; what a network gives otherwise is brought to v first, so
that the method is the same for all, as ComfyUI does. diffusers' `rescale_noise_cfg` takes the network's own output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Le

from models.guidance.base import BOTH, CONDITIONAL, Branch, Guidance
from models.guidance.cfg import extrapolated
from models.guidance.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("cfg-rescale")
@dataclass(frozen=True)
class Rescaled(Guidance):
    """Classifier-free guidance at the contrast of the conditional model; two evaluations a call.

    Attributes:
        scale: as that of cfg.
        rescale: share of the rescaled output in the result; 0 is cfg.
    """

    scale: float
    rescale: Annotated[float, Ge(0), Le(1)] = 0.7

    paper = "arXiv:2305.08891"
    form = "v_prediction"

    @property
    def evaluated(self) -> tuple[Branch, ...]:
        return CONDITIONAL if self.scale == 1.0 else BOTH

    def join(self, *outputs: Tensor) -> Tensor:
        conditional, unconditional = outputs
        guided = extrapolated(conditional, unconditional, self.scale)
        factor = _deviation(conditional) / _deviation(guided)
        return guided * (self.rescale * factor + (1.0 - self.rescale))


def _deviation(output: Tensor) -> Tensor:
    return output.std(dim=tuple(range(1, output.dim())), keepdim=True)
