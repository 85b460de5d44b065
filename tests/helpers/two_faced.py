"""A sampler that does something else, as often, in some of its calls."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from models.denoiser import Denoiser
from models.schedule import Level
from samplers import Noise, Sampler
from samplers.ddim import DDIM

CALLS: list[int] = []
"""Images of every call."""


@dataclass(frozen=True)
class TwoFaced(Sampler):
    """DDIM that answers with the state that it was given, having asked the network as often, once it has been called
    some number of times, or about batches of some size.

    Attributes:
        after: calls that are honest.
        batch: images of a call that is not.
        nan: whether its answer is no number then.
    """

    after: int = 1000
    batch: int = 0
    nan: bool = False
    paper = "none"
    order = 1
    stochastic = False

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        CALLS.append(len(x))
        found = DDIM().sample(model, x, levels, noise)
        if len(CALLS) <= self.after and len(x) != self.batch:
            return found
        return x / 0.0 if self.nan else x * 1.0
