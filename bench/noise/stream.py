"""Counter-based noise: a pure function of (seed, image, draw), and of nothing else.

Philox4x32-10, then Box-Muller. The counter of a block is (block within the image, image, draw, 0) and its key the seed;
each block gives four standard normals. Whatever the batch, the number of workers, the device or what ran before, image
i gets the same noise, and there is no generator state to save, to share or to synchronise.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from bench.noise.philox import philox, philox_on_host

_WORD = 0xFFFFFFFF
_AT_ONCE = 1 << 16
"""Elements up to which draws are made together; above, starting a kernel takes little beside running it."""


def normal(seed: int, images: Tensor, draws: range, size: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normals for some images of a seed.

    Args:
        seed: 0 ... 2^64 - 1.
        images: (N,) int64 image numbers, 0 ... 2^32 - 1; the result is on their device.
        draws: numbers of the draws, consecutive, 0 ... 2^32 - 1.
        size: elements an image.
        dtype: of the result, which float64 is rounded to.

    Returns:
        (draws, N, size), within +-6.7: Box-Muller (in float64) of uniforms with 32 bits.
    """
    fused = _fused(images.device.type)
    if fused is not None:
        return fused(seed, images, draws, size, dtype)
    return box_muller(_words(seed, images, draws, -(-size // 4)), size, dtype)


def box_muller(block_words: Sequence[Tensor], size: int, dtype: torch.dtype) -> Tensor:
    """Standard normals (draws, N, size), four of each block, whose four words (draws, N, blocks) are given."""
    uniform = torch.empty(4, *block_words[0].shape, dtype=torch.float64, device=block_words[0].device)
    for row, word in zip(uniform, block_words, strict=True):
        row.copy_(word)
    uniform.add_(0.5)  # times 2^-32 in the open interval (0, 1)
    radius = uniform[:2].mul_(2.0**-32).log_().mul_(-2.0).sqrt_()
    angle = uniform[2:].mul_(2.0**-31 * math.pi)
    drawn = torch.empty_like(uniform)
    torch.mul(radius, angle.cos(), out=drawn[:2])
    torch.mul(radius, angle.sin_(), out=drawn[2:])
    rows = torch.empty(*block_words[0].shape, 4, dtype=dtype, device=block_words[0].device)
    rows.movedim(3, 0).copy_(drawn.to(dtype))  # the four of a block side by side
    return rows.flatten(2)[:, :, :size]


def _words(seed: int, images: Tensor, draws: range, blocks: int) -> Sequence[Tensor]:
    """The four words (draws, N, blocks) of every block, int64."""
    draw = torch.arange(draws.start, draws.stop, device=images.device)[:, None, None]
    return words(seed, images, draw, torch.zeros_like(draw), blocks)


def words(seed: int, images: Tensor, third: Tensor, fourth: Tensor, blocks: int) -> Sequence[Tensor]:
    """The same for draws whose third and fourth word of the counter are given, (draws, 1, 1)."""
    key = (seed & _WORD, seed >> 32)
    block = torch.arange(blocks, device=images.device)[None, None]
    counter = (block, images[:, None], third, fourth)
    if images.device.type != "cpu":
        return philox(counter, key)
    return [torch.from_numpy(word) for word in philox_on_host([word.numpy() for word in counter], key)]


@cache
def _fused(device_type: str) -> Callable[[int, Tensor, range, int, torch.dtype], Tensor] | None:
    """The same function as one kernel, where there is one that works: on CUDA with Triton and what that needs."""
    if device_type != "cuda":
        return None
    try:
        from bench.noise.kernel import normal_by_one_kernel

        images = torch.zeros(1, dtype=torch.int64, device=device_type)
        normal_by_one_kernel(0, images, range(1), 1, torch.float32)
    except Exception as error:  # no Triton, no C compiler for its launcher, a driver or a device that it does not know
        warnings.warn(
            f"noise takes some ninety kernels a draw instead of one, since Triton fails: {error}", stacklevel=2
        )
        return None
    return normal_by_one_kernel


class ImageNoise:
    """The noise of a batch of images, one stream each; draw 0 is the initial state, 1, 2, ... what samplers ask for.

    Where a draw takes many kernels, those of small states take their time to be started. So all draws but draw 0 are
    made several at once; that changes nothing about what they are.

    Args:
        seed: of the study's seed block.
        images: (N,) int64 image numbers within the block, on the device that samples.
        first: number of the first draw.
    """

    def __init__(self, seed: int, images: Tensor, first: int = 0) -> None:
        self._seed, self._images, self._draws = seed, images, first
        self._ready, self._first = torch.empty(0, images.numel(), 0), first  # draws made already, from this one on

    def __call__(self, like: Tensor) -> Tensor:
        """The next draw, shaped like a state (N, C, H, W), in its dtype."""
        if like.shape[0] != self._images.numel():
            raise ValueError(
                f"noise for {self._images.numel()} images was asked for a state of shape {tuple(like.shape)}"
            )
        size, ready = like[0].numel(), self._ready
        if self._draws == self._first + len(ready) or ready.shape[2] != size or ready.dtype != like.dtype:
            count = max(min(4 * self._draws, _AT_ONCE // like.numel()), 1)
            self._first = self._draws
            self._ready = normal(self._seed, self._images, range(self._first, self._first + count), size, like.dtype)
        drawn = self._ready[self._draws - self._first]
        self._draws += 1
        return drawn.reshape(like.shape)
