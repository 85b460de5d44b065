"""What a run looks at before its first cell: kept, told, printed in the report, and seen beside every distance."""

import json
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from quiet import Quiet
from report_records import BASELINE, record, terminal, timed, write_run

from bench.cli.check_model import check_model as command
from bench.first_look import first_look
from bench.floors import measure_floors
from bench.look import FIRST_LOOK, Floors, read_look
from bench.model_check import check_model
from bench.record import RunFolder
from bench.report import summarise, write_report
from bench.rig import Rig
from bench.runner import run_study
from bench.study import Study
from bench.study_file import Overrides, parse_study
from models.sources import CARD, ZOO

_STUDY = """
name = "look"
title = "Look"
model = "digits"
images = 40
batch = 20
metrics = ["fd"]
timing = { repeats = 1, seconds = 0.0 }
device = "cpu"
CHECKPOINT
baseline = { sampler = "ddim", grid = "trailing", steps = 3 }
[[block]]
samplers = ["ddim"]
grids = ["trailing"]
steps = [2]
"""
_WRONG = 'checkpoint = { parametrisation = "v_prediction" }'


def _study(checkpoint: str = "") -> Study:
    return parse_study(_STUDY.replace("CHECKPOINT", checkpoint), "test", Overrides())


@pytest.fixture
def looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Runs look, and every check that is made is in this list; recorded ones lie in a folder of the test's own."""
    made: list[Any] = []

    def counted(*given: Any, **options: Any) -> Any:
        made.append(check_model(*given, **options))
        return made[-1]

    monkeypatch.setattr("bench.first_look.check_model", counted)
    monkeypatch.setattr("bench.runner.first_look", first_look)
    monkeypatch.setenv("SAMPLER_BENCH_DATA", str(tmp_path / "cache"))
    return made


def _run(study: Study, folder: Path) -> list[str]:
    """What a run warns of."""
    said: list[str] = []
    assert run_study(study, Rig.load(study), RunFolder(folder), False, Quiet(), said.append).failed == 0
    return said


def test_a_run_of_a_wrong_card_warns_keeps_that_and_prints_it_in_its_report(tmp_path: Path, looks: list[Any]) -> None:
    words = "Model digits: this network predicts eps, the card says v; see check-model"
    assert words in _run(_study(_WRONG), tmp_path / "run")
    assert read_look(tmp_path / "run")[1] == [words]
    write_report([tmp_path / "run"], ("md", "latex", "html"))
    for name in ("table.md", "table.tex", "index.html"):
        assert "this network predicts eps, the card says v" in (tmp_path / "run" / name).read_text()


def test_a_run_looks_once_whatever_its_cells_and_again_only_at_another_model(tmp_path: Path, looks: list[Any]) -> None:
    assert _run(_study(), tmp_path / "run") == []
    assert [check.evaluations for check in looks] == [288]
    assert _run(_study(), tmp_path / "run") == []
    assert len(looks) == 1
    assert _run(_study(_WRONG), tmp_path / "run") != []
    assert len(looks) == 2
    content = json.loads((tmp_path / "run" / FIRST_LOOK).read_text())
    assert len(content["models"]) == 2
    assert len(content["floors"]) == 1


def test_a_model_that_was_checked_is_not_looked_at_again_and_its_faults_are_taken_over(
    tmp_path: Path, looks: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    from test_several_models import _edited

    wrong = _edited(tmp_path / "wrong", 'parametrisation = "epsilon"', 'parametrisation = "v_prediction"')
    assert command(str(wrong), images=5) == 1
    study = _study().model_copy(update={"model": str(wrong)})
    assert any("this network predicts eps, the card says v" in text for text in _run(study, tmp_path / "run"))
    assert looks == []


def test_a_look_that_fails_is_told_and_stops_nothing(
    tmp_path: Path, looks: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr("bench.first_look.check_model", broken)
    monkeypatch.setattr("bench.first_look.measure_floors", broken)
    assert _run(_study(), tmp_path / "run") == ["Model digits: it could not be looked at (no room); see check-model"]
    assert len(RunFolder(tmp_path / "run").load()) == 2


@pytest.mark.parametrize("content", ["", "[]", "{", '{"schema": 9}', '{"schema": 1, "models": [], "floors": 3}'])
def test_a_folder_without_a_look_or_with_a_damaged_one_reports_all_the_same(tmp_path: Path, content: str) -> None:
    run = write_run(tmp_path / "run", [record(*BASELINE), record("ddim")])
    before = terminal([run])
    (run / FIRST_LOOK).write_text(content)
    assert read_look(run) == ([], [])
    assert terminal([run]) == before
    assert "to be seen beside" not in before


def test_the_floors_are_the_distances_of_noise_and_of_the_halves_of_the_real_features() -> None:
    from bench.quality.features import extract
    from bench.quality.statistics import Moments

    rig = Rig.load(_study())
    assert rig.extractor is not None
    assert rig.reference is not None
    found = measure_floors(rig.extractor, rig.reference, (1, 8, 8), 1000)
    assert (found.column, found.noise_images, found.real_images) == ("fd_digits", 1000, 898)
    generator = torch.Generator().manual_seed(0)
    noise = (torch.randn(1000, 1, 8, 8, generator=generator).clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8)
    expected = rig.reference.target.distance(Moments.of(extract(rig.extractor, noise).features))
    assert found.noise == pytest.approx(expected, rel=0.05)  # of other noise
    card = tomllib.loads((ZOO / "digits" / CARD).read_text())
    assert found.real == pytest.approx(card["quality"]["fd_digits_floor"], rel=1e-9)  # measured when it was trained


def _with_floors(run: Path, **changes: Any) -> Path:
    floors = Floors("fd_digits", "b2" * 32, "c3" * 32, 40.0, 1000, 0.5, 898)
    content = {"schema": 1, "models": {}, "floors": [asdict(floors) | changes]}
    (run / FIRST_LOOK).write_text(json.dumps(content))
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
