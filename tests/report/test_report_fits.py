"""What was fitted stands beside the best that was not, with what the fit took, wherever rows are told of."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_records import BASELINE, column, guided, own_truth, record, section_of, summary_of, texts, write_run
from scipy import stats

from bench.record import Record
from bench.report import summarise
from bench.report.data.fits import FitGain, fit_columns, fit_notes
from bench.report.figures.plots import FIGURES
from bench.report.tables.blocks import blocks
from bench.report.tables.markup import markdown
from bench.report.tables.notes import notes
from bench.report.tables.tex import latex_files

FIT: dict[str, Any] = {"fit_images": 128, "fit_nfe": 94_528, "fit_s": 2.5}
NOISE = np.random.default_rng(0).normal(size=(3, 10))


def ended(sampler: str, grid: str, error: float, steps: int = 8, own: int = 0, **changes: Any) -> Record:
    """A record with errors whose blocks share most of what they differ by, as samplers of one noise do."""
    without = (error * (1 + 0.05 * NOISE[0] + 0.001 * NOISE[own])).tolist()
    errors = {"solver_rmse_left_out": without, "solver_rmse_median": error / 2}
    errors |= {"solver_rmse_median_left_out": [each / 2 for each in without]}
    return own_truth(sampler, steps, None, error, grid=grid, **(errors | changes))


def shown(found: list[FitGain]) -> list[tuple[str, str, str, str]]:
    """Of each line the metric, the fitted row, what stands beside it, and the difference."""
    table = {each.heading: each.cells for each in fit_columns(found)}
    return list(zip(table["Metric"], table["Fitted"], table["Best that is not"], table["Δ"], strict=True))


def test_a_fitted_grid_stands_beside_the_best_of_the_same_sampler_with_as_many_evaluations(tmp_path: Path) -> None:
    cells = [
        ended("unipc", "fit-grid", 0.010, own=1, **FIT),
        ended("unipc", "logsnr", 0.040),
        ended("unipc", "trailing", 0.030),
        ended("unipc", "karras", 0.002, steps=16),  # of more evaluations
        ended("ddim", "trailing", 0.001),  # of another sampler
        ended("unipc", "gits", 0.005, own=2, **FIT),  # itself fitted
    ]
    found = section_of(tmp_path, cells).fits
    assert [(each.row["grid"], each.best["grid"], each.quality.key) for each in found] == [
        (grid, "trailing", key) for key in ("solver_rmse", "solver_rmse_median") for grid in ("fit-grid", "gits")
    ]
    assert shown(found)[0][1:3] == ("unipc on fit-grid at 8 steps", "trailing")


def test_a_fitted_sampler_stands_beside_the_best_of_all_within_its_evaluations(tmp_path: Path) -> None:
    cells = [
        ended("dpm-solver-v3", "logsnr", 0.010, own=1, **FIT),
        ended("ddim", "trailing", 0.03, steps=5),
        ended("heun", "karras", 0.02, steps=4, nfe=7.0),
        ended("unipc", "karras", 0.005, steps=10),
    ]
    (first, _) = section_of(tmp_path, cells).fits
    assert (first.best["sampler"], first.best["nfe"]) == ("heun", 7)
    assert fit_columns([first])[2].cells == ["heun on karras at 4 steps"]


def test_models_guidances_and_clips_are_kept_apart(tmp_path: Path) -> None:
    alone = guided("cfg[scale=2]", "unipc", 10, grid="fit-grid", **FIT)
    others = [record("unipc", grid="trailing", steps=20), guided("cfg[scale=3]", "unipc", 10)]
    assert not section_of(tmp_path / "a", [alone, *others]).fits
    assert len(section_of(tmp_path / "b", [alone, *others, guided("cfg[scale=2]", "unipc", 10)]).fits) == 1
    clipped = record("unipc", clip=[-1.0, 1.0], **FIT)
    assert not section_of(tmp_path / "c", [clipped, record("unipc", grid="karras", clip=None)]).fits


def test_the_difference_is_that_of_pairs_and_corrected_for_all_rows(tmp_path: Path) -> None:
    cells = [ended("unipc", "fit-grid", 0.029, own=1, **FIT), ended("unipc", "trailing", 0.030)]
    found = section_of(tmp_path, cells).fits
    fitted, fixed = (np.array(each["solver_rmse_left_out"]) for each in cells)
    apart = fitted - fixed
    error = math.sqrt(9 / 10 * ((apart - apart.mean()) ** 2).sum())
    p = 2 * stats.t.sf(0.001 / error, 9)
    assert found[0].gap.value == pytest.approx(-0.001)
    assert found[0].gap.error is not None
    assert found[0].gap.error.value == pytest.approx(error)
    assert found[0].p_holm == pytest.approx(p)
    more = [ended("unipc", "gits", 0.0299, own=2, **FIT), *cells]
    corrected = {each.row["grid"]: each.p_holm for each in section_of(tmp_path / "more", more).fits[:2]}
    assert corrected["fit-grid"] == pytest.approx(2 * p)


def test_the_table_says_what_cannot_be_told_apart_and_what_fits_took(tmp_path: Path) -> None:
    cells = [
        ended("unipc", "fit-grid", 0.0300001, own=1, **FIT),
        ended("unipc", "trailing", 0.030),
        ended("unipc", "ays-fit", 0.02, own=1, solver_rmse_left_out=None, solver_rmse_median_left_out=None, **FIT),
    ]
    summary = summary_of(tmp_path, cells)
    (section,) = summary.sections
    lines = {(metric, fitted): gap for metric, fitted, _, gap in shown(section.fits)}
    assert lines["Solver RMSE", "unipc on fit-grid at 8 steps"].endswith("†")
    assert "±" not in lines["Solver RMSE", "unipc on ays-fit at 8 steps"]
    said = " ".join(fit_notes(section.fits))
    assert "Holm's procedure" in said
    assert "What has no interval is not tested." in said
    assert "nothing is tested against" not in " ".join(each for block in blocks(summary) for each in block.notes)
    table = {each.heading: each.cells for each in fit_columns(section.fits)}
    assert (table["Fit NFE"][0], table["In images"][0]) == ("94,528", "11,816")


def test_every_table_and_the_answer_say_that_a_fit_came_first(tmp_path: Path) -> None:
    sampler, grid, steps = BASELINE
    cells = [record(sampler, grid, steps), record("unipc", "fit-grid", 10, fd_digits=1.0, **FIT), record("unipc")]
    summary = summary_of(tmp_path, cells)
    section = summary.sections[0]
    assert column(section, "Fit NFE").cells.count("94,528") == 1
    assert "(10 evaluations after a fit of 94,528) is the fastest" in section.answers[0].sentence
    told = "Fitted to the model first, with 94,528 evaluations that NFE and times leave out: unipc on fit-grid."
    assert told in notes(section)
    assert [block.kind for block in blocks(summary)] == ["paper", "rows", "fits"]
    assert told in blocks(summary)[0].notes
    assert told in " ".join(" ".join(texts(FIGURES["quality_vs_nfe"](summary))).split())
    assert "What fitting brings" in markdown(summary)
    assert "table-fits" in latex_files(summary)


def test_where_nothing_is_fitted_nothing_is_said_of_it(tmp_path: Path) -> None:
    summary = summarise([write_run(tmp_path / "run", [record("ddim"), record("heun", fit_nfe=None)])])
    assert not summary.sections[0].fits
    assert "fit" not in markdown(summary).lower()
