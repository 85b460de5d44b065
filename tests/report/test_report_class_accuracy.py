"""Class accuracy in reports: higher is better, compared in pairs, beside that of real images."""

from pathlib import Path

import numpy as np
import pytest
from commands import Cli
from report_records import BASELINE, column, record, row_of, section_of, write_run
from scipy import stats

from bench.record import Record
from bench.report.tables.notes import notes


def accurate(sampler: str, steps: int, value: float, error: float, own: float = 0.0) -> Record:
    """A record with this accuracy, whose jackknife is a swing that others share and one of its own."""
    swing = np.array([-1.0, 1.0] * 5) * error / 3  # of values c and -c the jackknife's standard error is 3 c
    apart = np.array([-1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0, 1.0, 0.0, 0.0]) * own
    left_out = (value + swing + apart).tolist()
    std = float(np.sqrt(0.9 * np.sum((np.array(left_out) - np.mean(left_out)) ** 2)))
    values = {"class_accuracy": value, "class_accuracy_std": std, "class_accuracy_left_out": left_out}
    return record(sampler, steps=steps, labels="balanced", class_accuracy_real=0.997, **values)


@pytest.fixture
def cells() -> list[Record]:
    return [
        accurate(*BASELINE[::2], 0.9, 0.03),
        accurate("heun", 10, 0.92, 0.03, 0.0005),
        accurate("ddim", 10, 0.9199, 0.03),
    ]


def test_the_highest_is_best_and_others_are_told_from_it_in_pairs(tmp_path: Path, cells: list[Record]) -> None:
    section = section_of(tmp_path, cells)
    shown = column(section, "Class accuracy ↑")
    found = {str(row["sampler"]): n for n, row in enumerate(section.records)}
    assert [shown.best[found[name]] for name in ("ddpm", "heun", "ddim")] == [False, True, True]  # 0.920 both
    # unpaired, 0.02 is 0.5 standard errors; what both share falls out of the difference
    assert [shown.tested[found[name]] for name in ("ddpm", "heun", "ddim")] == [True, False, False]
    assert shown.brief[found["ddpm"]] == "0.900"
    half = stats.t.ppf(0.975, 9) * 0.03
    assert shown.cells[found["ddpm"]] == f"0.900 ± {half:.3f}"
    said = " ".join(notes(section))
    assert "of one seed, of class accuracy only, 2.26 jackknife standard errors" in said
    assert "Class accuracy: the share of images that the extractor takes for the class asked for, 0.997 of real" in said
    assert "labels balanced" in section.label


def test_the_table_has_it_with_its_interval_and_that_of_real_images(tmp_path: Path, cells: list[Record]) -> None:
    row = row_of(write_run(tmp_path / "run", cells), "ddim", 10)
    assert (row["class_accuracy"], row["class_accuracy_real"]) == (0.9199, 0.997)
    assert row["class_accuracy_ci"] == pytest.approx(stats.t.ppf(0.975, 9) * 0.03)


def test_a_report_may_be_by_class_accuracy(tmp_path: Path, cells: list[Record], cli: Cli) -> None:
    run = write_run(tmp_path / "run", cells)
    out = " ".join(cli("report", run, "--metric", "class_accuracy", "--format", "md").out.split())
    assert "Class accuracy of samplers by network evaluations an image (NFE); higher is better." in out
    assert "0.920" in (run / "table.md").read_text().partition("Class accuracy of samplers")[0]
