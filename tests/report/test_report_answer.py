"""The answer follows from the rows, or says why there is none."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from report_records import BASELINE, failed, plain_text, record, timed, untimed, write_run
from scipy import stats
from scipy.stats import ttest_ind_from_stats

from bench.record import Record
from bench.report import summarise
from bench.report.data.text import duration, percent
from bench.report.figures.plots import FIGURES


def answer_of(folder: Path, cells: Sequence[Record], **changes: Any) -> Any:
    (found,) = summarise([write_run(folder / "run", cells, **changes)]).answers
    return found


BASE = timed("ddpm", 200, 1.20, 1.0)


def test_the_answer_is_the_fastest_setting_within_the_tolerance(tmp_path: Path) -> None:
    cells = [BASE, timed("heun", 50, 1.1, 0.4), timed("dpm++2m", 20, 1.31, 0.1), timed("ddim", 5, 1.321, 0.01)]
    found = answer_of(tmp_path, cells)
    assert found.winner["sampler"] == "dpm++2m"
    assert found.speedup == pytest.approx(10)
    assert found.sentence == (
        "dpm++2m on trailing at 20 steps (20 evaluations) is the fastest setting whose fd_digits (1.31) is within 10 % "
        "of the baseline's (1.20, ddpm on trailing at 200 steps): 10 times faster (0.400 against 4.00 ms an image)."
    )


def test_the_tolerance_is_the_studys(tmp_path: Path) -> None:
    found = answer_of(tmp_path, [BASE, timed("ddim", 10, 1.5, 0.1)], tolerance=0.25)
    assert (found.winner["sampler"], found.tolerance) == ("ddim", 0.25)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([BASE, timed("ddim", 5, 1.8, 0.1)], "No setting is within 10 % of the baseline's fd_digits (1.20, ddpm on "
         "trailing at 200 steps): the closest is ddim on trailing at 5 steps (1.80, 50 % worse), 10 times faster"),
        ([BASE, timed("ddim", 5, 272.4, 0.1)], "(272, 227 times as high), 10 times faster"),
        ([BASE, timed("ddim", 5, 12.0, 0.1)], "(12.0, 900 % worse), 10 times faster"),
        ([BASE, timed("ddim", 400, 1.2, 2.0)], "is faster than it: the fastest of them is ddim on trailing at 400 "
         "steps, 2.0 times slower (8.00 against 4.00 ms an image)."),
        ([failed(*BASELINE), timed("ddim", 5, 1.8, 0.1)], "No answer: the baseline (ddpm on trailing at 200 steps) "
         "failed (BadSamples: 3 of 250"),
        ([timed("ddim", 5, 1.8, 0.1)], "No answer: the baseline (ddpm on trailing at 200 steps) was not measured."),
        ([BASE], "No answer: only the baseline was measured."),
        ([BASE, failed("ddim")], "No answer: only the baseline was measured."),
        ([record(*BASELINE, fd_digits=None), timed("ddim", 5, 1.8, 0.1)], "has no fd_digits."),
        ([record(*BASELINE, fd_digits=None), record(fd_digits=None)], "No answer: no distance was measured."),
        ([failed(*BASELINE), failed()], "No answer: no cell has a result (2 failed, 0 not measured yet)."),
    ],
)  # fmt: skip
def test_the_answer_says_honestly_why_there_is_none(tmp_path: Path, cells: list[Record], said: str) -> None:
    found = answer_of(tmp_path, cells)
    assert said in found.sentence
    assert (found.winner, found.speedup) == (None, None)


@pytest.mark.parametrize(("distance", "doubtful"), [(1.24, True), (1.25, False)])
def test_the_answer_says_when_seeds_cannot_tell_it_from_the_baseline(
    tmp_path: Path, distance: float, doubtful: bool
) -> None:
    spread = [-0.02, 0.0, 0.02]
    cells = [timed("ddpm", 200, 1.2 + shift, 1.0, seed) for seed, shift in enumerate(spread)]
    cells += [timed("ddim", 20, distance + shift, 0.1, seed) for seed, shift in enumerate(spread)]
    sentence = answer_of(tmp_path, cells).sentence
    # of equal standard errors 0.02 / sqrt(3), so that t has 4 degrees of freedom
    p = ttest_ind_from_stats(1.2, 0.02, 3, distance, 0.02, 3, equal_var=False).pvalue
    said = f"; the two distances cannot be told apart (Welch's t-test, p = {p:.2g})"
    assert (p > 0.05, said in sentence, "cannot be told apart" in sentence) == (doubtful,) * 3


def test_the_answer_tests_single_seeds_by_their_jackknife(tmp_path: Path) -> None:
    cells = [BASE | {"fd_digits_std": 0.02}, timed("ddim", 20, 1.24, 0.1) | {"fd_digits_std": 0.02}]
    p = 2 * stats.t.sf(0.04 / math.hypot(0.02, 0.02), 18)
    assert f"cannot be told apart (Welch's t-test, p = {p:.2g})" in answer_of(tmp_path, cells).sentence


def test_where_nothing_is_good_enough_the_answer_says_if_the_closest_cannot_be_told_apart(tmp_path: Path) -> None:
    cells = [BASE | {"fd_digits_std": 0.1}, timed("ddim", 20, 1.4, 0.1) | {"fd_digits_std": 0.1}]
    sentence = answer_of(tmp_path, cells).sentence
    assert sentence.startswith("No setting is within 10 %")
    assert "; the two distances cannot be told apart (Welch's t-test, p = 0.17)." in sentence


def test_the_baseline_is_found_however_the_study_spells_it(tmp_path: Path) -> None:
    spelled = {"sampler": "ddpm[variance=small]", "grid": "trailing[]", "steps": 200}
    found = answer_of(tmp_path, [BASE, timed("ddim", 20, 1.2, 0.1)], baseline=spelled)
    assert found.baseline["sampler"] == "ddpm"


def test_where_nothing_was_timed_the_answer_is_the_setting_of_fewest_evaluations(tmp_path: Path) -> None:
    cells = [record(*BASELINE, fd_digits=1.2), record("heun", steps=10, fd_digits=1.1)]
    cells += [record("ddim", steps=19, fd_digits=1.3), record("dpm++2m", steps=9, fd_digits=2.0)]
    found = answer_of(tmp_path, [untimed(each) for each in cells])
    assert (found.winner["sampler"], found.cost) == ("heun", "nfe")  # of as many as ddim, the better
    assert found.speedup == pytest.approx(200 / 19)
    assert found.sentence == (
        "heun on trailing at 10 steps (19 evaluations) is the setting of fewest evaluations whose fd_digits (1.10) is "
        "within 10 % of the baseline's (1.20, ddpm on trailing at 200 steps): 11 times fewer evaluations (19 against "
        "200 an image; nothing was timed)."
    )


@pytest.mark.parametrize(
    ("steps", "fd", "said"),
    [
        (400, 1.2, "takes fewer evaluations than it: the one of fewest evaluations among them is ddim on trailing at "
         "400 steps, 2.0 times more evaluations (400 against 200 an image; nothing was timed)."),
        (20, 1.8, "the closest is ddim on trailing at 20 steps (1.80, 50 % worse), 10 times fewer evaluations"),
    ],
)  # fmt: skip
def test_where_nothing_was_timed_and_nothing_is_good_enough_it_says_so(
    tmp_path: Path, steps: int, fd: float, said: str
) -> None:
    cells = [record(*BASELINE, fd_digits=1.2), record("ddim", steps=steps, fd_digits=fd)]
    found = answer_of(tmp_path, [untimed(each) for each in cells])
    assert said in found.sentence
    assert found.winner is None


def test_the_figures_of_a_run_without_times_ring_the_answer_by_what_it_is(tmp_path: Path) -> None:
    cells = [record(*BASELINE, fd_digits=1.2), record("heun", steps=10, fd_digits=1.1)]
    summary = summarise([write_run(tmp_path / "run", [untimed(each) for each in cells])])
    assert "fewest evaluations, good enough" in plain_text(FIGURES["quality_vs_nfe"](summary))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "less than 1 s"), (36, "36 s"), (95.7, "1 min 36 s"), (120, "2 min"), (3599.9, "1 h"), (7510, "2 h 5 min"),
     (90_000, "1 d 1 h")],
)  # fmt: skip
def test_a_duration_is_told_in_its_two_largest_units(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_percentage_has_no_exponent() -> None:
    assert [percent(each) for each in (0.1, 9.994, 12.345, 226.0)] == ["10 %", "999 %", "1,234 %", "22,600 %"]
