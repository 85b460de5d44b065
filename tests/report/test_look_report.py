"""What a report makes of a run's first look: floors beside every distance, and a damaged file counts for nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
from report_records import BASELINE, record, terminal, timed, write_run

from bench.model_record import FIRST_LOOK, Floors, Look, ModelLook, read_look, write_kept
from bench.report import summarise, write_report


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
