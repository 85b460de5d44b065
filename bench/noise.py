"""Counter-based noise: a pure function of (seed, image, draw), and of nothing else.

Philox4x32-10 (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011, doi 10.1145/2063384.2063405) over
integer tensors, then Box-Muller. The counter of a block is (block within the image, image, draw, 0) and its key the
seed; each block gives four standard normals. Whatever the batch, the number of workers, the device or what ran before,
image i gets the same noise, and there is no generator state to save, to share or to synchronise.
"""

import math

import torch
from torch import Tensor

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)  # the golden ratio and sqrt(3) - 1
_WORD = 0xFFFFFFFF
_ROUNDS = 10


def philox(counter: Tensor, key: tuple[int, int]) -> Tensor:
    """Philox4x32-10 of each counter.

    Args:
        counter: (4, M) int64, each entry a 32-bit word 0 ... 2^32 - 1.
        key: two 32-bit words.

    Returns:
        (4, M) int64 of 32-bit words, uniform on 0 ... 2^32 - 1.
    """
    even, odd = counter[0::2], counter[1::2]  # words (0, 2) are multiplied, words (1, 3) mixed in
    multipliers = torch.tensor(_MULTIPLIERS, device=counter.device)[:, None]
    keys = torch.tensor(
        [[(word + step * n) & _WORD for word, step in zip(key, _KEY_STEPS, strict=True)] for n in range(_ROUNDS)],
        device=counter.device,
    )[:, :, None]
    for n in range(_ROUNDS):
        # the 64-bit product wraps to a signed one with the same bits; masks and shifts see only those
        product = even * multipliers
        high = (product >> 32).bitwise_and_(_WORD)
        even, odd = high.flip(0).bitwise_xor_(odd).bitwise_xor_(keys[n]), product.bitwise_and_(_WORD).flip(0)
    return torch.stack([even, odd], dim=1).flatten(0, 1)


def normal(seed: int, images: Tensor, draw: int, size: int) -> Tensor:
    """Standard normals for some images of a seed.

    Args:
        seed: 0 ... 2^64 - 1.
        images: (N,) int64 image numbers, 0 ... 2^32 - 1; the result is on their device.
        draw: how many draws these images have had, 0 ... 2^32 - 1.
        size: elements an image.

    Returns:
        (N, size) float64, within +-6.7: Box-Muller (in float64) of uniforms with 32 bits.
    """
    blocks = -(-size // 4)
    counter = torch.zeros(4, images.numel(), blocks, dtype=torch.int64, device=images.device)
    counter[0] = torch.arange(blocks, device=images.device)
    counter[1] = images[:, None]
    counter[2] = draw
    words = philox(counter.flatten(1), (seed & _WORD, seed >> 32))
    uniform = (words.double() + 0.5) * 2.0**-32  # in the open interval (0, 1)
    radius = uniform[:2].log_().mul_(-2.0).sqrt_()
    angle = uniform[2:].mul_(2.0 * math.pi)
    pairs = torch.cat([radius * angle.cos(), radius * angle.sin()])  # (4, N * blocks)
    return pairs.T.reshape(images.numel(), 4 * blocks)[:, :size]


class ImageNoise:
    """The noise of a batch of images, one stream each; draw 0 is the initial state, 1, 2, ... what samplers ask for.

    Args:
        seed: of the study's seed block.
        images: (N,) int64 image numbers within the block, on the device that samples.
    """

    def __init__(self, seed: int, images: Tensor) -> None:
        self._seed, self._images, self._draws = seed, images, 0

    def __call__(self, like: Tensor) -> Tensor:
        """The next draw, shaped like a state (N, C, H, W), in its dtype."""
        if like.shape[0] != self._images.numel():
            raise ValueError(
                f"noise for {self._images.numel()} images was asked for a state of shape {tuple(like.shape)}"
            )
        drawn = normal(self._seed, self._images, self._draws, like[0].numel())
        self._draws += 1
        return drawn.to(like.dtype).reshape(like.shape)
