"""Rows of the table are what the cells say."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_records import BASELINE, QUICK, record, row_of, texts, write_run

from bench.report import summarise, write_report
from bench.report.data.columns import setting
from bench.report.data.rows import pareto
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


def test_a_call_on_fewer_images_than_a_batch_is_divided_by_the_images(tmp_path: Path) -> None:
    cell = record(images=100, batch=250, timed_batch=100, latency_s=[2.0], network_s=[1.0])
    assert row_of(write_run(tmp_path / "run", [cell]), "ddim", 10)["s_per_image_median"] == 0.02


def test_seeds_of_several_runs_are_pooled_but_a_repeated_seed_is_no_new_seed(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", [record(seed=0)])
    b = write_run(tmp_path / "b", [record(seed=1)])
    again = write_run(tmp_path / "again", [record(seed=0)])
    pooled, apart = summarise([a, b]).table, summarise([a, again]).table
    assert (pooled["seeds"].tolist(), pooled["run"].tolist()) == ([2], ["a + b"])
    assert (apart["seeds"].tolist(), apart["run"].tolist()) == ([1, 1], ["a", "again"])


def test_another_version_of_a_sampler_is_another_row(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", [record(seed=0)])
    b = write_run(tmp_path / "b", [record(seed=1, sampler_sha256="ff" * 32)])
    assert summarise([a, b]).table["seeds"].tolist() == [1, 1]


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
    assert "Not measured yet: 1 cells" in markdown(summarise([run]))


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
