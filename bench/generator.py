"""Generation of a cell's images: timed, with every evaluation counted."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.images import check_samples
from bench.noise import ImageNoise
from bench.rig import Rig
from bench.timing import Stopwatch, Timed, TimedNetwork
from models.denoiser import ClipRange, Denoiser
from models.schedule import Level
from models.zoo import Model
from samplers import Sampler


class Generator:
    """Draws batches of one cell.

    Args:
        rig: device, and the labels of class-conditional models.
        model, sampler: what is run.
        seed: of the noise and the labels.
        clip: range that predictions of x_0 are clamped to, or None.

    Attributes:
        evaluations: images evaluated so far.
    """

    def __init__(self, rig: Rig, model: Model, sampler: Sampler, seed: int, clip: ClipRange | None) -> None:
        self._rig, self._model, self._sampler, self._seed, self._clip = rig, model, sampler, seed, clip
        self._network = TimedNetwork(model.network, rig.device)
        self._stopwatch = Stopwatch(rig.device)
        self.evaluations = 0

    def denoiser(self, numbers: Tensor) -> Denoiser:
        """The model for images of these numbers."""
        return self._rig.denoiser(self._model, self._network, self._seed, numbers, self._clip)

    def draw(self, numbers: Tensor, levels: Sequence[Level]) -> Timed:
        """Images of these numbers, (N, C, H, W) in the network's value range, checked, and how long they took."""
        card, numbers = self._model.card, numbers.to(self._rig.device)
        source, model = ImageNoise(self._seed, numbers), self.denoiser(numbers)
        state = torch.empty((len(numbers), *card.state_shape), device=self._rig.device)
        x = source(state) * self._model.schedule.prior_std(levels[0])
        timed = self._stopwatch.time(lambda: self._sampler.sample(model, x, levels, source), self._network)
        self.evaluations += model.evaluations
        check_samples(timed.result, (len(numbers), *card.shape), state.dtype)
        return timed

    def warm_up(self, numbers: Tensor, levels: Sequence[Level]) -> float:
        """Seconds of a first call, on the same batch and at most two steps: allocations and kernel choices are done."""
        whole = len(levels) <= 2 or self._sampler.places_steps  # which may not be able to place two
        return self.draw(numbers, levels if whole else [*levels[:2], levels[-1]]).seconds
