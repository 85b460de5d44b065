"""Counter-based noise: a pure function of (seed, image, draw), and of nothing else.

Philox4x32-10 (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011, doi 10.1145/2063384.2063405) over
integer tensors, then Box-Muller. The counter of a block is (block within the image, image, draw, 0) and its key the
seed; each block gives four standard normals. Whatever the batch, the number of workers, the device or what ran before,
image i gets the same noise, and there is no generator state to save, to share or to synchronise.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)  # the golden ratio and sqrt(3) - 1
_WORD = 0xFFFFFFFF
_ROUNDS = 10
_AT_ONCE = 1 << 15
"""Elements up to which draws are made together; above, starting a kernel takes little beside running it."""


def philox(counter: Tensor, key: tuple[int, int]) -> Tensor:
    """Philox4x32-10 of each counter.

    Args:
        counter: (4, M) int64, each entry a 32-bit word 0 ... 2^32 - 1.
        key: two 32-bit words.

    Returns:
        (4, M) int64 of 32-bit words, uniform on 0 ... 2^32 - 1.
    """
    # A round makes word 0 from word 2 and word 2 from word 0. Their rows stay where they are, and the constants of
    # every other round change places instead.
    multipliers = _columns([_MULTIPLIERS, _MULTIPLIERS[::-1]], counter.device)
    keys = [[(word + step * n) & _WORD for word, step in zip(key, _KEY_STEPS, strict=True)] for n in range(_ROUNDS)]
    round_keys = _columns([pair if n % 2 else pair[::-1] for n, pair in enumerate(keys)], counter.device)

    even, odd = counter[0::2].clone(), counter[1::2].clone()  # words (0, 2) are multiplied, words (1, 3) mixed in
    row_0, row_1 = even.unbind()
    spare = torch.empty_like(odd)
    mixed_in, product = (odd, *odd.unbind()), (spare, *spare.unbind())
    for n, round_key in enumerate(round_keys):
        torch.mul(even, multipliers[n % 2], out=product[0])  # wraps to a signed integer with the same 64 bits
        torch.bitwise_right_shift(product[0], 32, out=even)
        row_0.bitwise_xor_(mixed_in[2])
        row_1.bitwise_xor_(mixed_in[1])
        # the mask takes off the sign, which the shift drags in, and the upper halves of what was mixed in
        even.bitwise_xor_(round_key).bitwise_and_(_WORD)
        mixed_in, product = product, mixed_in
    return torch.stack([even, mixed_in[0].bitwise_and_(_WORD)], dim=1).flatten(0, 1)


def _columns(values: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, ...]:
    """Pairs of integers, each as a column (2, 1)."""
    return torch.tensor(values, device=device)[:, :, None].unbind()


def normal(seed: int, images: Tensor, draws: range, size: int) -> Tensor:
    """Standard normals for some images of a seed.

    Args:
        seed: 0 ... 2^64 - 1.
        images: (N,) int64 image numbers, 0 ... 2^32 - 1; the result is on their device.
        draws: numbers of the draws, consecutive, 0 ... 2^32 - 1.
        size: elements an image.

    Returns:
        (draws, N, size) float64, within +-6.7: Box-Muller (in float64) of uniforms with 32 bits.
    """
    blocks = -(-size // 4)
    counter = torch.zeros(4, len(draws), images.numel(), blocks, dtype=torch.int64, device=images.device)
    counter[0] = torch.arange(blocks, device=images.device)
    counter[1] = images[:, None]
    counter[2] = torch.arange(draws.start, draws.stop, device=images.device)[:, None, None]
    words = philox(counter.flatten(1), (seed & _WORD, seed >> 32))
    uniform = words.double().add_(0.5).mul_(2.0**-32)  # in the open interval (0, 1)
    radius = uniform[:2].log_().mul_(-2.0).sqrt_()
    angle = uniform[2:].mul_(2.0 * math.pi)
    drawn = uniform.new_empty(uniform.shape[1], 4)
    torch.mul(radius, angle.cos(), out=drawn.T[:2])
    torch.mul(radius, angle.sin_(), out=drawn.T[2:])
    return drawn.view(len(draws), images.numel(), 4 * blocks)[:, :, :size]


class ImageNoise:
    """The noise of a batch of images, one stream each; draw 0 is the initial state, 1, 2, ... what samplers ask for.

    A draw takes some eighty kernels, which for small states is the time of starting them. So all but draw 0 are made
    several at once; that changes nothing about what they are.

    Args:
        seed: of the study's seed block.
        images: (N,) int64 image numbers within the block, on the device that samples.
    """

    def __init__(self, seed: int, images: Tensor) -> None:
        self._seed, self._images, self._draws = seed, images, 0
        self._ready, self._first = torch.empty(0, images.numel(), 0), 0  # draws made already, from this one on

    def __call__(self, like: Tensor) -> Tensor:
        """The next draw, shaped like a state (N, C, H, W), in its dtype."""
        if like.shape[0] != self._images.numel():
            raise ValueError(
                f"noise for {self._images.numel()} images was asked for a state of shape {tuple(like.shape)}"
            )
        size = like[0].numel()
        if self._draws == self._first + len(self._ready) or self._ready.shape[2] != size:
            count = max(min(4 * self._draws, _AT_ONCE // like.numel()), 1)
            self._first = self._draws
            self._ready = normal(self._seed, self._images, range(self._first, self._first + count), size)
        drawn = self._ready[self._draws - self._first]
        self._draws += 1
        return drawn.to(like.dtype).reshape(like.shape)
