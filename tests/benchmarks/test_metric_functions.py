"""What the metrics take once the features are there, by pytest-benchmark.

    OMP_NUM_THREADS=1 pytest tests/benchmarks/test_metric_functions.py --benchmark-only

Features are random numbers of falling variance. The Frechet distance stands beside torch-fidelity's, both of moments
that are there; the reference's factor, which serves all distances to it, has a line of its own. Deselected otherwise,
as all benchmarks are.
"""

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_fidelity.metric_fid import fid_statistics_to_metric

from bench.quality import metrics
from bench.quality.frechet import Target, extrapolate, factor_of, left_out
from bench.quality.reference import Reference
from bench.quality.statistics import BlockMoments, Moments, merged

Benchmark = Any  # pytest-benchmark has no types

FEATURES, CLASSES, BATCH = 64, 10, 250
_CPU = torch.device("cpu")
each_count = pytest.mark.parametrize("images", [1000, 5000])
each_width = pytest.mark.parametrize("features", [64, 512, 2048])


@cache
def rows(count: int, size: int, seed: int) -> Tensor:
    """Features (count, size), float32."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, size, generator=generator) * torch.logspace(0.0, -1.5, size)


@cache
def reference() -> Reference:
    """Of 1,797 images, as the digits have."""
    features, moments = rows(1797, FEATURES, 1), Moments.of(rows(1797, FEATURES, 1))
    return Reference("random", moments.mean, moments.covariance, 1797, features, "")


@cache
def target(size: int, seed: int) -> Target:
    """A Gaussian of full rank: its factor is random, which is made far sooner than one of a covariance."""
    factor = rows(2 * size, size, seed).double()
    return Target(factor.mean(0), (factor[:size] + 0.1 * torch.eye(size, dtype=torch.float64)).T / size**0.5)


def gaussian(size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Its mean and covariance."""
    found = target(size, seed)
    return found.mean, found.factor @ found.factor.T


def blocks(features: Tensor) -> list[Moments]:
    """Of features that come in batches."""
    stream = BlockMoments()
    for batch in features.split(BATCH):
        stream.add(batch)
    return stream.finish()


@each_count
def test_moments(benchmark: Benchmark, images: int) -> None:
    benchmark(blocks, rows(images, FEATURES, 0))


@each_count
def test_distance_with_standard_error(benchmark: Benchmark, images: int) -> None:
    found, real = blocks(rows(images, FEATURES, 0)), reference().target
    benchmark(lambda: (real.distance(merged(found)), left_out(found, real)))


@each_count
def test_extrapolation(benchmark: Benchmark, images: int) -> None:
    found, real = blocks(rows(images, FEATURES, 0)), reference().target
    benchmark(extrapolate, found, real, left_out(found, real))


@each_count
def test_kid(benchmark: Benchmark, images: int) -> None:
    benchmark(metrics._kid, rows(images, FEATURES, 0), reference())


@each_count
def test_inception_score(benchmark: Benchmark, images: int) -> None:
    benchmark(metrics._inception_score, rows(images, CLASSES, 0).double())


@each_count
def test_precision_and_recall(benchmark: Benchmark, images: int) -> None:
    benchmark(metrics._precision_recall, rows(images, FEATURES, 0), reference(), _CPU)


@each_width
def test_frechet_distance_to_a_known_factor(benchmark: Benchmark, features: int) -> None:
    benchmark(target(features, 1).distance_of, *gaussian(features, 0))


@each_width
def test_factor_of_a_reference(benchmark: Benchmark, features: int) -> None:
    benchmark(factor_of, gaussian(features, 1)[1])


@each_width
def test_frechet_distance_of_torch_fidelity(benchmark: Benchmark, features: int) -> None:
    ours, theirs = ({"mu": mean.numpy(), "sigma": cov.numpy()} for mean, cov in (gaussian(features, n) for n in (0, 1)))
    benchmark(fid_statistics_to_metric, ours, theirs, verbose=False)
