"""A Brownian path of each image that is the same whatever the steps are: a function of (seed, image) and of the clock.

A virtual Brownian tree (Li et al., arXiv 2001.01328; Jelincic et al., arXiv 2405.06464): the value at a time is found
by halving the interval that it lies in, from one with known ends down, each midpoint a Brownian bridge with noise of
its own. That noise is Philox's of (block, image, which midpoint, how far down), so nothing is stored and any two steps
that meet at a time have the same value there, in every batch. The tree halves the logarithm of the clock, since clocks
run over many powers of ten, and knows the bridge of uneven halves. Below 3e-8 of it the path is a line.

A value takes 34 draws in place of one, so runs have noise that is drawn afresh (`bench.noise.stream`), which has the
same law in any one grid. The path is for what compares grids: the strong error of solvers of the reverse SDE.
"""

import math

import torch
from torch import Tensor

from bench.noise.stream import ImageNoise, box_muller, words
from models.schedule import Level

_REACH = 64.0
"""The clock runs from e^-64 to e^64, and from 0, where the path starts."""
_HALVINGS = 32
_ENDS = 3
"""Fourth word of the counter of the noise of both ends, and from the next one on of the midpoints of each halving;
noise and labels have 0, 1 and 2."""
_KEPT = 4
"""Values that are kept: steps meet, and a step of several stages asks for the increments to each from its start."""


class BrownianPath:
    """The path of a batch of images (`samplers.brownian.Path`); a call draws noise that has nothing to do with it.

    Args:
        seed: of the study's seed block, 0 ... 2^64 - 1.
        images: (N,) int64 image numbers within the block, on the device that samples.
    """

    def __init__(self, seed: int, images: Tensor) -> None:
        self._seed, self._images = seed, images
        self._fresh = ImageNoise(seed, images, first=1)  # draw 0 is the state that samplers start from
        self._recent: dict[tuple[float, int], Tensor] = {}

    def __call__(self, like: Tensor) -> Tensor:
        return self._fresh(like)

    def between(self, like: Tensor, t: Level, s: Level, rate: float) -> Tensor:
        """W(c_s) - W(c_t) over its standard deviation, c = exp(2 rate lambda); ValueError where the clock ends.

        Where the clock's logarithms are d apart its variance is short by 1e-8 / d, as the path is a line below 3e-8:
        by 1e-5 at 1e-3, by a tenth at 1e-7.
        """
        start, end = 2.0 * rate * t.logsnr, 2.0 * rate * s.logsnr
        low, high = sorted((start, end))
        std = math.exp(0.5 * high) * math.sqrt(-math.expm1(low - high))
        return self.value(like, end).sub(self.value(like, start)).div_(std).to(like.dtype)

    def value(self, like: Tensor, log_clock: float) -> Tensor:
        """W where the clock's logarithm is as given, in float64, of the shape of `like`: not to be changed."""
        if not log_clock <= _REACH or (log_clock < -_REACH and log_clock != -math.inf):
            raise ValueError(
                f"a Brownian path was asked for at log clock = {log_clock:.6g}; it runs from -{_REACH:g} to {_REACH:g}"
            )
        key = log_clock, like[0].numel()
        found = self._recent.pop(key, None)
        if found is None:
            found = self._found(like[0].numel(), log_clock)
        self._recent[key] = found
        while len(self._recent) > _KEPT:
            del self._recent[next(iter(self._recent))]
        return found.reshape(like.shape)

    def _found(self, size: int, log_clock: float) -> Tensor:
        numbers, factors = _combination(log_clock)
        which, level = torch.tensor(numbers, device=self._images.device).T[:, :, None, None]
        normals = box_muller(words(self._seed, self._images, which, level, -(-size // 4)), size, torch.float64)
        total = torch.zeros_like(normals[0])
        for normal, factor in zip(normals, factors, strict=True):  # one after the other, as alone as in any batch
            total.add_(normal, alpha=factor)
        return total


def _combination(log_clock: float) -> tuple[list[tuple[int, int]], list[float]]:
    """What W at a time is the sum of: the numbers of independent normals, in the third and fourth word of their
    counters, and their factors.
    """
    numbers = [(0, _ENDS), (1, _ENDS)]
    if log_clock == -math.inf:
        return numbers, [0.0, 0.0]
    a, b, cell = -_REACH, _REACH, 0
    at_a = [math.exp(0.5 * a), 0.0]
    at_b = [math.exp(0.5 * a), math.exp(0.5 * b) * math.sqrt(-math.expm1(a - b))]
    for level in range(1, _HALVINGS + 1):
        middle = 0.5 * (a + b)
        # the bridge from a to b, at the middle of the clock's logarithm
        at_middle = [*_between(at_a, at_b, _share(a, middle, b)), 0.0]
        at_middle[-1] = math.sqrt(_share(a, middle, b) * -math.expm1(middle - b)) * math.exp(0.5 * b)
        numbers.append((cell, _ENDS + level))
        at_a, at_b, cell = [*at_a, 0.0], [*at_b, 0.0], 2 * cell
        if log_clock < middle:
            b, at_b = middle, at_middle
        else:
            a, at_a, cell = middle, at_middle, cell + 1
    return numbers, _between(at_a, at_b, _share(a, log_clock, b))


def _share(a: float, at: float, b: float) -> float:
    """How much of the clock from a to b has passed, all by their logarithms."""
    return math.expm1(at - a) / math.expm1(b - a)


def _between(at_a: list[float], at_b: list[float], share: float) -> list[float]:
    return [(1.0 - share) * p + share * q for p, q in zip(at_a, at_b, strict=True)]
