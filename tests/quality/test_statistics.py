"""Moments of a stream are those of all rows at once, distances torch-fidelity's, and extrapolations unbiased."""

import statistics
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_fidelity.metric_fid import fid_statistics_to_metric

from bench.quality.frechet import (
    Estimate,
    Target,
    can_extrapolate,
    extrapolate,
    factor_of,
    frechet,
    jackknife,
    left_out,
)
from bench.quality.metrics import joined, most_rows
from bench.quality.statistics import BLOCKS, BlockMoments, Moments, from_tensors, merged


def _rows(count: int, size: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.linspace(1.0, 0.2, size, dtype=torch.float64)
    return torch.randn(count, size, generator=generator, dtype=torch.float64) * scale


def _blocks(rows: Tensor, batches: int = 77) -> list[Moments]:
    stream = BlockMoments()
    for part in rows.split(batches):
        stream.add(part)
    return stream.finish()


def _target(rows: Tensor) -> Target:
    return Target(rows.mean(0), factor_of(torch.cov(rows.T))[0])


@pytest.mark.parametrize("shards", [[500], [1, 499], [3, 7, 190, 300]])
def test_merged_shards_have_the_moments_of_all_rows(shards: list[int]) -> None:
    rows = _rows(500, 24, 0) + 100.0  # sums of squares would lose four digits
    moments = merged(Moments.of(shard) for shard in rows.split(shards))
    assert moments.count == 500
    np.testing.assert_allclose(moments.mean.numpy(), rows.numpy().mean(0), rtol=1e-14)
    np.testing.assert_allclose(moments.covariance.numpy(), np.cov(rows.numpy().T), rtol=1e-12, atol=1e-13)


def test_merging_changes_only_the_one_merged_into() -> None:
    one, other = Moments.of(_rows(5, 3, 0)), Moments.of(_rows(6, 3, 1))
    before = other.scatter.clone(), other.mean.clone()
    one.merge(other)
    assert torch.equal(other.scatter, before[0])
    assert torch.equal(other.mean, before[1])
    assert other.count == 6


@pytest.mark.parametrize("batches", [1, 77, 3000, 10_000])
def test_image_i_belongs_to_block_i_mod_10_whatever_batches_it_comes_in(batches: int) -> None:
    rows = _rows(6003, 4, 0)
    for number, block in enumerate(_blocks(rows, batches)):
        own = rows[number::BLOCKS]
        assert block.count == len(own)
        torch.testing.assert_close(block.mean, own.mean(0), rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(block.covariance, torch.cov(own.T), rtol=1e-12, atol=1e-14)


def test_float32_rows_are_summed_in_float64() -> None:
    rows = _rows(2000, 5, 0).float() + 100.0
    moments = merged(_blocks(rows))
    np.testing.assert_allclose(moments.covariance.numpy(), np.cov(rows.double().numpy().T), rtol=1e-12, atol=1e-14)


Gaussian = tuple[Tensor, Tensor]


def _gaussian(rows: Tensor) -> Gaussian:
    return rows.mean(0), torch.cov(rows.T)


def _theirs(one: Gaussian, other: Gaussian) -> float:
    """torch-fidelity's distance."""
    sides = [{"mu": mean.numpy(), "sigma": covariance.numpy()} for mean, covariance in (one, other)]
    return float(fid_statistics_to_metric(*sides, verbose=False)["frechet_inception_distance"])


@pytest.mark.parametrize("shift", [0.0, 0.5])
@pytest.mark.parametrize("count", [20, 48, 900])
def test_the_symmetric_distance_is_torch_fidelitys_also_of_fewer_images_than_features(shift: float, count: int) -> None:
    ours, real = _gaussian(_rows(count, 48, 1) + shift), _gaussian(_rows(1100, 48, 2))
    expected = _theirs(ours, real)
    assert frechet(*ours, *real) == pytest.approx(expected, rel=1e-6 if count < 50 else 1e-8)
    assert frechet(*real, *ours) == pytest.approx(expected, rel=1e-6 if count < 50 else 1e-8)


def test_statistics_in_float32_are_as_far_away_as_torch_fidelity_says() -> None:
    ours, (mean, covariance) = _gaussian(_rows(900, 48, 1)), _gaussian(_rows(1100, 48, 2))
    rounded = mean.float().double(), covariance.float().double()
    assert frechet(*ours, *rounded) == pytest.approx(_theirs(ours, rounded), rel=1e-8)


@pytest.mark.parametrize("count", [20, 900])
def test_a_gaussian_is_at_distance_zero_from_itself(count: int) -> None:
    one = _gaussian(_rows(count, 48, 1))
    assert abs(frechet(*one, *one)) < 1e-7 * float(one[1].trace())


def test_the_standard_error_is_the_jackknife_over_tenths_by_torch_fidelitys_distance() -> None:
    ours, real = _rows(403, 12, 1), _rows(600, 12, 2) * 1.2
    parts = [ours[torch.arange(403) % 10 != block] for block in range(10)]
    expected = [_theirs(_gaussian(part), _gaussian(real)) for part in parts]
    found = left_out(_blocks(ours), _target(real))
    assert found == pytest.approx(expected, rel=1e-7)
    assert jackknife(found) == pytest.approx((9 * statistics.pvariance(expected)) ** 0.5, rel=1e-7)


def _extrapolated(rows: Tensor, target: Target) -> Estimate:
    blocks = _blocks(rows)
    return extrapolate(blocks, target, left_out(blocks, target))


@dataclass(frozen=True)
class _Law(Target):
    """A distance that depends on the number of images alone."""

    curvature: float = 0.0

    def distance(self, moments: Moments) -> float:
        inverse = 1.0 / moments.count
        return 2.0 + 30.0 * inverse + self.curvature * inverse**2


def test_the_extrapolation_is_exact_where_the_bias_is_a_multiple_of_one_over_n() -> None:
    law = _Law(torch.zeros(2), torch.zeros(2, 2))
    extrapolated = _extrapolated(_rows(200, 2, 0), law)
    assert extrapolated.value == pytest.approx(2.0, abs=1e-10)
    assert extrapolated.std == pytest.approx(0.0, abs=1e-8)


def test_a_bias_that_is_no_such_multiple_shows_in_the_standard_error() -> None:
    law = _Law(torch.zeros(2), torch.zeros(2, 2), curvature=3000.0)
    extrapolated = _extrapolated(_rows(200, 2, 0), law)
    assert abs(extrapolated.value - 2.0) > 0.05
    assert extrapolated.std == pytest.approx(abs(extrapolated.value - 2.0), rel=1e-6)


def test_the_extrapolation_of_gaussian_features_hits_the_true_distance_as_often_as_its_error_says() -> None:
    size, count, repetitions = 8, 160, 30
    scale = torch.linspace(1.0, 0.2, size, dtype=torch.float64)
    target = Target(torch.full((size,), 0.1, dtype=torch.float64), torch.diag(scale * 1.1))
    true = 0.01 * size + float(((0.1 * scale) ** 2).sum())
    found, biased, hits = list[float](), list[float](), 0
    for repetition in range(repetitions):
        blocks = _blocks(_rows(count, size, repetition))
        estimate = extrapolate(blocks, target, left_out(blocks, target))
        found.append(estimate.value)
        biased.append(target.distance(merged(blocks)))
        hits += abs(estimate.value - true) < 1.96 * estimate.std
    error = statistics.stdev(found) / repetitions**0.5
    assert statistics.fmean(biased) - true > 4 * error  # what is there to be removed
    assert abs(statistics.fmean(found) - true) < 3 * error
    assert hits >= 25  # of 30: 95 % less three standard deviations


def test_extrapolations_from_a_thousand_and_from_five_thousand_images_agree_within_their_errors() -> None:
    target = _target(_rows(20_000, 64, 0) * 1.05)
    few, many = (_extrapolated(_rows(count, 64, count), target) for count in (1000, 5000))
    assert abs(few.value - many.value) < 2 * (few.std**2 + many.std**2) ** 0.5
    assert target.distance(Moments.of(_rows(1000, 64, 1000))) > few.value + 3 * few.std  # biased without


def test_four_images_a_feature_are_the_least_to_extrapolate_from() -> None:
    assert can_extrapolate(256, 64)
    assert not can_extrapolate(255, 64)
    assert can_extrapolate(50_000, 2048)


def test_rows_that_only_moments_are_taken_of_become_moments_where_they_are_more_numbers() -> None:
    features, most = 4, most_rows(4, torch.float64)
    rows = _rows(most + 20, features, 0)
    few = joined([{"rows": rows[:20]}, {"rows": rows[20:most]}])
    assert torch.equal(few["rows"], rows[:most])
    many = joined([{"rows": rows[:20]}, {"rows": rows[20:]}])
    assert set(many) == {"counts", "means", "scatters"}
    for found, expected in zip(from_tensors(many), _blocks(rows), strict=True):
        assert found.count == expected.count
        torch.testing.assert_close(found.mean, expected.mean, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(found.scatter, expected.scatter, rtol=1e-12, atol=1e-12)
