"""Philox4x32-10, a counter-based random number generator: 128 bits that are a function of a counter and a key.

J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011, doi
10.1145/2063384.2063405). Words of 32 bits are the values 0 ... 2^32 - 1 of 64-bit integers here.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

Array = npt.NDArray[Any]
_Words = TypeVar("_Words", Tensor, Array)

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)  # the golden ratio and sqrt(3) - 1
_WORD = 0xFFFFFFFF
_ROUNDS = 10
_SPREADING = 3
"""Rounds until every word depends on all of the counter; words of fewer elements make those cheaper."""


def philox(counter: Sequence[Tensor], key: tuple[int, int]) -> list[Tensor]:
    """Philox of each counter, without a copy from the host: all constants are arguments of kernels.

    Args:
        counter: four words, int64, of shapes that broadcast to one another.
        key: two words.

    Returns:
        Four words, int64, uniform on 0 ... 2^32 - 1, of the shape that the counter broadcasts to.
    """
    words, _ = _rounds(counter, key, _ROUNDS)
    return [word & _WORD for word in words]


def philox_on_host(counter: Sequence[Array], key: tuple[int, int]) -> list[Array]:
    """The same of numpy's arrays, in about half the time.

    numpy starts an operation in half the time that torch takes, and the upper and lower half of a product are views of
    it: a round is two multiplications and two exclusive ors, without shifts and masks.
    """
    spread, (key_0, key_1) = _rounds(counter, key, _SPREADING)
    words = np.empty((3, 2, *np.broadcast_shapes(*(word.shape for word in spread))), np.int64)
    even, odd, product = words  # words 0 and 2; words 1 and 3, with anything in their upper halves
    even[0], odd[0], even[1], odd[1] = spread
    for _ in range(_SPREADING, _ROUNDS):
        np.multiply(even[1], _MULTIPLIERS[1], out=product[0])
        np.multiply(even[0], _MULTIPLIERS[0], out=product[1])
        np.bitwise_xor(_half(product, 1), _half(odd, 0), out=_half(even, 0))
        np.bitwise_xor(even[0], key_0, out=even[0])
        np.bitwise_xor(even[1], key_1, out=even[1])
        odd, product = product, odd
        key_0, key_1 = _next(key_0, key_1)
    odd &= _WORD
    return [even[0], odd[0], even[1], odd[1]]


def _rounds(counter: Sequence[_Words], key: tuple[int, int], count: int) -> tuple[list[_Words], tuple[int, int]]:
    """The first rounds: four words, with anything in the upper halves of words 1 and 3, and the next round's key."""
    word_0, word_1, word_2, word_3 = counter
    key_0, key_1 = key
    for _ in range(count):
        product_0, product_1 = word_0 * _MULTIPLIERS[0], word_2 * _MULTIPLIERS[1]  # wrap, but have the right 64 bits
        word_0 = (product_1 >> 32 ^ word_1 ^ key_0) & _WORD  # the mask also takes off the sign that the shift drags in
        word_2 = (product_0 >> 32 ^ word_3 ^ key_1) & _WORD
        word_1, word_3 = product_1, product_0
        key_0, key_1 = _next(key_0, key_1)
    return [word_0, word_1, word_2, word_3], (key_0, key_1)


def _next(key_0: int, key_1: int) -> tuple[int, int]:
    return (key_0 + _KEY_STEPS[0]) & _WORD, (key_1 + _KEY_STEPS[1]) & _WORD


def _half(words: Array, upper: int) -> Array:
    """A view of the lower or upper 32 bits, on a little-endian machine, as all are that torch is built for."""
    return words.view(np.uint32)[..., upper::2]
