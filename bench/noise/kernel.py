# mypy: allow-untyped-decorators
"""The noise of `bench.noise.stream` by one kernel, for devices on which starting a kernel costs more than running it.

A program of the grid takes some Philox blocks of all draws and images together and writes their normals straight into
place. Nothing is copied from the host and nothing waits for the device, so that it can be captured in a CUDA graph: the
image numbers are read on the device, and a replay draws the noise of those that lie there by then; seed and draws are
arguments, which a graph keeps. Triton compiles the kernel when it is first called, which has to be before a capture.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 256
"""Philox blocks a program: two to each of the threads of Triton's four warps."""

_UNIFORM = tl.constexpr(2.0**-32)
_ANGLE = tl.constexpr(2.0**-31 * 3.141592653589793)


# Not specialised on what changes from call to call, or Triton would compile a variant for the values 1, another for
# multiples of 16, and one for image numbers that begin at an address that 16 does not divide.
@triton.jit(do_not_specialize=["images", "seed_low", "seed_high", "first_draw", "count", "size", "blocks", "total"])
def _normals(
    drawn: tl.tensor,
    images: tl.tensor,
    seed_low: tl.tensor,
    seed_high: tl.tensor,
    first_draw: tl.tensor,
    count: tl.tensor,
    size: tl.tensor,
    blocks: tl.tensor,
    total: tl.tensor,
    BLOCK: tl.constexpr,  # noqa: N803
) -> None:
    """Normals of Philox blocks 0 ... total - 1, which are numbered draw by draw, image by image."""
    number = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = number < total
    row = number // blocks  # of the result, (draws * count, size)
    block = number - row * blocks
    draw = row // count
    image = tl.load(images + (row - draw * count), mask=inside, other=0)

    key = _unsigned(seed_high).to(tl.uint64) << 32 | _unsigned(seed_low).to(tl.uint64)
    word = block.to(tl.uint32)
    stream = _unsigned(first_draw) + draw.to(tl.uint32)
    w0, w1, w2, w3 = tl.philox(key, word, image.to(tl.uint32), stream, tl.zeros_like(word), 10)

    radius_0, radius_1 = _radius(w0), _radius(w1)
    angle_0 = (w2.to(tl.float64) + 0.5) * _ANGLE
    angle_1 = (w3.to(tl.float64) + 0.5) * _ANGLE
    element = 4 * block
    place = drawn + row * size + element
    tl.store(place, radius_0 * tl.cos(angle_0), mask=inside)
    tl.store(place + 1, radius_1 * tl.cos(angle_1), mask=inside & (element + 1 < size))
    tl.store(place + 2, radius_0 * tl.sin(angle_0), mask=inside & (element + 2 < size))
    tl.store(place + 3, radius_1 * tl.sin(angle_1), mask=inside & (element + 3 < size))


@triton.jit
def _radius(word: tl.tensor) -> tl.tensor:
    return tl.sqrt(-2.0 * tl.log((word.to(tl.float64) + 0.5) * _UNIFORM))


@triton.jit
def _unsigned(word: tl.tensor) -> tl.tensor:
    return word.to(tl.uint32, bitcast=True)


def normal_by_one_kernel(seed: int, images: Tensor, draws: range, size: int, dtype: torch.dtype) -> Tensor:
    """What `bench.noise.stream.normal` gives, to the last digits of the device's logarithm, sine and cosine in
    float64.
    """
    drawn = torch.empty(len(draws), images.numel(), size, dtype=dtype, device=images.device)
    blocks = triton.cdiv(size, 4)
    total = len(draws) * images.numel() * blocks
    words = (_signed(seed & 0xFFFFFFFF), _signed(seed >> 32), _signed(draws.start))
    with torch.cuda.device_of(images):  # Triton launches on the current device
        _normals[(triton.cdiv(total, _BLOCK),)](
            drawn, images, *words, images.numel(), size, blocks, total, BLOCK=_BLOCK, enable_fp_fusion=False
        )
    return drawn


def _signed(word: int) -> int:
    """The 32-bit integer of the same bits: one type for all, where Triton takes larger words for 64-bit integers."""
    return word - ((word & 0x80000000) << 1)
