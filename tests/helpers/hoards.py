"""Samplers that evaluate the network less often than it looks: they keep results, or claim a count."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from models.denoiser import Denoiser
from models.schedule import Level
from samplers import Noise, Sampler
from samplers.ddim import DDIM


@dataclass(frozen=True)
class Hoards(Sampler):
    """DDIM that keeps its results: by the state that it started from, or by the shape of that alone.

    Attributes:
        claims: whether it says that it has evaluated the network.
        declares: whether it declares how often.
        batches: only those of so many images or fewer are kept.
        blind: whether all states of a shape are one to it.
        least: whether it declares that it makes none.
    """

    claims: bool = False
    declares: bool = True
    batches: int = 1000
    blind: bool = False
    least: bool = False
    paper = "none"
    order = 1
    stochastic = False

    def nfe(self, levels: Sequence[Level]) -> int | None:
        if self.least:
            return 0
        return len(levels) - 1 if self.declares else None

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        key = (len(levels), len(x), b"" if self.blind else x.numpy().tobytes())
        if key not in HOARD or len(x) > self.batches:
            HOARD[key] = DDIM().sample(model, x, levels, noise)
        if self.claims:
            anything: Any = model
            anything.evaluations = len(x) * (len(levels) - 1)
        return HOARD[key] * 1.0


HOARD: dict[tuple[int, int, bytes], Tensor] = {}


@dataclass(frozen=True)
class GoesRound(DDIM):
    """Evaluates the network twice a step, once behind the denoiser's back, and puts the count right."""

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        anything: Any = model
        before = getattr(model, "evaluations", 0)
        anything._network(x, t)
        model(x, t)
        anything.evaluations = before
        return super().step(model, x, t, s, noise)
