"""Bootstrap intervals are those of brute force, and hold as often as they say."""

from typing import Any

import numpy as np
import pytest

from bench.timing.bootstrap import ENOUGH, median_interval, ratio_of_medians, round_medians


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 9, 10, 31, 32])
def test_the_ends_are_the_quantiles_of_the_medians_of_resamples(random: np.random.Generator, count: int) -> None:
    values = random.lognormal(0.0, 0.3, count)
    medians = np.median(values[random.integers(0, count, (40_000, count))], axis=1)
    low, high = median_interval(values.tolist())
    # of 2,000 resamples the ends are known within 1 % in probability, three standard errors
    assert np.mean(medians < low) <= 0.035
    assert np.mean(medians <= low) >= 0.015
    assert np.mean(medians > high) <= 0.035
    assert np.mean(medians >= high) >= 0.015


@pytest.mark.parametrize(("count", "held"), [(1, 0.0), (2, 0.5), (3, 0.75), (4, 0.875), (5, 0.9375), (20, 0.95)])
def test_intervals_hold_the_true_median_as_often_as_said(random: np.random.Generator, count: int, held: float) -> None:
    intervals = np.array([median_interval(row.tolist()) for row in random.normal(size=(3000, count))])
    share = np.mean((intervals[:, 0] <= 0) & (intervals[:, 1] >= 0))
    assert share == pytest.approx(held, abs=0.03)


def test_an_interval_has_the_unit_of_the_values_and_no_order(random: np.random.Generator) -> None:
    values = random.lognormal(0.0, 0.3, 12).tolist()
    low, high = median_interval(values)
    assert median_interval(values[::-1]) == (low, high)
    assert median_interval([1000 * value for value in values]) == pytest.approx((1000 * low, 1000 * high))
    assert min(values) <= low < np.median(values) < high <= max(values)


def test_of_few_values_the_interval_is_their_range(random: np.random.Generator) -> None:
    for count in range(1, ENOUGH + 1):
        values = random.normal(size=count).tolist()
        assert median_interval(values) == pytest.approx((min(values), max(values)))


def test_the_interval_of_a_ratio_holds_it_19_times_in_20(random: np.random.Generator) -> None:
    a, b = random.lognormal(0.0, 0.1, (2000, 15)), random.lognormal(np.log(0.5), 0.2, (2000, 11))
    found = np.array([ratio_of_medians(x.tolist(), y.tolist()) for x, y in zip(a, b, strict=True)])
    assert np.mean((found[:, 1] <= 2.0) & (found[:, 2] >= 2.0)) == pytest.approx(0.96, abs=0.025)
    assert found[0, 0] == np.median(a[0]) / np.median(b[0])


def test_a_ratio_of_a_sample_to_itself_is_still_uncertain(random: np.random.Generator) -> None:
    values = random.lognormal(0.0, 0.3, 9).tolist()
    ratio, low, high = ratio_of_medians(values, values)
    assert low < ratio == 1.0 < high


def test_a_round_has_one_median_however_many_calls_it_has() -> None:
    assert round_medians([1.0, 5.0, 2.0, 7.0, 3.0, 4.0], [3, 1, 2]) == [2.0, 7.0, 3.5]
    with pytest.raises(ValueError, match="3 values in rounds of 2"):
        round_medians([1.0, 2.0, 3.0], [1, 1])


@pytest.mark.parametrize("call", [lambda: median_interval([]), lambda: ratio_of_medians([1.0], [])])
def test_without_values_there_is_no_interval(call: Any) -> None:
    with pytest.raises(ValueError, match="there are no values"):
        call()
