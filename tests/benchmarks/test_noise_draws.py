"""A draw of noise, ours beside torch's generator, by pytest-benchmark.

    OMP_NUM_THREADS=1 pytest tests/benchmarks/test_noise_draws.py --benchmark-only

Ours is a function of (seed, image, draw) in any batch and on any device, theirs of the state of one generator. Each
round makes the draws of a trajectory of 20 steps. Deselected otherwise, as all benchmarks are.
"""

from typing import Any

import pytest
import torch

from bench.noise.stream import ImageNoise

torch.empty(31 * 2**20, dtype=torch.uint8)  # from now on glibc keeps what is freed, as in a run: see `Session.warm_up`

Benchmark = Any  # pytest-benchmark has no types

DRAWS = 20
each_state = pytest.mark.parametrize(
    "shape", [(1, 1, 8, 8), (64, 1, 8, 8), (256, 1, 8, 8), (16, 3, 32, 32), (64, 3, 32, 32)], ids=str
)


@each_state
def test_draws_of_image_noise(benchmark: Benchmark, shape: tuple[int, ...]) -> None:
    like, images = torch.empty(shape), torch.arange(shape[0])

    def draw() -> None:
        source = ImageNoise(0, images, first=1)
        for _ in range(DRAWS):
            source(like)

    benchmark(draw)


@each_state
def test_draws_of_torch_randn(benchmark: Benchmark, shape: tuple[int, ...]) -> None:
    like, generator = torch.empty(shape), torch.Generator().manual_seed(0)

    def draw() -> None:
        for _ in range(DRAWS):
            torch.randn(like.shape, generator=generator)

    benchmark(draw)
