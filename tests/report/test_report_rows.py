"""Rows of the table are what the cells say, and two runs are compared as far as they can be."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_records import BASELINE, PROTOCOLS, QUICK, record, row_of, texts, timed, write_run
from scipy.stats import ttest_ind_from_stats

from bench.cli.reporting import compare_runs
from bench.report import compare, summarise, write_report
from bench.report.data.columns import setting
from bench.report.data.fronts import pareto
from bench.report.data.series import all_series
from bench.report.figures.plots import FIGURES
from bench.report.tables.markup import markdown
from bench.report.tables.table import columns


def test_seeds_are_averaged_and_their_raw_times_pooled(tmp_path: Path) -> None:
    values = [(1.0, [0.1, 0.2, 0.3]), (2.0, [0.4, 0.5]), (4.0, [0.6])]
    cells = [
        record(seed=n, fd_digits=fd, kid_mean=fd / 10, latency_s=times, network_s=[t / 2 for t in times], batch=50)
        for n, (fd, times) in enumerate(values)
    ]
    row = row_of(write_run(tmp_path / "run", cells), "ddim", 10)
    assert row["seeds"] == 3
    assert row["fd_digits"] == pytest.approx(7 / 3)
    assert row["fd_digits_std"] == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert row["kid_std"] == pytest.approx(np.std([0.1, 0.2, 0.4], ddof=1))
    assert row["std_over"] == "seeds"
    quartiles = [row[f"latency_s_{name}"] for name in ("q1", "median", "q3")]
    assert quartiles == pytest.approx([0.225, 0.35, 0.475])
    assert row["timed_calls"] == 6
    assert row["s_per_image_median"] == pytest.approx(0.35 / 50)
    assert row["throughput_img_per_s"] == pytest.approx(50 / 0.35)
    assert row["overhead_s_median"] == pytest.approx(0.175)
    assert row["overhead_fraction"] == pytest.approx(0.5)
    assert row["eval_ms_median"] == pytest.approx(17.5)


def test_one_seed_has_no_spread_of_the_distance_and_keeps_the_records_own_for_kid(tmp_path: Path) -> None:
    row = row_of(write_run(tmp_path / "run", [record(kid_std=0.004)]), "ddim", 10)
    assert np.isnan(row["fd_digits_std"])
    assert row["kid_std"] == 0.004
    assert row["std_over"] == "subsets, splits or jackknife of the cell"


@pytest.mark.parametrize("changes", [{"images": 100, "timed_batch": 100}, {"batch": "auto", "timed_batch": 64}])
def test_a_time_is_divided_by_the_images_that_were_timed(tmp_path: Path, changes: dict[str, Any]) -> None:
    seconds = changes["timed_batch"] / 20
    cell = record(latency_s=[seconds], network_s=[seconds / 2], **changes)
    row = row_of(write_run(tmp_path / "run", [cell]), "ddim", 10)
    assert row["s_per_image_median"] == 0.05
    assert (row["throughput_img_per_s"], row["evaluations_per_s"]) == (20.0, 200.0)


def test_seeds_of_several_runs_are_pooled_but_a_repeated_seed_is_no_new_seed(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", [record(seed=0)])
    b = write_run(tmp_path / "b", [record(seed=1)])
    again = write_run(tmp_path / "again", [record(seed=0)])
    pooled, apart = summarise([a, b]).table, summarise([a, again]).table
    assert (pooled["seeds"].tolist(), pooled["run"].tolist()) == ([2], ["a + b"])
    assert (apart["seeds"].tolist(), apart["run"].tolist()) == ([1, 1], ["a", "again"])
    other = write_run(tmp_path / "other", [record(seed=1, sampler_sha256="ff" * 32)])  # another version of the sampler
    assert summarise([a, other]).table["seeds"].tolist() == [1, 1]


def test_records_of_many_columns_are_read_without_a_warning(tmp_path: Path) -> None:
    more: dict[str, Any] = {f"of_a_plugin_{n}": float(n) for n in range(120)}
    run = write_run(tmp_path / "run", [record(steps=steps, **more) for steps in (10, 20)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(summarise([run]).table) == 2


def test_failed_cells_never_enter_a_row_and_are_named_in_every_output(quick: Path) -> None:
    summary = summarise([quick])
    assert len(summary.table) == len(QUICK) - 1
    assert not ((summary.table["sampler"] == "heun") & (summary.table["steps"] == 5)).any()
    write_report([quick], ["md", "latex", "html"])
    for name in ("table.md", "table.tex", "index.html"):
        assert "heun on trailing, 5 steps, seed 0: BadSamples: 3 of 250" in (quick / name).read_text()
    assert "failed" in texts(FIGURES["images"](summary))


def test_cells_that_were_not_measured_yet_are_counted(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [record(*BASELINE), record()])
    (run / "cells" / f"{record()['id']}.json").unlink()
    assert "Not measured yet: 1 cell;" in markdown(summarise([run]))


points = st.lists(st.tuples(*[st.one_of(st.integers(0, 6).map(float), st.just(float("nan")))] * 2), max_size=12)


@given(points)
def test_the_pareto_front_is_what_brute_force_finds(values: list[tuple[float, float]]) -> None:
    def beaten(x: tuple[float, float]) -> bool:
        return any(y[0] <= x[0] and y[1] <= x[1] and y != x for y in values if not np.isnan(y).any())

    expected = [not np.isnan(x).any() and not beaten(x) for x in values]
    assert pareto([x[0] for x in values], [x[1] for x in values]) == expected


def test_rows_that_clip_otherwise_say_so_and_none_of_them_is_the_baseline(tmp_path: Path) -> None:
    """Also where the baseline itself is not there."""
    dynamic, none = (record(*BASELINE, id=name, clip=clip) for name, clip in (("a", [-1.0, 1.0, 0.995]), ("b", None)))
    run = write_run(tmp_path / "run", [record(*BASELINE, clip=[-1.0, 1.0]), dynamic, none])
    found = summarise([run])
    assert found.table["baseline"].tolist() == [True, False, False]
    (column,) = (each for each in columns(found.sections[0]) if each.heading == "Clip")
    assert column.cells == ["clip [-1.0, 1.0]", "dynamic clip [-1.0, 1.0, 0.995]", "no clip"]
    labels = [each.label for each in all_series(found.sections[0].rows, found.sections[0], found)]
    assert len(set(labels)) == 3, labels
    assert setting(found.sections[0].records[1]).endswith(", dynamic clip [-1.0, 1.0, 0.995]")
    (run / "cells" / f"{record(*BASELINE)['id']}.json").unlink()
    assert not summarise([run]).table["baseline"].any()


def test_compare_says_what_cannot_be_told_apart(tmp_path: Path) -> None:
    spread = (-0.1, 0.0, 0.1)
    a = [timed("ddim", 10, 2.0 + shift, 0.4, n) for n, shift in enumerate(spread)]
    b = [timed("ddim", 10, 2.1 + shift, 0.4, n) for n, shift in enumerate(spread)]
    far = [timed("ddim", 10, 3.0 + shift, 0.4, n) for n, shift in enumerate(spread)]
    runs = [write_run(tmp_path / name, cells) for name, cells in (("a", a), ("b", b), ("far", far), ("one", a[:1]))]
    found = [compare(runs[0], other)["fd_digits_test"].tolist() for other in runs[1:]]
    p = ttest_ind_from_stats(2.0, 0.1, 3, 2.1, 0.1, 3, equal_var=False).pvalue
    assert found == [
        [f"not distinguishable, Welch's t-test, p = {p:.2g}"],
        ["differ, Welch's t-test, p < 0.001"],
        ["not tested"],
    ]


def test_compare_gives_the_ratio_of_times_and_the_difference_of_quality(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", [timed("ddim", 10, 2.0, 0.4), timed("heun", 10, 3.0, 0.4)])
    b = write_run(tmp_path / "b", [timed("ddim", 10, 1.5, 0.1), timed("ddpm", 10, 3.0, 0.4)])
    frame = compare(a, b)
    assert frame["sampler"].tolist() == ["ddim", "heun", "ddpm"]
    same = frame.iloc[0]
    assert same["latency_ratio"] == pytest.approx(0.25)
    assert same["fd_digits_difference"] == pytest.approx(-0.5)
    assert same["comparable"]
    assert frame["reason"].tolist()[1:] == ["no result in b", "no result in a"]
    assert frame["latency_ratio"].isna().tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("change", "quality", "time"),
    [({"device_name": "GPU"}, True, False), *((change, False, True) for change in PROTOCOLS[1:])],
    ids=str,
)
def test_compare_refuses_what_cannot_be_compared(
    tmp_path: Path, change: dict[str, Any], quality: bool, time: bool
) -> None:
    a = write_run(tmp_path / "a", [record()])
    b = write_run(tmp_path / "b", [record(**change)])
    (row,) = compare(a, b).to_dict("records")
    assert (row["quality_comparable"], row["time_comparable"], row["comparable"]) == (quality, time, False)
    assert next(iter(change)) in row["reason"]
    assert pd.isna(row["latency_ratio"]) == (not time)
    assert pd.isna(row["fd_digits_difference"]) == (not quality)


def test_of_unrelated_runs_it_says_what_differs_instead_of_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = write_run(tmp_path / "a", [record("ddim", seed=3), record("ddim", seed=4)])
    other: dict[str, Any] = {"model": "cifar10", "model_sha256": "d4" * 32, "reference": None, "reference_sha256": None}
    b = write_run(tmp_path / "b", [record("ddim", images=500, **other)])
    assert compare_runs(a, b) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "no cell of one run can be compared with one of the other"
    model, reference = record()["model_sha256"][:8], record()["reference_sha256"][:8]
    assert [line.strip() for line in lines] == [
        f"model: digits ({model}) in a, cifar10 (d4d4d4d4) in b",
        "images: 1000 in a, 500 in b",
        f"reference: digits ({reference}) in a, none in b",
        "seeds: 3, 4 in a, 0 in b",
    ]
