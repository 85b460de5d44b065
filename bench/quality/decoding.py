"""Images of latents and latents of images, as many at a time as fit into the memory.

Decoding comes after sampling, whose time it is no part of.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bench.timing.memory import Halving
from models.loading.model import Model
from models.networks.execution import arithmetic

_VALUES = 2**22
"""Of images worked on at a time, at first: 5 of 512 x 512, 340 of 64 x 64. More at a time are hardly faster."""


class Decoding:
    """Decodes what samplers give of a model; of a model without a decoder these are images, and stay as they are.

    Args:
        model: whose decoder it is; in its own precision, whatever the mode of the network.
        batch: images at a time at most, as there are; fewer where that is usual.

    Attributes:
        fitting: images at a time, and how often they were halved.
    """

    def __init__(self, model: Model, batch: int | None = None) -> None:
        self._decoder = model.decoder
        usual = max(1, _VALUES // math.prod(model.card.shape))
        self.fitting = Halving(usual if batch is None else min(batch, usual))

    def __call__(self, samples: Tensor) -> Tensor:
        """Images (N, C, H, W), float32 in the model's value range, of samples."""
        return samples if self._decoder is None else self._in_parts(self._decoder.decode, samples)

    def encoded(self, images: Tensor) -> Tensor:
        """Latents of images (N, C, H, W), float32 in the model's value range; UsageError for a decoder alone."""
        return images if self._decoder is None else self._in_parts(self._decoder.encode, images)

    @property
    def batch(self) -> int | None:
        """Images decoded at a time; None for a model without a decoder."""
        return None if self._decoder is None else self.fitting.size

    def _in_parts(self, work: Callable[[Tensor], Tensor], whole: Tensor) -> Tensor:
        found, done = list[Tensor](), 0
        with arithmetic("fp32"):
            while done < len(whole):
                found.append(self.fitting(lambda size, first=done: work(whole[first : first + size])))  # type: ignore[misc]
                done += len(found[-1])
        return torch.cat(found)
