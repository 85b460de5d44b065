"""The error of a network image by image, as they are or changed, with one class or another."""

from collections.abc import Callable

import torch
from torch import Tensor

from bench.conformance.model_fit import levels_at
from bench.noise import OWN_SEEDS
from bench.noise.stream import ImageNoise
from models.loading.model import Model

Change = Callable[[Tensor], Tensor]
"""Of images (N, C, H, W) that are centred about 0; it is linear, and moves values but adds none."""

_LOGSNRS = (1.5, 0.0, -1.5)


class ImageErrors:
    """The error of x_0 of each image, (N,): its mean square over that of the best linear guess, mean over three levels.

    Args:
        model: in float32.
        images: (N, C, H, W), on its device: parts of the range of values, or latents.

    Attributes:
        evaluations: images that went through the network so far.
    """

    def __init__(self, model: Model, images: Tensor) -> None:
        low, high = (0.0, 1.0) if model.card.decoder is not None else model.card.value_range
        self._model, self._middle, self.evaluations = model, (low + high) / 2.0, 0
        self._x0 = low + (high - low) * images
        self._eps = ImageNoise(OWN_SEEDS, torch.arange(len(images), device=images.device))(self._x0)
        self._levels = list(levels_at(model.schedule, _LOGSNRS).values())

    def __call__(self, labels: Tensor | None, change: Change = lambda x: x) -> Tensor:
        """Of the images when they, and their noise, are changed, and with these classes.

        NaN if the schedule has none of the levels; not finite if all values of the images are one.
        """
        x0, eps = self._middle + change(self._x0 - self._middle), change(self._eps)
        variance = float(x0.var()) if bool(x0.min() < x0.max()) else 0.0
        denoiser = self._model.denoiser(labels=labels)
        total = torch.zeros(len(x0), dtype=torch.float64, device=x0.device)
        for at in self._levels:
            with torch.inference_mode():
                found = denoiser(at.alpha * x0 + at.sigma * eps, at).x0
            guess = variance * at.sigma**2 / (at.alpha**2 * variance + at.sigma**2)
            total += (found.double() - x0).square().mean((1, 2, 3)) / torch.tensor(guess, dtype=torch.float64)
            self.evaluations += len(x0)
        return total / len(self._levels) if self._levels else total * torch.nan
