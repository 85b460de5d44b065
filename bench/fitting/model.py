"""A model as what is fitted to it sees it: images of noise that no study has, and evaluations that are counted."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor

from bench.fitting.flow import solve
from bench.noise.stream import ImageNoise
from bench.timing.memory import Halving
from models.denoiser import Denoiser
from models.fitted import Fitted, Solver
from models.schedule import Level, Schedule

SEED = 2**62 + 3
"""Of noise and labels, which no study's seed block has."""
_WIDE = 100.0
"""Values of laws in closed form, which have no range, are within this."""


@dataclass
class CountedModel:
    """A `models.fitted.FitModel`.

    Args:
        schedule, shape, value_range: of the model.
        make: the denoiser of some image numbers (N,) int64, and what says how many images it has evaluated.
        batch: images worked on at a time, if they fit into the memory; else fewer.
        device: that evaluates.
        steps: of the grid that is fitted.
        sampler: that is fitted to; None: none.
        jumps: values of sigma / alpha where predictions jump; see `flow.solve`.
        dtype: of states.
    """

    schedule: Schedule
    shape: tuple[int, int, int]
    value_range: tuple[float, float]
    make: Callable[[Tensor], tuple[Denoiser, Callable[[], int]]]
    batch: int
    device: torch.device
    steps: int = 0
    sampler: Solver | None = None
    jumps: tuple[float, ...] = ()
    dtype: torch.dtype = torch.float32
    _counts: list[Callable[[], int]] = field(default_factory=list)

    @property
    def nfe(self) -> int:
        """Network evaluations so far, of all images; without those of batches that did not fit into the memory."""
        return sum(count() for count in self._counts)

    @property
    def solver(self) -> Solver:
        assert self.sampler is not None, "what is fitted says which sampler it is for: fits_sampler"
        return self.sampler

    def in_batches(self, images: range, work: Callable[[Tensor], Tensor]) -> Tensor:
        return torch.cat(list(self._batches(images, work)))

    def mean(self, images: range, work: Callable[[Tensor], Tensor]) -> Tensor:
        return reduce(torch.add, self._batches(images, work)) / len(images)

    def _batches(self, images: range, work: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
        fitting, done = Halving(min(self.batch, len(images))), images.start
        while done < images.stop:
            found, count = fitting(partial(self._batch, work, done, images.stop))
            yield found.cpu()
            done += count

    def _batch(self, work: Callable[[Tensor], Tensor], first: int, stop: int, batch: int) -> tuple[Tensor, int]:
        before, numbers = len(self._counts), torch.arange(first, min(first + batch, stop), device=self.device)
        try:
            return work(numbers), len(numbers)
        except BaseException:
            del self._counts[before:]
            raise

    def denoiser(self, numbers: Tensor) -> Denoiser:
        model, count = self.make(numbers)
        self._counts.append(count)
        return model

    def noise(self, numbers: Tensor, first: int = 0) -> ImageNoise:
        return ImageNoise(SEED, numbers, first=first)

    def start(self, numbers: Tensor, at: Level) -> Tensor:
        like = torch.empty((len(numbers), *self.shape), device=self.device, dtype=self.dtype)
        return self.noise(numbers)(like) * self.schedule.prior_std(at)

    def flow(self, model: Denoiser, x: Tensor, first: Level, last: Level, steps: int) -> Tensor:
        return solve(model, x, first, last, steps, self.jumps)


def fitted_to(
    sampler: object,
    make: Callable[[Tensor], Denoiser],
    shape: tuple[int, int, int],
    dtype: torch.dtype = torch.float64,
    steps: int = 0,
) -> Any:
    """What a sampler finds in `model.fitted`, fitted to a network in closed form; None if it takes nothing.

    Args:
        sampler: that is run.
        make: the denoiser of some image numbers.
        shape: (C, H, W) of a state.
        dtype: of states.
        steps: of the grid, which some fits are for.
    """
    if not (isinstance(sampler, Fitted) and sampler.takes_fit):
        return None
    batch, wide = sampler.fit_images, (-_WIDE, _WIDE)
    counted = lambda numbers: (make(numbers), lambda: 0)  # noqa: E731
    with torch.inference_mode():
        schedule = make(torch.arange(1)).schedule
        model = CountedModel(schedule, shape, wide, counted, batch, torch.device("cpu"), steps, dtype=dtype)
        return sampler.read(sampler.fit(model), steps)
