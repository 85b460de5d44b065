"""The figure of errors where the truth is known: what it draws, at which places, and when there is nothing to draw."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_records import BASELINE, own_truth, plain_text, record, write_run

from bench.record import Record
from bench.report.plot_error import error_vs_nfe, shown_measures
from bench.report.summary import summarise

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
