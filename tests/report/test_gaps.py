"""Differences in pairs: the estimator by hand, its intervals on simulated rows, Holm's correction, and claims."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from bench.report.data.columns import Row
from bench.report.data.distances import of_key
from bench.report.data.gaps import Claim, gap, good_enough, holm, paired_gap, told_apart
from bench.report.data.rows import PAIRS

FD, IMAGES = of_key("fd_x"), 200


def row(values: dict[int, list[float]], images: int = IMAGES, **changes: Any) -> Row:
    """A row whose seeds have a value and those without a block each."""
    found = [each[0] for each in values.values()]
    std = float(np.std(found, ddof=1)) if len(found) > 1 else jackknife(next(iter(values.values()))[1:])
    base = {"fd_x": float(np.mean(found)), "fd_x_std": std, "fd_x_ci": 1.0, "seeds": len(found), "images": images}
    return base | {PAIRS: {"fd_x": values}} | changes


def jackknife(values: list[float]) -> float:
    return math.sqrt(0.9 * sum((each - np.mean(values)) ** 2 for each in values))


def drawn(noise: NDArray[np.float64]) -> list[float]:
    """The mean of numbers, and those without a block each."""
    block = np.arange(len(noise)) % 10
    return [float(noise.mean()), *(float(noise[block != number].mean()) for number in range(10))]


def two(generator: np.random.Generator, seeds: int, shared: float, apart: float) -> tuple[Row, Row]:
    """Rows of means, of numbers that share some of their luck."""
    first, second = dict[int, list[float]](), dict[int, list[float]]()
    for seed in range(seeds):
        common, one, other = generator.normal(size=(3, IMAGES))
        first[seed] = drawn(math.sqrt(shared) * common + math.sqrt(1 - shared) * one + apart)
        second[seed] = drawn(math.sqrt(shared) * common + math.sqrt(1 - shared) * other)
    return row(first), row(second)


def test_the_error_of_one_seed_is_the_jackknife_of_the_differences() -> None:
    a, b = two(np.random.default_rng(0), 1, 0.9, 0.3)
    here, there = (np.array(each[PAIRS]["fd_x"][0]) for each in (a, b))
    found = gap(a, b, FD)
    assert found.paired
    assert found.value == pytest.approx(here[0] - there[0])
    assert found.error is not None
    assert found.error.value == pytest.approx(jackknife([*(here - there)[1:]]))
    assert found.error.freedom == 9
    t = found.value / found.error.value
    assert found.p == pytest.approx(2 * stats.t.sf(abs(t), 9))


def test_seeds_alone_are_the_pairs_where_records_lack_values_without_a_block() -> None:
    here, there = {3: [1.2], 5: [2.5], 8: [3.1], 9: [0.0]}, {5: [2.0, *map(float, range(10))], 8: [2.9], 3: [1.0]}
    found = paired_gap(here, there)
    assert found.paired
    assert found.value == pytest.approx(0.3)
    assert found.p == pytest.approx(stats.ttest_rel([1.2, 2.5, 3.1], [1.0, 2.0, 2.9]).pvalue)
    one = paired_gap({3: [1.2]}, {3: [1.2]})
    assert (one.error, one.paired, one.p) == (None, False, None)
    same = paired_gap({3: [1.2], 4: [1.3]}, {3: [1.2], 4: [1.3]})
    assert (same.value, same.p) == (0.0, 1.0)


def test_of_a_mean_the_error_of_one_seed_is_the_paired_t_test_over_its_blocks() -> None:
    a, b = two(np.random.default_rng(1), 1, 0.5, 0.1)
    here, there = (np.array(each[PAIRS]["fd_x"][0]) for each in (a, b))
    blocks = [10 * each[0] - 9 * each[1:] for each in (here, there)]  # the means of the blocks themselves
    assert gap(a, b, FD).p == pytest.approx(stats.ttest_rel(*blocks).pvalue)


@pytest.mark.parametrize("seeds", [1, 2, 5])
@pytest.mark.parametrize("shared", [0.0, 0.9])
def test_95_of_100_intervals_hold_the_difference_and_are_as_narrow_as_what_is_shared_allows(
    seeds: int, shared: float
) -> None:
    generator, apart, held, widths = np.random.default_rng(seeds), 0.2, 0, list[float]()
    repetitions = 1500
    for _ in range(repetitions):
        found = gap(*two(generator, seeds, shared, apart), FD)
        assert found.error is not None
        half = float(stats.t.ppf(0.975, found.error.freedom)) * found.error.value
        held, widths = held + (abs(found.value - apart) <= half), [*widths, found.error.value]
    assert held / repetitions == pytest.approx(0.95, abs=0.017)  # 3 standard errors
    expected = math.sqrt(2 * (1 - shared) / IMAGES / seeds)
    assert math.sqrt(np.mean(np.square(widths))) == pytest.approx(expected, rel=0.03)


def test_other_seeds_images_or_records_without_such_values_are_compared_by_welchs_test() -> None:
    a, b = two(np.random.default_rng(2), 3, 0.9, 0.2)
    expected = stats.ttest_ind(
        *([each[0] for each in row[PAIRS]["fd_x"].values()] for row in (a, b)), equal_var=False
    ).pvalue
    later = {seed + 1: values for seed, values in b[PAIRS]["fd_x"].items()}
    for other in (b | {PAIRS: {"fd_x": later}}, b | {"images": 300}, b | {PAIRS: {}}, b | {PAIRS: None}):
        found = gap(a, other, FD)
        assert not found.paired
        assert found.p == pytest.approx(expected)
    assert gap(a, b, FD).paired


def test_rows_that_are_the_same_image_by_image_do_not_differ() -> None:
    a, _ = two(np.random.default_rng(3), 2, 0.9, 0.2)
    assert gap(a, a, FD) == (0.0, None, True)
    assert gap(a, a, FD).p == 1.0
    assert good_enough(a, a, FD, 0.0) == Claim(True)


def test_holms_procedure_is_that_of_the_paper() -> None:
    """By hand: 4 x 0.01, 3 x 0.013, 2 x 0.03, 1 x 0.02 sorted, and never less than the one before."""
    assert holm([0.03, 0.01, None, 0.013, 0.02]) == pytest.approx([0.04, 0.04, None, 0.04, 0.04], nan_ok=True)
    assert holm([]) == []
    assert holm([0.6, 0.9]) == [1.0, 1.0]


def test_a_family_of_null_hypotheses_has_a_false_verdict_in_5_of_100_repetitions_at_most() -> None:
    generator = np.random.default_rng(4)
    false = sum(min(p for p in holm([*generator.uniform(size=8)]) if p is not None) <= 0.05 for _ in range(4000))
    assert false / 4000 == pytest.approx(0.05, abs=0.011)


def test_a_claim_is_shown_refuted_or_open_and_says_how_many_images_decide_it() -> None:
    generator = np.random.default_rng(5)
    first, baseline = (_moved(each) for each in two(generator, 1, 0.99, 0.0))
    assert good_enough(first, baseline, FD, 0.1) == Claim(True)
    assert good_enough(_moved(first), baseline, FD, 0.1) == Claim(False)
    at_the_limit = [1.1 * value + 1e-4 + 0.01 * n for n, value in enumerate(baseline[PAIRS]["fd_x"][0])]
    claim = good_enough(row({0: at_the_limit}), baseline, FD, 0.1)
    assert claim is not None
    assert claim.shown is None
    assert claim.images is not None
    assert claim.images > 100 * IMAGES


def test_as_many_images_as_it_says_decide_a_claim_in_about_four_of_five_cases() -> None:
    """Asked of a sample that shows the gap as it is; its error is known no better than nine numbers tell."""
    generator, apart, decided, repetitions = np.random.default_rng(6), 0.05, 0, 600
    for _ in range(repetitions):
        a, b = two(generator, 1, 0.0, 0.0)
        off = apart - (a["fd_x"] - b["fd_x"])
        asked = good_enough(row({0: [each + off + 5.0 for each in a[PAIRS]["fd_x"][0]]}), _moved(b), FD, 0.0)
        images = asked.images if asked is not None else None
        assert images is not None
        one, other = generator.normal(size=(2, images // 10 * 10)) + 5.0
        rows = (row({0: drawn(one + apart)}, images), row({0: drawn(other)}, images))
        found = good_enough(*rows, FD, 0.0)
        decided += found is not None and found.shown is not None
    assert decided / repetitions == pytest.approx(0.8, abs=0.06)


def _moved(of: Row) -> Row:
    return row({seed: [each + 5.0 for each in values] for seed, values in of[PAIRS]["fd_x"].items()})


@pytest.mark.parametrize(("rows", "seeds"), [(5, 1), (20, 1), (20, 3)])
def test_the_truly_best_is_told_from_what_looks_best_in_5_of_100_cases_at_most(rows: int, seeds: int) -> None:
    """Of rows that are all alike any is the truly best; which looks best is chosen from the same numbers."""
    generator, repetitions = np.random.default_rng(rows + seeds), 400
    excluded = 0
    for _ in range(repetitions):
        found = [row({seed: drawn(generator.normal(size=IMAGES)) for seed in range(seeds)}) for _ in range(rows)]
        first, *others = sorted(found, key=lambda each: float(each["fd_x"]))
        apart = told_apart(first, others, FD)
        excluded += any(each is found[0] and bool(verdict) for each, verdict in zip(others, apart, strict=True))
    assert excluded / repetitions < 0.05 + 3 * math.sqrt(0.05 * 0.95 / repetitions)


def test_round_off_is_no_difference_and_other_images_of_a_metric_are_no_pairs() -> None:
    a, b = two(np.random.default_rng(7), 1, 0.9, 0.2)
    near = {0: [value * (1 + 1e-13 * n) for n, value in enumerate(a[PAIRS]["fd_x"][0])]}
    assert gap(a, row(near), FD).p == 1.0
    solver = of_key("solver_rmse")
    first, second = (
        each | {"solver_rmse": each["fd_x"], PAIRS: {"solver_rmse": each[PAIRS]["fd_x"]}, "model_sha256": "a"}
        for each in (a, b)
    )
    assert gap(first | {"solver_images": 256}, second | {"solver_images": 256}, solver).paired
    assert not gap(first | {"solver_images": 256}, second | {"solver_images": 1024}, solver).paired


def test_the_images_that_decide_are_those_that_the_quality_is_of() -> None:
    a, b = two(np.random.default_rng(8), 1, 0.5, 0.01)
    solver = of_key("solver_rmse")
    more = {"model_sha256": "a", "solver_images": 256, "images": 50_000}
    rows = [
        each | more | {"solver_rmse": 5 + each["fd_x"], PAIRS: {"solver_rmse": _moved(each)[PAIRS]["fd_x"]}}
        for each in (a, b)
    ]
    claims = [good_enough(rows[0], rows[1] | {"images": images}, solver, 0.0) for images in (50_000, 256)]
    assert claims[0] is not None
    assert claims[0].images == good_enough(rows[0] | {"images": 256}, rows[1] | {"images": 256}, solver, 0.0).images  # type: ignore[union-attr]


def test_a_row_just_at_the_limit_is_not_shown_to_be_within_it() -> None:
    luck = np.random.default_rng(9).normal(size=(2, 11))
    baseline = row({0: [2.0 + 0.01 * each for each in luck[0]]})
    at_the_limit = [2.2, *(2.2 + 0.01 * each for each in luck[1][1:])]
    values = baseline[PAIRS]["fd_x"][0]
    values[0], baseline["fd_x"] = 2.0, 2.0
    claim = good_enough(row({0: at_the_limit}), baseline, FD, 0.1)
    assert claim is not None
    assert claim.shown is None
