"""All rows of a run beside one another: differences in pairs, corrected for their number, as a square and as CSV."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commands import Cli
from report_records import BASELINE, record, timed, write_run

from bench.report import matrices, pairs
from bench.report.data.gaps import holm


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Four samplers that share their luck, the second of them hardly another than the first."""
    luck, own = np.random.default_rng(0).normal(size=(2, 4, 10))
    cells = []
    for n, (name, fd) in enumerate({"ddpm": 1.2, "heun": 1.201, "ddim": 1.3, "dpm++2m": 2.0}.items()):
        left_out = fd + 0.3 * luck[0] + 0.002 * own[n]
        cells.append(timed(name, 200 if name == "ddpm" else 10, fd, 0.1) | {"fd_digits_left_out": left_out.tolist()})
    return write_run(tmp_path / "run", cells)


def test_pairs_are_tested_in_pairs_and_all_together(run: Path) -> None:
    found = pairs(run)
    names = [
        "ddpm on trailing at 200 steps",
        *(f"{name} on trailing at 10 steps" for name in ("heun", "ddim", "dpm++2m")),
    ]
    assert list(zip(found["a"], found["b"], strict=True)) == list(combinations(names, 2))
    assert found["difference"].tolist() == pytest.approx([-0.001, -0.1, -0.8, -0.099, -0.799, -0.7])
    assert found["p_holm"].tolist() == pytest.approx(holm(found["p"].tolist()))
    assert found["differ"].tolist() == [False, True, True, True, True, True]
    assert set(found["test"]) == {"paired t-test"}
    assert (found["ci"] < 0.03).all()  # each row's own interval is a hundred times as wide


def test_the_square_says_what_a_row_is_beyond_a_column(run: Path) -> None:
    ((heading, square),) = matrices(pairs(run))
    assert heading.startswith("FD (digits): model digits")
    assert square.columns.tolist() == ["", "Row less column", "1", "2", "3", "4"]
    assert square["3"].iloc[0].startswith("-0.10 ± 0.0")
    assert square["1"].iloc[2].startswith("+0.10 ± 0.0")
    assert square["2"].iloc[0].endswith(" †")
    assert [square[str(n + 1)].iloc[n] for n in range(4)] == ["–"] * 4  # noqa: RUF001


def test_what_has_no_interval_has_a_difference_alone(tmp_path: Path) -> None:
    found = pairs(write_run(tmp_path / "run", [record(*BASELINE), record("ddim")]))
    assert found[["ci", "p", "p_holm", "test", "differ"]].isna().all(axis=None)
    ((_, square),) = matrices(found)
    assert "±" not in square["2"].iloc[0]


def test_the_command_prints_the_square_and_writes_the_pairs(cli: Cli, run: Path, tmp_path: Path) -> None:
    said = cli("compare", run, "--pairs", "--csv", tmp_path / "pairs.csv").out
    assert "Row less column" in said
    assert "†: cannot be told from 0" in said
    assert len(pd.read_csv(tmp_path / "pairs.csv")) == 6


@pytest.mark.parametrize("given", [[], ["--csv", "x.csv"], ["OTHER", "--pairs"], ["OTHER", "--csv", "x.csv"]])
def test_a_run_alone_takes_pairs_and_two_do_not(cli: Cli, run: Path, given: list[str]) -> None:
    words = [str(run) if each == "OTHER" else each for each in given]
    assert "one with --pairs" in cli("compare", run, *words, status=2).err


def test_rows_of_one_setting_have_a_name_each(tmp_path: Path) -> None:
    cells = [timed("ddpm", 200, 1.2, 1.0), timed("ddim", 10, 1.3, 0.1), timed("heun", 10, 1.5, 0.1)]
    others = ({"device_name": "GPU X"}, {"device_name": "GPU X", "version_torch": "9.0"})
    cells += [timed("ddim", 10, 1.9 + n, 0.1) | each | {"id": f"f{n}" * 8} for n, each in enumerate(others)]
    found = pairs(write_run(tmp_path / "run", cells))
    names = {*found["a"], *found["b"]}
    assert len(names) == 5
    assert sum("GPU X" in name for name in names) == 2
    ((_, square),) = matrices(found)
    assert len(square) == 5
    assert [square[str(n + 1)].iloc[n] for n in range(5)] == ["–"] * 5  # noqa: RUF001


def test_a_file_that_is_no_record_is_told(cli: Cli, run: Path) -> None:
    broken = next((run / "cells").glob("*.json"))
    broken.write_text("{")
    assert broken.name in cli("compare", run, "--pairs").err


def test_what_is_as_good_as_can_be_measured_does_not_differ_there_either(tmp_path: Path) -> None:
    law: dict[str, Any] = {"fd_digits": None, "reference_sha256": None, "law_fd_floor": 0.05}
    values = {"ddim": 0.010, "heun": 0.011, "ddpm": 0.2}
    cells = [
        record(name, **law, law_fd=value, law_fd_left_out=[value + 1e-5 * n for n in range(10)])
        for name, value in values.items()
    ]
    found = pairs(write_run(tmp_path / "run", cells))
    assert found["differ"].tolist()[0] is False
    ((_, square),) = matrices(found)
    assert square["2"].iloc[0].endswith("†")
