"""The classes of images, for class-conditional networks: drawn by (seed, image) alone, or one for all."""

import torch
from torch import Tensor

from bench.noise.philox import philox

_STREAM = 1
"""Fourth word of the counter, which is 0 for noise: labels and noise have no word in common."""


def draw_labels(seed: int, images: Tensor, classes: int) -> Tensor:
    """The class of each image, evenly drawn from 0 ... classes - 1; any image's is the same whatever batch it is in.

    Args:
        seed: of the study's seed block, 0 ... 2^64 - 1.
        images: (N,) int64 image numbers.
        classes: how many there are, at most 2^31.

    Returns:
        (N,) int64, on the device of `images`.
    """
    zero = torch.zeros_like(images)
    word = philox((zero, images, zero, zero + _STREAM), (seed & 0xFFFFFFFF, seed >> 32))[0]
    return (word * classes) >> 32  # Lemire's multiply and shift: uniform to 2^-32
