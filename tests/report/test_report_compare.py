"""Two runs are compared as far as they can be."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from report_records import PROTOCOLS, record, timed, write_run
from scipy.stats import ttest_ind_from_stats

from bench.cli.run import compare_runs
from bench.report import as_tables_show, compare


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


def test_of_unrelated_runs_it_says_so_and_shows_only_what_has_a_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = write_run(tmp_path / "a", [record("ddim", recall=None)])
    b = write_run(tmp_path / "b", [record("heun", recall=None, model="cifar10", model_sha256="d4" * 32)])
    assert compare_runs(a, b) == 0
    first, heading, _, *rows = capsys.readouterr().out.splitlines()
    assert first == "no cell of one run can be compared with one of the other"
    names = [name.strip() for name in heading.strip("|").split("|")]
    assert {"latency_s_median_a", "latency_s_median_b", "fd_digits_a", "fd_digits_b", "reason"} <= set(names)
    assert not [name for name in names if name.startswith("recall") or name.endswith(("ratio", "difference", "test"))]
    assert len(rows) == 2


def test_what_is_printed_has_the_units_of_the_tables(tmp_path: Path) -> None:
    a, b = (write_run(tmp_path / name, [record(kid_mean=kid)]) for name, kid in (("a", 0.001), ("b", 0.0025)))
    shown = as_tables_show(compare(a, b))
    names = [name for name in shown.columns if name.startswith("kid_mean") and not name.endswith("test")]
    assert names == [f"kid_mean_x1000_{end}" for end in ("a", "b", "difference")]
    assert shown[names].iloc[0].tolist() == pytest.approx([1.0, 2.5, 1.5])
