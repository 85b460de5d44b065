"""The overhead of a step, ours and diffusers', by pytest-benchmark; `overhead.py` beside it prints both in one table.

    OMP_NUM_THREADS=1 taskset -c 1 pytest tests/benchmarks --benchmark-only

Each is a sample of 20 steps; deselected otherwise, as all benchmarks are.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from overhead import BATCH, LIMIT, SIZES, measure, our_sample, their_noise, their_sample

from bench.versus.pairs import PAIRS, Pair

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

Benchmark = Any  # pytest-benchmark has no types

NAMES = [f"{pair.ours}-{pair.theirs.removesuffix('Scheduler')}" for pair in PAIRS]
_REASON = "{} kernels a step, and starting them takes about a fifth of what all of a step takes in diffusers"
_KERNELS = {
    "ddim-EulerDiscrete": "two",
    "heun-HeunDiscrete": "four",
    "edm[s_churn=40,s_min=0.05,s_max=50]-KarrasVe": "six",
    "ipndm-IPNDM": "five",
    "pndm-PNDM": "up to eight",
    "pndm[variant=S]-PNDM": "three",
}
FEW_KERNELS = {name: pytest.mark.xfail(reason=_REASON.format(count), strict=False) for name, count in _KERNELS.items()}
"""Methods at the limit or above it, by up to 0.33: to start fewer kernels they would have to be fused."""
each_pair = pytest.mark.parametrize("pair", PAIRS, ids=NAMES)
each_size = pytest.mark.parametrize("size", SIZES)


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """The least that pytest-benchmark is asked for, 5 unless told otherwise; what repeats itself follows it."""
    return int(request.config.getoption("benchmark_min_rounds"))


@each_size
@each_pair
def test_overhead_of_ours(benchmark: Benchmark, pair: Pair, size: str) -> None:
    x, constant = torch.randn(BATCH, *SIZES[size]), torch.randn(BATCH, *SIZES[size])
    with torch.inference_mode():
        benchmark(our_sample(pair, x, lambda: lambda like: constant))


@each_size
@each_pair
def test_overhead_of_theirs(benchmark: Benchmark, pair: Pair, size: str, rounds: int) -> None:
    x, constant = torch.randn(BATCH, *SIZES[size]), torch.randn(BATCH, *SIZES[size])
    place = their_sample(pair, x)

    def setup() -> tuple[tuple[Callable[[], object]], dict[str, object]]:
        return (place(),), {}

    with torch.inference_mode(), their_noise(pair, constant):
        benchmark.pedantic(lambda run: run(), setup=setup, rounds=6 * rounds, warmup_rounds=2)


@pytest.mark.parametrize(
    "pair",
    [pytest.param(pair, id=name, marks=FEW_KERNELS.get(name, ())) for pair, name in zip(PAIRS, NAMES, strict=True)],
)
def test_a_step_of_ours_takes_at_most_a_fifth_of_theirs(benchmark: Benchmark, pair: Pair, rounds: int) -> None:
    """At the size where neither is bound by memory, with the noise taken out."""
    ours, theirs = benchmark.pedantic(measure, (pair, SIZES["1x8x8"], 20 * rounds), {"own_noise": False}, rounds=1)
    assert ours.min() < LIMIT * theirs.min()
