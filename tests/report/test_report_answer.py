"""The answer follows from the rows, or says why there is none; and what a first look adds to it."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from report_records import BASELINE, failed, plain_text, record, summary_of, terminal, timed, untimed, write_run
from scipy import stats

from bench.model_record import FIRST_LOOK, Floors, Look, ModelLook, read_look, write_kept
from bench.record import Record
from bench.report import summarise, write_report
from bench.report.data.text import duration, percent
from bench.report.figures.plots import FIGURES
from models.common.words import counted


def answer_of(folder: Path, cells: Sequence[Record], **changes: Any) -> Any:
    (found,) = summarise([write_run(folder / "run", cells, **changes)]).answers
    return found


BASE = timed("ddpm", 200, 1.20, 1.0)
UNTIMED = untimed(BASE)


def test_the_answer_is_the_fastest_setting_within_the_tolerance(tmp_path: Path) -> None:
    cells = [BASE, timed("heun", 50, 1.1, 0.4), timed("dpm++2m", 20, 1.31, 0.1), timed("ddim", 5, 1.321, 0.01)]
    found = answer_of(tmp_path, cells)
    assert found.winner["sampler"] == "dpm++2m"
    assert found.speedup == pytest.approx(10)
    assert found.sentence == (
        "dpm++2m on trailing at 20 steps (20 evaluations) is the fastest setting whose fd_digits (1.31) is within 10 % "
        "of the baseline's (1.20, ddpm on trailing at 200 steps): 10 times faster (0.400 against 4.00 ms an image)."
    )


def test_a_single_evaluation_is_no_plural(tmp_path: Path) -> None:
    assert (
        "one-step on trailing at 1 step (1 evaluation) is the"
        in answer_of(tmp_path, [BASE, timed("one-step", 1, 1.2, 0.1)]).sentence
    )
    assert [counted(each, "cell") for each in (0, 1, 1.0, 2.5, 20_000)] == [
        *("0 cells", "1 cell", "1 cell", "2.5 cells", "20,000 cells")
    ]


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([BASE, timed("ddim", 5, 1.8, 0.1)], "No setting is within 10 % of the baseline's fd_digits (1.20, ddpm on "
         "trailing at 200 steps): the closest is ddim on trailing at 5 steps (1.80, 50 % worse), 10 times faster"),
        ([BASE, timed("ddim", 5, 272.4, 0.1)], "(272, 227 times as high), 10 times faster"),
        ([BASE, timed("ddim", 5, 12.0, 0.1)], "(12.0, 900 % worse), 10 times faster"),
        ([BASE, timed("ddim", 400, 1.2, 2.0)], "is faster than it: the fastest of them is ddim on trailing at 400 "
         "steps, 2.0 times slower (8.00 against 4.00 ms an image)."),
        ([BASE, timed("ddim", 400, 1.2, 1.004)], "steps, as fast to two digits (4.02 against 4.00 ms an image)."),
        ([failed(*BASELINE), timed("ddim", 5, 1.8, 0.1)], "No answer: the baseline (ddpm on trailing at 200 steps) "
         "failed (BadSamples: 3 of 250"),
        ([timed("ddim", 5, 1.8, 0.1)], "No answer: the baseline (ddpm on trailing at 200 steps) was not measured."),
        ([BASE], "No answer: only the baseline was measured."),
        ([BASE, failed("ddim")], "No answer: only the baseline was measured."),
        ([record(*BASELINE, fd_digits=None), timed("ddim", 5, 1.8, 0.1)], "has no fd_digits."),
        ([record(*BASELINE, fd_digits=None), record(fd_digits=None)], "No answer: no distance was measured."),
        ([UNTIMED, untimed(record("ddim", steps=400, fd_digits=1.2))], "takes fewer evaluations than it: the one of "
         "fewest evaluations among them is ddim on trailing at 400 steps, 2.0 times more evaluations (400 against 200 "
         "an image; nothing was timed)."),
        ([UNTIMED, untimed(record("ddim", steps=20, fd_digits=1.8))], "the closest is ddim on trailing at 20 steps "
         "(1.80, 50 % worse), 10 times fewer evaluations"),
        ([failed(*BASELINE), failed()], "No answer: no cell has a result (2 failed, 0 not measured yet)."),
    ],
)  # fmt: skip
def test_the_answer_says_honestly_why_there_is_none(tmp_path: Path, cells: list[Record], said: str) -> None:
    found = answer_of(tmp_path, cells)
    assert said in found.sentence
    assert (found.winner, found.speedup) == (None, None)


@pytest.mark.parametrize(
    ("distance", "said"),
    [
        (1.2, "; that it is within 10 % is shown (95 %, one-sided"),
        (
            1.31,
            "; 1,000 images a seed do not tell whether it is within 10 %: some 28,000 a seed would",
        ),
    ],
)
def test_the_answer_says_whether_it_is_shown_and_how_many_images_would_decide_it(
    tmp_path: Path, distance: float, said: str
) -> None:
    """Within 10 % of 1.2 is up to 1.32, by Welch's test, as records lack what pairs are made from."""
    spread = [-0.02, 0.0, 0.02]
    cells = [timed("ddpm", 200, 1.2 + shift, 1.0, seed) for seed, shift in enumerate(spread)]
    cells += [timed("ddim", 20, distance + shift, 0.1, seed) for seed, shift in enumerate(spread)]
    assert said in answer_of(tmp_path, cells).sentence


def test_the_claim_of_single_seeds_is_by_their_jackknife(tmp_path: Path) -> None:
    cells = [BASE | {"fd_digits_std": 0.02}, timed("ddim", 20, 1.2, 0.1) | {"fd_digits_std": 0.02}]
    lower = (1.1 * 1.2 - 1.2) / math.hypot(0.02, 1.1 * 0.02)  # in standard errors
    assert lower > stats.t.ppf(0.95, 18)
    assert "; that it is within 10 % is shown (95 %, one-sided" in answer_of(tmp_path, cells).sentence


def test_the_claim_is_in_pairs_where_records_have_what_is_left_without_each_block(tmp_path: Path) -> None:
    """Two rows that vary together are told apart although each of them varies by more than they differ."""
    luck = [0.1 * math.sin(n) for n in range(10)]
    base = BASE | {"fd_digits_std": 0.3, "fd_digits_left_out": [1.2 + each for each in luck]}
    ours = timed("ddim", 20, 1.25, 0.1) | {"fd_digits_std": 0.3}
    assert "do not tell" in answer_of(tmp_path / "apart", [base, ours]).sentence
    paired = ours | {"fd_digits_left_out": [1.25 + 1.1 * each for each in luck]}
    assert "; that it is within 10 % is shown" in answer_of(tmp_path / "paired", [base, paired]).sentence


def test_where_nothing_is_good_enough_the_answer_says_if_that_is_shown_of_the_closest(tmp_path: Path) -> None:
    cells = [BASE | {"fd_digits_std": 0.1}, timed("ddim", 20, 1.4, 0.1) | {"fd_digits_std": 0.1}]
    sentence = answer_of(tmp_path, cells).sentence
    assert sentence.startswith("No setting is within 10 %")
    assert "; 1,000 images do not tell whether it is within 10 %" in sentence
    far = [cells[0], timed("ddim", 20, 2.4, 0.1) | {"fd_digits_std": 0.1}]
    assert "; that it is not within 10 % is shown (95 %, one-sided" in answer_of(tmp_path, far).sentence


def test_the_tolerance_and_the_baseline_are_the_studys_however_it_spells_them(tmp_path: Path) -> None:
    spelled = {"sampler": "ddpm[variance=small]", "grid": "trailing[]", "steps": 200}
    found = answer_of(tmp_path, [BASE, timed("ddim", 10, 1.5, 0.1)], tolerance=0.25, baseline=spelled)
    assert (found.winner["sampler"], found.tolerance, found.baseline["sampler"]) == ("ddim", 0.25, "ddpm")


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


def test_the_figures_of_a_run_without_times_ring_the_answer_by_what_it_is(tmp_path: Path) -> None:
    cells = [record(*BASELINE, fd_digits=1.2), record("heun", steps=10, fd_digits=1.1)]
    summary = summary_of(tmp_path, [untimed(each) for each in cells])
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


def _look() -> Look:
    floors = Floors(
        column="fd_digits",
        extractor_sha256="b2" * 32,
        reference_sha256="c3" * 32,
        noise=40.0,
        noise_images=1000,
        real=0.5,
        real_images=898,
    )
    model = ModelLook(
        model="digits",
        model_sha256="a1" * 32,
        architecture_sha256=None,
        data="digits",
        evaluations=288,
        wrong=["it is another"],
    )
    return Look(models=[model], floors=[floors])


def _changed(part: str, **changes: Any) -> str:
    """A look without a digest, with something else in it."""
    content = {"schema": 1, **_look().model_dump()}
    content[part][0] |= changes
    return json.dumps(content)


_ODD = {
    "nothing": "",
    "a list": "[]",
    "half": "{",
    "no schema": "{}",
    "an older schema": '{"schema": 0}',
    "models as a list of numbers": '{"schema": 1, "models": [3], "floors": []}',
    "floors as a number": '{"schema": 1, "models": [], "floors": 3}',
    "deep": '{"schema": 1, "models": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "no text": "\xff\xfe",
    "what is wrong as a number": _changed("models", wrong=3),
    "what is wrong as text": _changed("models", wrong="it"),
    "no evaluations": _changed("models", evaluations=-1),
    "noise as text": _changed("floors", noise="x"),
    "no noise": _changed("floors", noise=None),
    "infinite noise": _changed("floors", noise=float("inf")),
    "images as a fraction": _changed("floors", real_images=0.5),
    "more": _changed("floors", more=1),
}


@pytest.mark.parametrize("content", _ODD.values(), ids=_ODD)
def test_a_damaged_look_counts_for_nothing_and_the_report_says_so(tmp_path: Path, content: str) -> None:
    run = write_run(tmp_path / "run", [record(*BASELINE), record("ddim")])
    before, missing = terminal([run]), summarise([run]).missing
    (run / FIRST_LOOK).write_bytes(content.encode("latin-1"))
    look, damage = read_look(run)
    assert look == Look()
    assert damage is not None
    assert f"{run / FIRST_LOOK} is damaged: " in damage
    assert terminal([run]) == before
    assert summarise([run]).broken() == [f"Broken: {damage}; run the study again."]
    assert summarise([run]).missing == missing
    assert "to be seen beside" not in before


def _with_floors(run: Path, **changes: Any) -> Path:
    (floors,) = _look().floors
    write_kept(run / FIRST_LOOK, Look(floors=[floors.model_copy(update=changes)]))
    return run


def _of_distance(folder: Path, baseline: float, other: float) -> Path:
    cells = [
        record(*BASELINE, fd_digits=baseline, latency_s=[2.0], network_s=[1.0]),
        timed("ddim", 20, other, 0.2),
    ]
    return write_run(folder, cells)


def test_every_table_of_distances_says_what_noise_and_real_images_have(tmp_path: Path) -> None:
    run = _with_floors(_of_distance(tmp_path / "run", 1.2, 1.25))
    words = "FD to be seen beside: pure noise has 40.0, two halves of the reference (898 images each) 0.500."
    write_report([run], ("md", "latex", "html"))
    assert words in " ".join(terminal([run], width=400).split())
    for name in ("table.md", "table.tex", "index.html"):
        assert "pure noise has 40.0" in (run / name).read_text()
    alone = _with_floors(_of_distance(tmp_path / "alone", 1.2, 1.25), real=None, real_images=None)
    assert "beside: pure noise has 40.0." in " ".join(terminal([alone], width=400).split())


@pytest.mark.parametrize(
    ("baseline", "said"),
    [
        (286.0, "Beware: the baseline is farther from real images than pure noise (40.0; two halves of the real"),
        (30.0, "Beware: the baseline is nearer to pure noise (40.0; two halves of the real images 0.500)"),
        (5.0, None),
    ],
)
def test_an_answer_whose_baseline_is_worth_no_more_than_noise_says_so(
    tmp_path: Path, baseline: float, said: str | None
) -> None:
    run = _with_floors(_of_distance(tmp_path / "run", baseline, 1.05 * baseline))
    (answer,) = summarise([run]).answers
    assert "within 10 %" in answer.sentence
    assert answer.winner is not None
    assert ("Beware" in answer.sentence) == (said is not None)
    assert said is None or said in answer.sentence


def test_floors_of_another_reference_or_extractor_are_no_floors(tmp_path: Path) -> None:
    for name, changes in {
        "reference": {"reference_sha256": "d4" * 32},
        "extractor": {"extractor_sha256": "d4" * 32},
        "column": {"column": "fid"},
    }.items():
        run = _with_floors(_of_distance(tmp_path / name, 286.0, 287.0), **changes)
        assert "Beware" not in summarise([run]).answers[0].sentence
        assert "to be seen beside" not in terminal([run])
