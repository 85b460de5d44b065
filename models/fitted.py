"""What is fitted to a model before it is used: the coefficients of a sampler, the levels of a grid.

A fit is made once a model, guidance and clipping (and number of steps, where it is for one), from images of noise that
no study has, and is kept. What it costs stands in columns of its own, `fit_nfe` and `fit_s`. It comes back as data: a
sampler finds it in `model.fitted`, a grid gives the times that it reads from it. So both stay frozen and pure.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from models.denoiser import Denoiser
from models.schedule import Level, Schedule

if TYPE_CHECKING:
    from torch import Tensor

_IMAGE_STEPS = 12
"""Of the probability flow that makes images, of four evaluations each."""
IMAGE_EVALUATIONS = 4 * _IMAGE_STEPS + 1
"""That an image takes."""
OWN = "own"
"""Stands for the sampler that a grid is run with."""


class Solver(Protocol):
    """A sampler, as a grid that is fitted to one runs it."""

    def __call__(self, model: Denoiser, x: Tensor, levels: Sequence[Level]) -> Tensor:
        """The state at the last level, for x at the first."""


class FitModel(Protocol):
    """A model that something is fitted to, with its guidance and clipping, in float32.

    Attributes:
        schedule: of the model.
        shape: (C, H, W) of a state.
        value_range: of its images.
        steps: of the grid that is fitted.
        solver: the sampler that is fitted to, if any.
    """

    @property
    def schedule(self) -> Schedule: ...
    @property
    def shape(self) -> tuple[int, int, int]: ...
    @property
    def value_range(self) -> tuple[float, float]: ...
    @property
    def steps(self) -> int: ...
    @property
    def solver(self) -> Solver: ...

    def in_batches(self, images: range, work: Callable[[Tensor], Tensor]) -> Tensor:
        """What `work` gives for the image numbers (N,) int64, together, on the CPU, (len(images), ...).

        As many at a time as fit into the memory: `work` makes its own denoiser and noise for the numbers that it gets.
        """

    def mean(self, images: range, work: Callable[[Tensor], Tensor]) -> Tensor:
        """The mean over images, on the CPU, of what `work` gives as the sum over the numbers that it gets."""

    def denoiser(self, numbers: Tensor) -> Denoiser:
        """The model for these images, with their labels; its evaluations are counted."""

    def noise(self, numbers: Tensor, first: int = 0) -> Callable[[Tensor], Tensor]:
        """Standard normal noise of these images, from the draw of that number on; see `samplers.Noise`."""

    def start(self, numbers: Tensor, at: Level) -> Tensor:
        """(N, C, H, W): draw 0 of these images as a sampler's state at its first level."""

    def flow(self, model: Denoiser, x: Tensor, first: Level, last: Level, steps: int) -> Tensor:
        """The probability flow's end for x at `first`, float64, in so many Runge-Kutta steps of four evaluations."""


class Fitted(ABC):
    """A sampler or grid that is fitted first.

    Attributes:
        takes_fit: whether it is: with some parameters it may need none.
        fit_images: images of noise that the fit takes.
        fits_steps: whether the fit is for a number of steps.
        fit_parameters: the names of its parameters that the fit depends on; None: all.
    """

    takes_fit: bool = True
    fits_steps: ClassVar[bool] = False
    fit_parameters: ClassVar[tuple[str, ...] | None] = None

    @property
    @abstractmethod
    def fit_images(self) -> int: ...

    @abstractmethod
    def fit_evaluations(self, schedule: Schedule, steps: int) -> int:
        """Network evaluations that a fit takes about, without guidance, for estimates."""

    @abstractmethod
    def fit(self, model: FitModel) -> dict[str, Tensor]:
        """What is found out, as tensors on the CPU, which are kept.

        Raises:
            ValueError: nothing can be fitted, as where the network's predictions are NaN.
        """

    @abstractmethod
    def read(self, found: Mapping[str, Tensor], steps: int) -> Any:
        """What was found as it is used in so many steps: of a sampler `model.fitted`, of a grid its noisy times."""


def images_of(model: FitModel, images: range) -> Tensor:
    """Images of the model itself, (N, C, H, W) on the CPU, as the probability flow makes them: no data are needed."""
    start, end = (model.schedule.level(t) for t in (model.schedule.t_max, 0.0))

    def made(numbers: Tensor) -> Tensor:
        x = model.start(numbers, start)
        return model.flow(model.denoiser(numbers), x, start, end, _IMAGE_STEPS).to(x)

    return model.in_batches(images, made)


def takes_fit(thing: object) -> bool:
    """Whether a sampler or grid is fitted first."""
    return isinstance(thing, Fitted) and thing.takes_fit
