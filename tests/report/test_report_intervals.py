"""Intervals hold what they say, and rows differ where an independent test says so."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.container import ErrorbarContainer
from renderings import tex_rows
from report_records import (
    BASELINE,
    column,
    own_truth,
    plain_text,
    record,
    row_of,
    section_of,
    summary_of,
    terminal,
    texts,
    timed,
    write_run,
)
from scipy import stats

from bench.report import summarise
from bench.report.data.distances import fd_columns, of_key, quality_columns
from bench.report.data.gaps import gap, told_apart
from bench.report.data.significance import half_width, p_text, standard_error
from bench.report.figures.plots import FIGURES
from bench.report.tables.markup import markdown_table
from bench.report.tables.notes import notes
from bench.report.tables.table import columns
from bench.report.tables.tex import latex


def differ(a: dict[str, Any], b: dict[str, Any], key: str = "fd_x") -> bool | None:
    """Whether two rows do."""
    return told_apart(a, [b], of_key(key))[0]


values = st.lists(st.floats(0.1, 10.0), min_size=2, max_size=5, unique=True)


@given(st.integers(2, 30), st.floats(1e-6, 1e6))
def test_the_interval_over_seeds_is_students(seeds: int, deviation: float) -> None:
    low, high = stats.t.interval(0.95, seeds - 1, 0.0, deviation / math.sqrt(seeds))
    assert half_width(standard_error(deviation, seeds, jackknife=False)) == pytest.approx((high - low) / 2)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_95_of_100_intervals_over_seeds_hold_the_truth(seeds: int) -> None:
    draws = np.random.default_rng(seeds).normal(3.0, 0.7, (4000, seeds))
    widths = [half_width(standard_error(std, seeds, jackknife=False)) for std in draws.std(axis=1, ddof=1)]
    assert np.mean(np.abs(draws.mean(axis=1) - 3.0) <= widths) == pytest.approx(0.95, abs=0.011)  # 3 standard errors


def test_95_of_100_jackknife_intervals_of_one_seed_hold_the_truth() -> None:
    images = np.random.default_rng(0).normal(3.0, 0.7, (4000, 10, 20))
    blocks = images.mean(axis=2)
    left_out = (blocks.sum(axis=1, keepdims=True) - blocks) / 9
    errors = np.sqrt(0.9 * ((left_out - left_out.mean(axis=1, keepdims=True)) ** 2).sum(axis=1))
    widths = [half_width(standard_error(error, 1, jackknife=True)) for error in errors]
    assert np.mean(np.abs(blocks.mean(axis=1) - 3.0) <= widths) == pytest.approx(0.95, abs=0.011)


def row(values: list[float], **changes: float) -> dict[str, Any]:
    std = float(np.std(values, ddof=1))
    return {"fd_x": float(np.mean(values)), "fd_x_std": std, "fd_x_ci": 1.0, "seeds": len(values)} | changes


@given(values, values)
def test_distances_differ_where_welchs_test_says_so(a: list[float], b: list[float]) -> None:
    (mean_a, std_a, n_a), (mean_b, std_b, n_b) = ((np.mean(each), np.std(each, ddof=1), len(each)) for each in (a, b))
    expected = float(stats.ttest_ind_from_stats(mean_a, std_a, n_a, mean_b, std_b, n_b, equal_var=False).pvalue)
    p = gap(row(a), row(b), of_key("fd_x")).p
    assert p == pytest.approx(expected, rel=1e-9, abs=1e-300)
    assert abs(expected - 0.05) < 1e-9 or differ(row(a), row(b)) == (expected < 0.05)


def test_one_seeds_jackknife_counts_as_ten_blocks() -> None:
    one = {"fd_x": 1.0, "fd_x_std": 0.1, "fd_x_ci": 1.0, "seeds": 1}
    three = {"fd_x": 1.2, "fd_x_std": 0.15, "fd_x_ci": 1.0, "seeds": 3}
    expected = stats.ttest_ind_from_stats(1.0, 0.1 * math.sqrt(10), 10, 1.2, 0.15, 3, equal_var=False).pvalue
    assert gap(one, three, of_key("fd_x")).p == pytest.approx(expected)


STILL = {"fd_x": 1.0, "fd_x_std": 0.0, "fd_x_ci": 0.0, "seeds": 2}
FLOOR = {"law_fd_floor": 0.1, "seeds": 1}


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (STILL, STILL, None),
        # few seeds of one value are no certain ones, on one side or on both
        *((STILL, {"fd_x": 9.0, "fd_x_std": std, "fd_x_ci": std, "seeds": 2}, None) for std in (0.0, 0.1)),
        (row([1.0, 1.1]), row([9.0, 9.1], fd_x_ci=math.nan), None),
        (FLOOR | {"law_fd": 0.09}, FLOOR | {"law_fd": 0.01}, False),  # both at their floors
        (FLOOR | {"law_fd": 0.09}, FLOOR | {"law_fd": 0.5}, None),
    ],
)
def test_what_has_no_interval_is_not_tested_unless_both_are_at_their_floors(
    a: dict[str, Any], b: dict[str, Any], expected: bool | None
) -> None:
    key = "fd_x" if "fd_x" in a else "law_fd"
    assert differ(a, b, key) is differ(b, a, key) is expected


def test_a_count_that_seeds_agree_on_is_no_certain_one(tmp_path: Path) -> None:
    """Equal counts, and such as differ by one image, have no interval; and nothing is told apart from them."""
    counts = {"ddim": (906, 906), "heun": (875, 875), "ddpm": (800, 801), "dpm++2m": (700, 740)}
    cells = [
        record(name, seed=n, precision=count / 1000, recall=None, kid_mean=0.1)
        for name, pair in counts.items()
        for n, count in enumerate(pair)
    ]
    section = section_of(tmp_path, cells)
    precision, kid = (
        next(each for each in columns(section) if each.heading.startswith(name)) for name in ("Precision", "KID")
    )
    assert (precision.cells[0], precision.cells[3]) == ("0.906", "0.720 ± 0.254")
    assert ["±" in cell for cell in precision.cells] == [False, False, False, True]
    assert set(kid.cells) == {"100.00"}
    said = " ".join(notes(section))
    assert "KID ×10³, Precision: seeds of one value, or but for one image, have no interval and are not tested" in said
    assert "Precision: the best row has no interval, so that no other is tested against it" in said


def test_p_values_are_never_zero() -> None:
    assert [p_text(p) for p in (0.0, 0.0009, 0.05, 0.4321)] == ["p < 0.001", "p < 0.001", "p = 0.05", "p = 0.43"]


def test_rows_have_intervals_only_where_a_deviation_is_a_standard_error(tmp_path: Path) -> None:
    several = [record(seed=n, fd_digits=fd, kid_mean=fd / 10) for n, fd in enumerate((1.0, 2.0, 4.0))]
    one = record("heun", fd_digits_std=0.2, kid_std=0.004, fd_digits_inf=1.1, fd_digits_inf_std=0.3)
    partly = [record("ddpm", seed=0), record("ddpm", seed=1), record("ddpm", seed=2, fd_digits=None)]
    run = write_run(tmp_path / "run", [*several, one, *partly])
    found = row_of(run, "ddim", 10)
    expected = stats.t.ppf(0.975, 2) * np.std([1, 2, 4], ddof=1) / math.sqrt(3)
    assert (found["fd_digits_ci"], found["kid_ci"]) == pytest.approx((expected, expected / 10))
    single = row_of(run, "heun", 10)
    assert single["fd_digits_ci"] == pytest.approx(stats.t.ppf(0.975, 9) * 0.2)
    assert single["fd_digits_inf_ci"] == pytest.approx(stats.t.ppf(0.975, 9) * 0.3)
    assert [math.isnan(single[name]) for name in ("kid_ci", "inception_score_ci", "precision_ci")] == [True] * 3
    assert math.isnan(row_of(run, "ddpm", 10)["fd_digits_ci"])
    assert not math.isnan(row_of(run, "ddpm", 10)["recall_ci"])


def test_what_cannot_be_told_from_the_best_is_marked_in_every_rendering_and_explained(tmp_path: Path) -> None:
    means = {"ddim": 1.0, "heun": 1.02, "dpm++2m": 3.0}
    cells = [
        timed(name, 10, fd + shift, 0.1, n) for name, fd in means.items() for n, shift in enumerate((-0.1, 0, 0.1))
    ]
    run = write_run(tmp_path / "run", cells)
    summary = summarise([run])
    (section,) = summary.sections
    shown = column(section, "FD (digits) ↓")
    assert shown.cells == ["1.00 ± 0.25", "1.02 ± 0.25 †", "3.00 ± 0.25"]
    assert (shown.brief, shown.best) == (["1.00", "1.02†", "3.00"], [True, False, False])
    assert "1.02 ± 0.25 †" in markdown_table(columns(section))
    assert "1.02 ± 0.25 †" in [cell for row in tex_rows(latex(summary)) for cell in row]
    assert "1.02†" in terminal([run])
    said = " ".join(notes(section))
    assert "†: cannot be told from the best (p > 0.05 over their number, in pairs" in said
    assert "±: half the 95 % interval of the mean over 3 seeds (Student's t, 4.30 standard errors)." in said


def test_a_best_row_without_an_interval_is_said_to_leave_the_others_untested(tmp_path: Path) -> None:
    cells = [timed("ddim", 10, 2.0 + n / 10, 0.1, n) for n in range(2)] + [timed("heun", 10, 1.0, 0.1)]
    section = section_of(tmp_path, cells)
    assert "FD (digits), " in (said := " ".join(notes(section)))
    assert "the best row has no interval, so that no other is tested against it" in said
    assert "†" not in said


def test_kid_is_ranked_among_equal_subsets_only(tmp_path: Path) -> None:
    cells = [
        record(*BASELINE, kid_mean=0.001, kid_subset_size=500),
        record(kid_mean=0.002),
        record("heun", kid_mean=0.003),
    ]
    section = section_of(tmp_path, cells)
    shown = column(section, "KID")
    assert shown.best == [True, True, False]
    assert "KID ×10³: ranked among rows of the same subset size only." in notes(section)


def test_bars_of_a_figure_are_the_intervals(tmp_path: Path) -> None:
    cells = [timed("ddim", 10, fd, 0.1, n) for n, fd in enumerate((1.9, 2.0, 2.1))]
    figure = FIGURES["quality_vs_nfe"](summary_of(tmp_path, cells))
    (drawn,) = (each for each in figure.axes[0].containers if isinstance(each, ErrorbarContainer))
    (bars,) = drawn.lines[2]
    ((low, high),) = (segment[:, 1] for segment in bars.get_segments())
    half = stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert (low, high) == pytest.approx((2.0 - half, 2.0 + half))
    assert "Bars: 95 % interval of the mean" in texts(figure)


def test_intervals_that_would_fill_the_axes_are_left_out_and_counted(tmp_path: Path) -> None:
    """Those of two seeds are 12.7 standard errors on either side; and what they would hide stays on the axis."""
    wide = [timed("heun", 5, fd, 0.1, n) for n, fd in enumerate((2.0, 4.0))]
    narrow = [timed("ddim", steps, fd + n / 100, 0.1, n) for steps, fd in ((5, 9.0), (10, 1.0)) for n in range(2)]
    figure = FIGURES["quality_vs_nfe"](summary_of(tmp_path, [*wide, *narrow]))
    axes = figure.axes[0]
    low, high = axes.get_ylim()
    segments = [
        segment[:, 1]
        for each in axes.containers
        if isinstance(each, ErrorbarContainer)
        for bars in each.lines[2]
        for segment in bars.get_segments()
    ]
    drawn = [(bottom, top) for bottom, top in segments if top > bottom]
    assert [(bottom + top) / 2 for bottom, top in drawn] == pytest.approx([9.005, 1.005])
    assert all(low < bottom < top < high for bottom, top in drawn)
    assert "1 interval is longer than a third of the axis and left out; see the table." in plain_text(figure)


def test_a_front_of_one_setting_is_no_line(tmp_path: Path) -> None:
    alone, two = ([timed("ddim", steps, 9.0 / steps, 0.1) for steps in counts] for counts in ((5,), (5, 10)))
    for n, cells in enumerate((alone, two)):
        figure = FIGURES["quality_vs_nfe"](summarise([write_run(tmp_path / str(n), cells)]))
        assert ("Pareto front" in texts(figure)) == (n == 1)


def test_what_is_derived_from_a_distance_is_no_distance() -> None:
    derived = [f"{key}{end}" for key in ("fid", "fd_x") for end in ("", "_std", "_ci", "_inf", "_inf_std", "_inf_ci")]
    assert fd_columns(derived) == ["fid", "fd_x"]
    headings = [quality.heading for quality in quality_columns(derived)]
    assert headings == ["FID ↓", "FID∞ ↓", "FD (x) ↓", "FD∞ (x) ↓"]


def test_rows_of_one_seed_that_are_tested_in_pairs_are_not_said_to_be_untested(tmp_path: Path) -> None:
    values = {"ddim": 0.010, "heun": 0.011, "ddpm": 0.2}
    left_out = {name: [value + 1e-3 * math.sin(n * 1e3 * value) for n in range(10)] for name, value in values.items()}
    cells = [
        own_truth(name, 10, None, value, solver_rmse_left_out=left_out[name], solver_rmse_median=value / 2)
        for name, value in values.items()
    ]
    section = section_of(tmp_path, cells)
    assert sum("†" in cell for cell in column(section, "Solver RMSE ↓").cells) == 1
    said = " ".join(notes(section))
    assert "One seed a row: no intervals. †: cannot be told from the best" in said
    assert "Median RMSE: no row is tested against another." in said


def test_where_only_some_rows_have_an_interval_the_others_are_said_not_to_be_tested(tmp_path: Path) -> None:
    several = {"ddim": 0.010, "heun": 0.0105}
    cells = [record(name, seed=n, kid_mean=kid + n * 1e-3) for name, kid in several.items() for n in range(3)]
    section = section_of(tmp_path, [*cells, record("ddpm", kid_mean=0.0112)])
    marks = ["†" in cell for cell in column(section, "KID ×10³ ↓").cells]
    assert marks == [False, True, False]  # the last is neither told apart nor not
    assert "FD (digits), KID ×10³, IS, Precision, Recall: rows without an interval are not tested." in " ".join(
        notes(section)
    )
