"""A study of a text-to-image model runs through: image i is made of prompt i mod n, and its records say of which."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Cli
from studies import study_toml

from bench.running.resolve import resolve
from bench.running.session import Session
from bench.study.file import parse_study
from bench.study.overrides import Overrides
from bench.study.plan import plan
from models.common.errors import UsageError
from models.text.prompts import Prompts

Tiny = Callable[[str], tuple[Path, Any]]
_TEXTS = ("a cat", "the dog, 3", "x y z")


@pytest.fixture(autouse=True)
def _own_cache(encoded_once: None) -> None:
    pass


@pytest.fixture
def of_text(tiny: Tiny, tmp_path: Path) -> Callable[..., str]:
    """The TOML of a study of Stable Diffusion, whose prompts are in a file."""
    (tmp_path / "prompts.csv").write_text('id,caption\n1,a cat\n2,"the dog, 3"\n3,x y z\n')
    said: dict[str, Any] = {"model": str(tiny("sd")[0]), "metrics": ["solver_error"], "solver_images": 2, "batch": 8}
    said["prompts"] = {"file": str(tmp_path / "prompts.csv"), "negative": "bad"}
    return lambda **more: study_toml(**said | more)


def test_image_i_has_prompt_i_mod_n_and_its_record_says_of_which(of_text: Callable[..., str]) -> None:
    session = Session.load(parse_study(of_text(guidance=["cfg[scale=4]"]), "test", complete=True))
    numbers = torch.tensor([0, 1, 2, 3, 15])
    labels = session.labels(session.subject, 7, numbers)
    assert labels is not None
    assert labels.tolist() == [0, 1, 2, 0, 0]
    assert session.subject.prompts == Prompts(_TEXTS, "bad")
    found = resolve(next(iter(plan(session.study))), session).identity
    assert (found["labels"], found["prompts"]) == ("prompts", 3)
    assert found["prompts_sha256"] == Prompts(_TEXTS, "bad").sha256


def test_a_record_of_other_models_says_nothing_of_prompts() -> None:
    session = Session.load(parse_study(study_toml(), "test"))
    assert not {"prompts", "prompts_sha256"} & resolve(next(iter(plan(session.study))), session).identity.keys()


def test_only_the_prompts_of_the_images_are_encoded(of_text: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "many.txt").write_text("\n".join(f"cat {n}" for n in range(100)))
    text = of_text(prompts=str(tmp_path / "many.txt"), timing={"repeats": 1, "batches": [20]})
    session = Session.load(parse_study(text, "test"))
    assert session.subject.card.classes == 100
    assert session.subject.network.module.get_buffer("hidden").shape[0] == 21  # type: ignore[attr-defined]


def test_a_text_study_runs_through_and_is_taken_up_again(
    of_text: Callable[..., str], tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.running.solution.STEPS", 2)
    path, out = tmp_path / "study.toml", tmp_path / "run"
    path.write_text(of_text(guidance=["cfg[scale=4]"], name="text", timing={"repeats": 0}))
    assert "cfg[scale=4]" in cli("run", path, "--dry-run").out
    cli("run", path, "--out", out)
    records = [json.loads(each.read_text()) for each in sorted((out / "cells").glob("*.json"))]
    assert [record["status"] for record in records] == ["ok"]
    assert (records[0]["labels"], records[0]["prompts"], records[0]["nfe"]) == ("prompts", 3, 4.0)
    assert "labels prompts" in (out / "table.md").read_text()
    before = {each: each.read_bytes() for each in (out / "cells").glob("*.json")}
    cli("run", path, "--out", out)
    assert {each: each.read_bytes() for each in (out / "cells").glob("*.json")} == before


@pytest.mark.parametrize(
    ("more", "options", "said"),
    [
        ({"prompts": {"file": "none.csv"}}, {}, "prompts: there is no file of prompts 'none.csv'"),
        ({"label": 1}, {}, "label: model '.*sd' is given prompts, which image i has by its number, and has no classes"),
        ({"labels": "balanced"}, {}, "labels: model '.*sd' is given prompts"),
        ({"metrics": ["class_accuracy"]}, {}, "metric 'class_accuracy' is the share of images .* no classes"),
        ({"prompts": {"file": "none.csv", "colum": "x"}}, {}, "prompts.colum"),
        ({"prompts": 5}, {}, "prompts: expected a file, or a table such as { file = .*, got 5"),
        ({"prompts": {"column": "x"}}, {}, "prompts.file: is missing"),
        ({}, {"prompts": "none.txt"}, "--prompts: there is no file of prompts 'none.txt'"),
        ({}, {"model": "digits"}, "prompts: no model of the study makes images of prompts .there is 'digits'."),
    ],
)
def test_a_study_whose_prompts_do_not_fit_is_refused_before_anything_runs(
    of_text: Callable[..., str], more: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        parse_study(of_text(**more), "test", Overrides(**options), complete=True)


def test_a_count_that_is_not_the_files_is_refused(of_text: Callable[..., str], tmp_path: Path) -> None:
    text = of_text(prompts={"file": str(tmp_path / "prompts.csv"), "count": 30_000})
    with pytest.raises(UsageError, match=r"prompts: .*prompts\.csv has 3 prompts, but count = 30000"):
        parse_study(text, "test", complete=True)


def test_without_prompts_it_is_said_how_they_are_given(tiny: Tiny) -> None:
    text = study_toml(model=str(tiny("sd")[0]), metrics=["solver_error"])
    with pytest.raises(UsageError, match=r"model: .* makes images of prompts: say which"):
        parse_study(text, "test", complete=True)


def test_prompts_stand_in_the_study_and_not_in_its_checkpoint(of_text: Callable[..., str]) -> None:
    with pytest.raises(UsageError, match="checkpoint: prompts is a key of the study itself"):
        parse_study(of_text(checkpoint={"prompts": {"file": "a.txt"}}), "test")


def test_the_command_line_names_another_file(of_text: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("a dog\n")
    study = parse_study(of_text(), "test", Overrides(prompts=str(tmp_path / "other.txt")), complete=True)
    assert study.prompts is not None
    assert (study.prompts.file, study.prompts.negative) == (str(tmp_path / "other.txt"), "bad")
    assert study.changes_of(study.model) == study.changes_of("another")


def test_check_model_takes_prompts(tiny: Tiny, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "p.txt").write_text("a cat\nthe dog\n")
    printed = cli("check-model", "digits", "--prompts", tmp_path / "p.txt", "--images", "2", status=2)
    assert "model 'digits' makes no images of prompts" in printed.err
    printed = cli("check-model", tiny("sd")[0], "--images", "2", status=2)
    assert "or --prompts FILE" in printed.err
