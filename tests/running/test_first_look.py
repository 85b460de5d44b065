"""What a run looks at before its first cell: kept, told, and printed in the report."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from checked_models import digits_that_say_v
from quiet import Quiet
from report_records import BASELINE, record, write_run

from bench.cli.app import check_model as command
from bench.conformance.model_check import check_model
from bench.conformance.model_verdicts import Verdict
from bench.model_record import FIRST_LOOK, Look, read_look
from bench.record import RunFolder
from bench.report import summarise, write_report
from bench.running.first_look import first_look, looked, remember
from bench.running.runner import run_study
from bench.running.session import Session
from bench.sealed_json import NewerRun
from bench.study.file import parse_study
from bench.study.overrides import Overrides
from bench.study.study import Study
from models.common.errors import UsageError
from models.loading.sources import CARD, ZOO
from models.loading.zoo import load_model

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
_WORDS = "Model digits: this network predicts eps, the card says v"
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

    monkeypatch.setattr("bench.running.first_look.check_model", counted)
    monkeypatch.setattr("bench.running.runner.first_look", first_look)
    monkeypatch.setenv("SAMPLER_BENCH_DATA", str(tmp_path / "cache"))
    return made


@pytest.fixture(scope="module")
def checks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what `check-model` keeps of the digits, made once."""
    cache = tmp_path_factory.mktemp("checked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAMPLER_BENCH_DATA", str(cache))
        assert command("digits", images=5) == 0
    (kept,) = (cache / "checks").iterdir()
    return kept.parent


def _run(study: Study, folder: Path) -> list[str]:
    """What a run warns of."""
    said: list[str] = []
    assert run_study(study, Session.load(study), RunFolder(folder), False, Quiet(), said.append).failed == 0
    return said


def test_a_run_of_a_wrong_card_warns_keeps_that_and_prints_it_in_its_report(tmp_path: Path, looks: list[Any]) -> None:
    words = f"{_WORDS}; see check-model --study look (its name or file)"
    assert words in _run(_study(_WRONG), tmp_path / "run")
    assert words in read_look(tmp_path / "run")[0].warnings
    write_report([tmp_path / "run"], ("md", "latex", "html"))
    for name in ("table.md", "table.tex", "index.html"):
        assert "this network predicts eps, the card says v" in (tmp_path / "run" / name).read_text()


def test_a_run_looks_once_whatever_its_cells_and_again_only_at_another_model(tmp_path: Path, looks: list[Any]) -> None:
    assert _run(_study(), tmp_path / "run") == []
    assert [check.evaluations for check in looks] == [312]
    assert _run(_study(), tmp_path / "run") == []
    assert len(looks) == 1
    assert _run(_study(_WRONG), tmp_path / "run") != []
    assert len(looks) == 2
    look, damage = read_look(tmp_path / "run")
    assert (len(look.models), len(look.floors), damage) == (1, 1, None)


def test_floors_are_of_as_many_images_as_the_run_s_last_ones(tmp_path: Path, looks: list[Any]) -> None:
    for images in (40, 60, 60):
        session = Session.load(_study().model_copy(update={"images": images}))
        first_look(_made(tmp_path / "run"), partial(looked, session), print)
        (floors,) = read_look(tmp_path / "run")[0].floors
        assert floors.noise_images == images


def test_what_other_code_looked_at_is_looked_at_again(
    tmp_path: Path, looks: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    session, run, said = Session.load(_study()), _made(tmp_path / "run"), list[str]()
    first_look(run, partial(looked, session), said.append)
    before = read_look(run)[0].floors
    remember(session.subject, replace(looks[0], data="real images"))
    first_look(run, partial(looked, session), said.append)
    assert (len(looks), [each.data for each in read_look(run)[0].models]) == (1, ["real images"])
    assert said == []
    monkeypatch.setattr("bench.running.first_look.look_sha256", lambda: "d4" * 32)
    first_look(run, partial(looked, session), said.append)
    assert (len(looks), [each.data for each in read_look(run)[0].models]) == (2, ["its own samples"])
    assert said == ["what check-model found of digits is of another version, and not taken over; check it again"]
    assert [each.code_sha256 for each in read_look(run)[0].floors] == ["d4" * 32]
    assert [each.noise for each in read_look(run)[0].floors] == [each.noise for each in before]


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def test_a_card_that_was_mended_is_no_longer_accused(tmp_path: Path, looks: list[Any]) -> None:
    wrong = digits_that_say_v(tmp_path / "wrong")
    study = _study().model_copy(update={"model": str(wrong)})
    assert any("the card says v; see check-model" in text for text in _run(study, tmp_path / "run"))
    shutil.copy(ZOO / "digits" / CARD, wrong / CARD)
    assert _run(study, tmp_path / "run") == []
    assert read_look(tmp_path / "run")[0].warnings == []
    write_report([tmp_path / "run"], ("md",))
    assert "the card says v" not in (tmp_path / "run" / "table.md").read_text()


def test_a_later_check_on_real_images_replaces_what_a_brief_look_found(
    tmp_path: Path, looks: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _run(_study(), tmp_path / "run") == []
    model = load_model("digits", torch.device("cpu"))
    remember(model, replace(looks[0], data="real images", verdicts=[Verdict(False, "it is another")]))
    assert _run(_study(), tmp_path / "run") == ["Model digits: it is another; see check-model"]
    assert [each.data for each in read_look(tmp_path / "run")[0].models] == ["real images"]
    assert len(looks) == 1


def test_a_look_at_a_plugin_s_network_is_made_again_when_its_code_changes(
    tmp_path: Path, looks: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for code, made in (("a1" * 32, 1), ("a1" * 32, 1), ("b2" * 32, 2)):
        monkeypatch.setattr("bench.running.first_look.architecture_sha256", lambda model, code=code: code)
        _run(_study(), tmp_path / "run")
        assert len(looks) == made
    (model,) = read_look(tmp_path / "run")[0].models
    assert model.architecture_sha256 == "b2" * 32
    subject = load_model("digits", torch.device("cpu"))
    remember(subject, looks[0])
    monkeypatch.setattr("bench.running.first_look.architecture_sha256", lambda model: "c3" * 32)
    _run(_study(), tmp_path / "run")
    assert len(looks) == 3  # what check-model said was of other code


def test_a_model_that_was_checked_is_not_looked_at_again_and_its_faults_are_taken_over(
    tmp_path: Path, looks: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = digits_that_say_v(tmp_path / "wrong")
    assert command(str(wrong), images=5) == 1
    study = _study().model_copy(update={"model": str(wrong)})
    assert any("this network predicts eps, the card says v" in text for text in _run(study, tmp_path / "run"))
    assert looks == []


def test_what_a_study_changes_is_checked_by_the_command_and_taken_over_by_its_run(
    tmp_path: Path, looks: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "look.toml"
    file.write_text(_STUDY.replace("CHECKPOINT", _WRONG))
    assert command(study=str(file), images=5) == 1
    assert "this network predicts eps, the card says v" in capsys.readouterr().out
    assert f"{_WORDS}; see check-model --study look (its name or file)" in _run(_study(_WRONG), tmp_path / "run")
    assert looks == []
    said = list[str]()
    session = replace(Session.load(_study(_WRONG)), given=str(file))
    first_look(tmp_path / "run", partial(looked, session), said.append)
    assert said == [f"{_WORDS}; see check-model --study {file}"]
    for given in ({}, {"study": str(file), "model": "digits"}):
        with pytest.raises(UsageError, match="expected either a model or --study"):
            command(given.get("model"), study=given.get("study"))


@pytest.mark.parametrize("kind", [RuntimeError, AttributeError, KeyError, AssertionError, NotImplementedError])
def test_a_look_that_fails_is_told_stops_nothing_and_is_tried_again(
    tmp_path: Path, looks: list[Any], monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise kind("no room \ud800")

    session, run = Session.load(_study()), tmp_path / "run"
    run.mkdir()
    said: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr("bench.running.first_look.check_model", broken)
        patch.setattr("bench.running.first_look.measure_floors", broken)
        first_look(run, partial(looked, session), said.append)
    (text,) = said
    assert text.startswith(f"Model digits: it could not be looked at ({kind.__name__}: ")
    assert "no room" in text
    assert read_look(run) == (Look(models=read_look(run)[0].models), None)
    assert read_look(run)[0].warnings == said
    first_look(run, partial(looked, session), said.append)
    assert len(said) == 1
    assert (len(looks), read_look(run)[0].warnings, len(read_look(run)[0].floors)) == (1, [], 1)


def test_a_folder_that_a_look_cannot_be_written_to_stops_nothing(tmp_path: Path, looks: list[Any]) -> None:
    said: list[str] = []
    first_look(tmp_path / "away", partial(looked, Session.load(_study())), said.append)
    assert len(said) == 1
    assert "first-look.json could not be written" in said[0]


def test_a_look_with_a_digit_changed_is_damaged_and_the_next_run_writes_it_again(
    tmp_path: Path, looks: list[Any]
) -> None:
    assert _run(_study(), tmp_path / "run") == []
    path = tmp_path / "run" / FIRST_LOOK
    good = path.read_text()
    path.write_text(good.replace('"evaluations": 312', '"evaluations": 313'))
    (text,) = _run(_study(), tmp_path / "run")
    assert text == f"{path} is damaged: it is not what was written: its digest is another; it is written again"
    assert path.read_text() == good


def test_a_look_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path, looks: list[Any]) -> None:
    run = write_run(tmp_path / "run", [record(*BASELINE)])
    (run / FIRST_LOOK).write_text('{"schema": 9}')
    before = (run / "study.json").read_text()
    for use in (lambda: summarise([run]), lambda: _run(_study(), run)):
        with pytest.raises(NewerRun, match=r"first-look.json has schema 9, but this version reads 1: .* with --out"):
            use()
    assert (run / FIRST_LOOK).read_text() == '{"schema": 9}'
    assert (run / "study.json").read_text() == before


_DAMAGES: dict[str, Callable[[str], str]] = {
    "a digit": lambda text: text.replace('"evaluations": ', '"evaluations": 1'),
    "a number": lambda text: '{"schema": 1, "wrong": 3}',
    "deep": lambda text: "[" * 100_000,
    "newer": lambda text: '{"schema": 9}',
}


@pytest.mark.parametrize("damage", _DAMAGES.values(), ids=_DAMAGES)
def test_a_damaged_or_newer_check_is_told_and_the_run_looks_itself(
    tmp_path: Path, looks: list[Any], checks: Path, damage: Callable[[str], str]
) -> None:
    path = Path(shutil.copytree(checks, tmp_path / "cache" / "checks")) / next(checks.iterdir()).name
    path.write_text(damage(path.read_text()))
    session, run = Session.load(_study()), tmp_path / "run"
    run.mkdir()
    said: list[str] = []
    first_look(run, partial(looked, session), said.append)
    (text,) = said
    assert text.startswith(str(path))
    assert text.endswith("; what check-model found of digits is not taken over")
    assert len(looks) == 1
    if "schema 9" in text:
        with pytest.raises(NewerRun, match="choose another folder for data with SAMPLER_BENCH_DATA"):
            command("digits", images=5)
        assert path.read_text() == '{"schema": 9}'


def test_the_check_of_another_model_under_a_model_s_name_is_not_believed(
    tmp_path: Path, looks: list[Any], checks: Path
) -> None:
    cpu = torch.device("cpu")
    path = Path(shutil.copytree(checks, tmp_path / "cache" / "checks")) / next(checks.iterdir()).name
    wrong = load_model("digits", cpu, _study(_WRONG).changes_of("digits"))
    path.rename(path.with_name(path.name.replace(load_model("digits", cpu).sha256, wrong.sha256)))
    (tmp_path / "run").mkdir()
    said: list[str] = []
    first_look(tmp_path / "run", partial(looked, Session.load(_study(_WRONG))), said.append)
    assert "is damaged: it is the check of another model" in said[0]
    assert any(_WORDS in text for text in said)
