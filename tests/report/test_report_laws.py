"""Runs on exact models: ranked by the distance to their own truth, with a figure of their errors."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.lines import Line2D
from report_records import (
    BASELINE,
    SUBJECT,
    column,
    own_truth,
    plain_text,
    record,
    section_of,
    summary_of,
    terminal,
    write_preview,
    write_run,
)

from bench.record import Record
from bench.report import summarise, write_report
from bench.report.data.section import Section
from bench.report.data.text import scientific
from bench.report.figures.legend import laid_out
from bench.report.figures.plot_error import error_vs_nfe, shown_measures
from bench.report.figures.plots import worth_drawing
from bench.report.tables.leaderboard import leaders
from bench.report.tables.markup import markdown
from bench.report.tables.notes import notes
from bench.report.tables.table import columns
from bench.report.tables.tex import latex

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
    assert "; both distances are as small as can be measured" in first
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
    section = section_of(tmp_path, cells)
    shown = column(section, "Occupancy ↓")
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
    section = section_of(tmp_path, cells)
    shown = column(section, "Solver RMSE ↓")
    assert shown.best == [True, False, True]
    assert "Solver RMSE: ranked among rows of the same model only." in notes(section)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.234e-5, "1.23e-5"), (9.999e-4, "1.00e-3"), (0.001, "0.00100"), (0.5, "0.500"), (12.34, "12.3"), (0.0, "0.00")],
)
def test_small_numbers_have_an_exponent(value: float, text: str) -> None:
    assert scientific(value) == text


EVALUATIONS = (5, 10, 20, 50)


def known(sampler: str, steps: int, **changes: Any) -> Record:
    """A row on a known law, without a reference; the solver's error falls with the square of the steps."""
    stochastic = sampler == "ddpm"
    values: dict[str, Any] = {"fd_digits": None, "extractor": None, "extractor_sha256": None, "reference": None}
    values |= {"reference_sha256": None, "family": "SDE" if stochastic else "ODE, multistep"}
    values |= {"law_fd": 0.1 + 5.0 / steps, "law_fd_floor": 0.08, "solver_rmse_reference": 1e-7, "solver_images": 8}
    values |= {"solver_rmse": None if stochastic else 2.0 / steps**2}
    return record(sampler, steps=steps, **(values | changes))


def drawn(axes: Any, count: int) -> list[np.ndarray[Any, Any]]:
    """The lines through as many points, (count, 2) each."""
    return [np.asarray(line.get_xydata()) for line in axes.lines if len(line.get_xdata()) == count]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rows = [known(name, steps) for name in ("dpm++2m", "ddpm") for steps in EVALUATIONS]
    other = {"model": "digits-oracle", "model_sha256": "d4" * 32, "subject_sha256": "a1" * 32}
    # on finite data an error can be 0, which has no place on a logarithmic axis
    errors = dict(zip(EVALUATIONS, (0.3, 0.2, 0.1, 0.0), strict=True))
    rows += [known("dpm++2m", steps, solver_rmse=error, **other) for steps, error in errors.items()]
    return write_run(tmp_path / "oracle", rows)


def test_every_line_goes_through_the_measured_errors(run: Path) -> None:
    figure = error_vs_nfe(summarise([run]))
    solver, law, *_ = figure.axes
    (line,) = drawn(solver, len(EVALUATIONS))  # ddpm has no trajectory to compare
    np.testing.assert_allclose(line, [(steps, 2.0 / steps**2) for steps in EVALUATIONS])
    for line in drawn(law, len(EVALUATIONS)):
        np.testing.assert_allclose(line, [(steps, 0.1 + 5.0 / steps) for steps in EVALUATIONS])
    assert len(drawn(law, len(EVALUATIONS))) == 2
    assert [line[0, 1] for line in drawn(law, 2)] == [0.08]  # the floor


def test_each_model_has_its_panels_and_each_sampler_its_name(run: Path) -> None:
    text = plain_text(error_vs_nfe(summarise([run])))
    for words in ("digits-oracle", "dpm++2m", "ddpm", "SDE", "ODE, multistep", "as many exact samples 0.08", "1e-07"):
        assert words in text


def test_the_guides_have_the_slopes_that_they_are_named_after(run: Path) -> None:
    solver = error_vs_nfe(summarise([run])).axes[0]
    found = [np.diff(np.log(line[:, 1]))[0] / np.diff(np.log(line[:, 0]))[0] for line in drawn(solver, 2)]
    np.testing.assert_allclose(found, [-1.0, -2.0, -3.0, -4.0])


def test_an_error_of_zero_and_one_beyond_the_axis_are_marked_at_its_edges(tmp_path: Path, run: Path) -> None:
    oracle = error_vs_nfe(summarise([run])).axes[2]
    low, _ = oracle.get_ylim()
    assert low > 0.0
    assert [tuple(point) for line in drawn(oracle, 1) for point in line] == [(50.0, low)]
    wild = [known("dpm++2m", steps, solver_rmse=1e4 if steps == 10 else 0.1) for steps in EVALUATIONS]
    solver = error_vs_nfe(summarise([write_run(tmp_path / "wild", wild)])).axes[0]
    assert [tuple(point) for line in drawn(solver, 1) for point in line] == [(10.0, solver.get_ylim()[1])]


def test_a_baseline_of_more_evaluations_is_on_the_axis_or_marked_at_its_edge(tmp_path: Path) -> None:
    rows = [known("dpm++2m", steps) for steps in EVALUATIONS]
    for steps, marked in ((100, []), (2000, [(59.0, 0.1025)])):
        run = write_run(tmp_path / str(steps), [known("ddpm", steps), *rows], baseline=baseline(steps))
        figure = error_vs_nfe(summarise([run]))
        law, text = figure.axes[1], plain_text(figure)
        assert (law.get_xlim()[1] > steps) == (not marked)
        ends = [line for line in drawn(law, 1) if line[0, 0] < steps]
        np.testing.assert_allclose(np.reshape(ends, (-1, 2)), np.reshape(marked, (-1, 2)), rtol=0.01)
        assert ("at 2,000" in text, "→ beyond the axis" in text) == (bool(marked),) * 2
        assert "beyond" in text if marked else "beyond" not in text


def baseline(steps: int) -> dict[str, Any]:
    return {"sampler": "ddpm", "grid": "trailing", "steps": steps}


def test_a_line_is_on_the_axis_where_there_is_room_and_in_the_legend_if_it_is_drawn(tmp_path: Path) -> None:
    usual = [(name, steps, 2.0 / steps**2) for name in ("dpm++2m", "heun", "ddim") for steps in EVALUATIONS]
    worse = [("unipc", steps, 200 / steps) for steps in EVALUATIONS]
    rows = [known(name, steps, solver_rmse_median=error) for name, steps, error in (*usual, *worse)]
    rows += [known("er-sde", 5, solver_rmse_median=None, law_fd=None)]  # no panel has what it has
    figure = error_vs_nfe(summary_of(tmp_path, rows))
    assert figure.axes[0].get_ylim()[1] > 200 / max(EVALUATIONS)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts() if text.get_text()] == [
        *("ODE, multistep", "dpm++2m", "heun", "ddim", "unipc")
    ]


def test_where_evaluations_are_nearly_equal_the_names_of_slopes_do_not_overlap(tmp_path: Path) -> None:
    rows = [known("dpm++2m", steps, solver_rmse=error) for steps, error in ((9, 1.0), (10, 1e-5))]
    figure = error_vs_nfe(summary_of(tmp_path, rows))
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert boxes
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


@pytest.mark.parametrize("sizes", [(1,), (1, 1), (2, 3), (1, 1, 1, 1, 1), (9, 2, 5, 1), (3, 17, 1, 1, 2)])
def test_a_familys_name_stands_above_its_first_sampler(sizes: tuple[int, ...]) -> None:
    handle = Line2D([], [])
    names = {f"family {n}": [(f"{n}.{m}", handle) for m in range(size)] for n, size in enumerate(sizes)}
    columns = [[label for label, _ in column] for column in laid_out(names)]
    assert len(columns) <= 4
    assert len({len(column) for column in columns}) == 1
    for n in range(len(sizes)):
        (column,) = [column for column in columns if f"family {n}" in column]
        assert column[column.index(f"family {n}") + 1] == f"{n}.0"


def test_of_solvers_the_median_image_is_drawn_unless_most_images_have_no_error(tmp_path: Path) -> None:
    """A few images that end in another mode hide the slope of all; on finite data the median would be round-off."""
    rows = [known("dpm++2m", steps, solver_rmse_median=1.0 / steps**2) for steps in EVALUATIONS]
    other = {"model": "digits-oracle", "model_sha256": "d4" * 32, "subject_sha256": "a1" * 32}
    rows += [known("dpm++2m", steps, solver_rmse_median=1e-9, **other) for steps in EVALUATIONS]
    smooth, _, finite, _ = error_vs_nfe(summarise([write_run(tmp_path / "both", rows)])).axes
    (line,) = drawn(smooth, len(EVALUATIONS))
    np.testing.assert_allclose(line, [(steps, 1.0 / steps**2) for steps in EVALUATIONS])
    assert "median image" in smooth.get_ylabel()
    (line,) = drawn(finite, len(EVALUATIONS))
    np.testing.assert_allclose(line, [(steps, 2.0 / steps**2) for steps in EVALUATIONS])
    assert "median image" not in finite.get_ylabel()


def test_a_run_without_such_errors_has_nothing_to_draw(quick: Path) -> None:
    summary = summarise([quick])
    assert shown_measures(summary) == []
    with pytest.raises(ValueError, match="nothing to draw"):
        error_vs_nfe(summary)


def test_an_error_is_drawn_where_no_other_was_measured(tmp_path: Path) -> None:
    cells = [own_truth(*BASELINE[::2], 0.1, None), own_truth("heun", 10, 0.05, None)]
    solver = ("solver_rmse", "solver_rmse_reference", "solver_images")
    run = write_run(tmp_path / "run", [{k: v for k, v in each.items() if k not in solver} for each in cells])
    assert error_vs_nfe(summarise([run])).axes


def test_without_an_exact_law_there_is_one_column_of_panels(tmp_path: Path) -> None:
    rows = [known("dpm++2m", steps, law_fd=None, law_fd_floor=None) for steps in EVALUATIONS]
    summary = summarise([write_run(tmp_path / "solver", rows)])
    assert [each.column for each in shown_measures(summary)] == ["solver_rmse"]
    assert len(error_vs_nfe(summary).axes) == 1


def test_errors_of_solvers_are_ranked_by_flow(tmp_path: Path) -> None:
    """Of two grids the one that begins lower has an easier flow: neither is better than the other for that."""
    usual = {"sigma_start": 157.4, "sigma_end": 0.3, "final_denoising": True}
    ends: dict[str, Record] = {"trailing": {}, "karras": {"sigma_end": 0.01}, "quad": {"sigma_start": 25.7}}
    ends["logsnr"] = {"final_denoising": False}
    cells = [own_truth("ddim", 10, None, 0.2, grid=grid, **(usual | each)) for grid, each in ends.items()]
    baseline = {"sampler": "ddim", "grid": "trailing", "steps": 10}
    summary = summarise([write_run(tmp_path / "run", cells, baseline=baseline)])
    assert [sorted(row["grid"] for row in section.records) for section in summary.sections] == [
        ["karras", "trailing"], ["quad"], ["logsnr"],
    ]  # fmt: skip
    assert [section.label.partition("flow ")[2] for section in summary.sections] == [
        "from sigma / alpha 157.4 to 0, quantiser round",
        "from sigma / alpha 25.7 to 0, quantiser round",
        "from sigma / alpha 157.4 to 0.3, quantiser round",
    ]
    for each in summary.answers[1:]:
        assert "(ddim on trailing at 10 steps) was not measured on this flow" in each.sentence


def test_beside_a_distance_that_ranks_all_errors_of_solvers_are_compared_by_flow(tmp_path: Path) -> None:
    usual: Record = {"sigma_start": 157.4, "sigma_end": 0.3, "final_denoising": True, "solver_images": 100}
    cells = [
        record("ddim", grid, solver_rmse=error, **(usual | {"sigma_start": start}))
        for grid, start, error in (("trailing", 157.4, 0.2), ("karras", 157.4, 0.1), ("quad", 25.7, 0.05))
    ]
    section = section_of(tmp_path, cells)
    assert [cell for cell, best in zip(*_best(section, "Solver RMSE ↓"), strict=True) if best] == ["0.100", "0.0500"]
    assert "Solver RMSE: ranked among rows of the same ends of the flow only." in notes(section)


def _best(section: Section, heading: str) -> tuple[list[str], list[bool]]:
    shown = column(section, heading)
    return shown.brief, shown.best
