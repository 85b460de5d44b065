"""Runs on exact models, which have no reference: they are ranked by the distance to their own truth."""

from pathlib import Path

import numpy as np
import pytest
from report_records import BASELINE, SUBJECT, own_truth, record, terminal, write_preview, write_run

from bench.record import Record
from bench.report import summarise, write_report
from bench.report.data.text import scientific
from bench.report.figures.plots import worth_drawing
from bench.report.tables.leaderboard import leaders
from bench.report.tables.markup import latex, markdown
from bench.report.tables.notes import notes
from bench.report.tables.table import columns

MIXTURE: Record = {"model": "mixture", "model_sha256": "e5" * 32, "subject_sha256": SUBJECT}


@pytest.fixture
def oracle(tmp_path: Path) -> Path:
    """Two exact models: on the main one ddpm reaches the law's floor, on the other ddim is best."""
    cells = [
        own_truth(*BASELINE[::2], 0.018, None),
        own_truth("ddim", 10, 0.40, 3.2e-2),
        own_truth("ddim", 100, 0.015, 4.56e-5),
        own_truth("heun", 100, 0.9, 7e-7),
        own_truth("ddim", 10, 0.001, 1.5e-3, **MIXTURE),
        own_truth("heun", 10, 0.3, 1.2e-3, **MIXTURE),
    ]
    run = write_run(tmp_path / "oracle", cells)
    for each in cells:
        write_preview(run, each, [np.zeros((8, 8), dtype=np.uint8)] * 10)
    return run


def test_rows_of_different_models_are_never_ranked_by_their_own_truths(oracle: Path) -> None:
    summary = summarise([oracle])
    assert [section.rank for section in summary.sections] == ["law_fd"] * 2
    assert [section.label.split(",")[0] for section in summary.sections] == [
        f"model oracle ({SUBJECT[:8]})",
        f"model mixture (e5e5e5e5) in the study of model {SUBJECT[:8]}",
    ]
    first, second = (section.rows for section in summary.sections)
    assert first["pareto_nfe"].tolist() == [False, True, True, False]
    assert second["pareto_nfe"].tolist() == [True, False]


def test_the_answer_is_by_the_law_where_there_is_no_reference(oracle: Path) -> None:
    first, second = (answer.sentence for answer in summarise([oracle]).answers)
    assert "ddim on trailing at 100 steps (100 evaluations) is the fastest setting whose law_fd (0.0150)" in first
    assert "; the two distances cannot be told apart (both are as small as can be measured)" in first
    assert "No answer: the baseline is of another model, and Law FD is a distance to each model's own truth." in second


def test_distances_of_many_orders_are_shown_to_three_digits_and_what_is_at_the_floor_is_alike(oracle: Path) -> None:
    shown = {column.heading: column for column in columns(summarise([oracle]).sections[0])}
    assert shown["Solver RMSE ↓"].cells == ["–", "0.0320", "4.56e-5", "7.00e-7"]  # noqa: RUF001
    assert shown["Solver RMSE ↓"].best == [False, False, False, True]
    assert shown["Law FD ↓"].cells == ["0.0180 †", "0.400", "0.0150", "0.900"]
    assert shown["Nearest RMSE ↓"].cells == ["0.00180", "0.0400", "0.00150", "0.0900"]


def test_notes_say_what_the_distances_are_to_and_their_floors(oracle: Path) -> None:
    said = " ".join(notes(summarise([oracle]).sections[0]))
    assert "Solver RMSE: to a tight solution of the probability flow, over 256 images; below 1.00e-6, the " in said
    assert "Law FD: in pixels, to the exact mean and covariance; as many exact samples have 0.0200." in said
    assert "Small N: 1,000 images a row; Law FD is biased upwards" in said
    assert "One seed a row: no intervals" in said


def test_figures_of_distances_that_were_not_measured_are_left_out(oracle: Path) -> None:
    assert worth_drawing(summarise([oracle])) == ["error_vs_nfe", "time_split", "images"]
    names = {path.name for path in write_report([oracle], ["md", "latex", "csv", "png"])}
    assert {"error_vs_nfe.png", "time_split.png", "images.png", "table.md", "table.tex", "table.csv"} <= names
    assert not {"quality_vs_nfe.png", "quality_vs_seconds.png"} & names


def test_runs_without_such_distances_have_no_figure_of_them(quick: Path) -> None:
    assert "error_vs_nfe" not in worth_drawing(summarise([quick]))


def test_occupancy_within_two_deviations_of_exact_samples_is_alike(tmp_path: Path) -> None:
    values = {"ddim": -0.01, "heun": 0.19, "ddpm": 0.21}
    cells = [
        own_truth(name, 10, 0.1, None, law_occupancy=value, law_occupancy_floor_std=0.1)
        for name, value in values.items()
    ]
    (section,) = summarise([write_run(tmp_path / "run", cells)]).sections
    shown = next(column for column in columns(section) if column.heading == "Occupancy ↓")
    assert (shown.cells, shown.best) == (["-0.0100", "0.190 †", "0.210"], [True, False, False])
    assert "exact samples are within 0.200 of 0." in " ".join(notes(section))


def test_solver_errors_alone_are_ranked_and_have_no_small_n(tmp_path: Path) -> None:
    rows = [(*BASELINE[::2], 1e-2), ("ddim", 10, 1e-3), ("heun", 20, 1e-4)]
    run = write_run(tmp_path / "run", [own_truth(name, n, None, error) for name, n, error in rows])
    summary = summarise([run])
    (section,) = summary.sections
    assert [(each.row["sampler"], each.budget) for each in leaders(section)][:2] == [("ddim", 10), ("heun", 50)]
    assert "whose solver_rmse (0.00100)" in summary.answers[0].sentence
    assert "Small N" not in markdown(summary) + latex(summary) + terminal([run])


def test_beside_a_reference_solver_errors_are_ranked_by_model(tmp_path: Path) -> None:
    extra: Record = {"solver_rmse_reference": 1e-6, "solver_images": 256}
    cells = [record(*BASELINE, solver_rmse=0.01, **extra), record(solver_rmse=0.02, **extra)]
    cells += [record("heun", solver_rmse=0.001, **extra | MIXTURE)]
    (section,) = summarise([write_run(tmp_path / "run", cells)]).sections
    shown = next(column for column in columns(section) if column.heading == "Solver RMSE ↓")
    assert shown.best == [True, False, True]
    assert "Solver RMSE: ranked among rows of the same model only." in notes(section)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.234e-5, "1.23e-5"), (9.999e-4, "1.00e-3"), (0.001, "0.00100"), (0.5, "0.500"), (12.34, "12.3"), (0.0, "0.00")],
)
def test_small_numbers_have_an_exponent(value: float, text: str) -> None:
    assert scientific(value) == text
