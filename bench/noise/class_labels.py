"""The classes of images, for class-conditional networks: by (seed, image) alone, drawn or each equally often."""

import torch
from torch import Tensor

from bench.noise.philox import philox

_STREAM, _PERMUTED = 1, 2
"""Fourth word of the counter, which is 0 for noise: drawn labels, permutations and noise have no word in common."""


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


def balanced_labels(seed: int, images: Tensor, classes: int) -> Tensor:
    """The class of each image, each of 0 ... classes - 1 equally often, to within one in the first N images of any N.

    Image i has the (i mod classes)-th of a random permutation of the classes, which is that of (seed, i // classes); so
    it has the same class whatever batch it is in, and every tenth image may have any.

    Args:
        seed: of the study's seed block, 0 ... 2^64 - 1.
        images: (N,) int64 image numbers.
        classes: how many there are; each permutation of them that some image needs is in memory.

    Returns:
        (N,) int64, on the device of `images`.
    """
    rounds, row = torch.unique(images // classes, return_inverse=True)  # which waits for the device
    label, zero = torch.arange(classes, device=images.device), torch.zeros_like(rounds)[:, None]
    words = philox((label, rounds[:, None], zero, zero + _PERMUTED), (seed & 0xFFFFFFFF, seed >> 32))
    order = (words[0] << 31 | words[1] >> 1).argsort(dim=1, stable=True)
    return order[row, images % classes]
