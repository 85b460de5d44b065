"""Samplers, grids, models, extractors, studies and runs are called by one rule, wherever a name comes from."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from checkpoints import CARDED, CIFAR10, DDPM, write
from hypothesis import given
from hypothesis import strategies as st

from bench.cli.run import run_and_report
from bench.quality.compact import check
from bench.study.file import STUDIES, parse_study
from bench.study.overrides import Overrides
from bench.training.options import CifarOptions, ExtractorOptions
from models.architectures import register_network
from models.cards.changes import make_card
from models.common.errors import UsageError
from models.grids import GRIDS
from models.loading.layout import CONFIG
from models.loading.sources import describe_model
from models.plugins.names import as_name, check_name
from models.plugins.registry import Registry
from samplers import SAMPLERS

_BAD: list[Any] = [
    "",
    " ",
    " ddim",
    "ddim\n",
    "dd\x1bim",
    "Mine",
    "_mine",
    "a.b",
    "a,b",
    "a[b",
    "$a$",
    "名",
    "a" * 41,
    5,
]
_GOOD = ["dpm++2m", "3m++", "a", "my_model-2", "a" * 40]


@pytest.mark.parametrize("registry", [SAMPLERS, GRIDS, Registry("thing", object)], ids=lambda each: each.kind)
@pytest.mark.parametrize("name", [*_BAD, 5, dataclass])
def test_nothing_registers_under_a_name_that_breaks_the_rule(registry: Registry[Any], name: Any) -> None:
    for names in ((name,), ("test-name", name)):
        with pytest.raises(UsageError, match=f"cannot name a {registry.kind}; expected up to 40 lower-case letters"):
            registry.register(*names)
    assert "test-name" not in registry.names()


@pytest.mark.parametrize("name", ["", " SongUNet", "Song\nUNet", lambda config: None])
def test_no_network_registers_under_what_is_no_plain_text(name: Any) -> None:
    with pytest.raises(UsageError, match="cannot name a network"):
        register_network(name)


@pytest.mark.parametrize("name", _BAD)
def test_studies_cards_extractors_and_trainings_refuse_such_names(name: Any) -> None:
    quick = (STUDIES / "quick.toml").read_text()
    with pytest.raises(UsageError, match="study 's': name: "):
        parse_study(quick.replace('name = "quick"', f"name = {json.dumps(name)}"), "s")
    with pytest.raises(UsageError, match="card: name: "):
        make_card(CARDED | {"files": {}, "name": name}, None, "card")
    with pytest.raises(UsageError, match="cannot name an extractor"):
        check(name, (), "the card")
    for options in (CifarOptions, ExtractorOptions):
        with pytest.raises(UsageError, match=r"cannot name an? (model|extractor)"):
            options(Path(), name=name)


@pytest.mark.parametrize("name", _GOOD)
def test_names_by_the_rule_are_taken_everywhere(name: str) -> None:
    quick = (STUDIES / "quick.toml").read_text()
    assert parse_study(quick.replace('name = "quick"', f'name = "{name}"'), "s").name == name
    assert make_card(CARDED | {"files": {}, "name": name}, None, "card").name == name
    assert CifarOptions(Path(), name=name).called == as_name(name, "model") == name
    check(name, (), "the card")


@pytest.mark.parametrize("spec", [" ddim", "ddim\n", "ddim\x1b", ""])
def test_a_study_refuses_samplers_and_models_with_blanks_around_them_or_control_characters(spec: str) -> None:
    quick = (STUDIES / "quick.toml").read_text()
    for old in ('sampler = "ddim"', 'model = "digits"'):
        assert old in quick
        key = old.partition(" ")[0]
        with pytest.raises(UsageError, match=rf"{key}: expected a text"):
            parse_study(quick.replace(old, f"{key} = {json.dumps(spec)}"), "s")


def test_a_model_without_a_card_is_called_after_its_folder_as_near_as_the_rule_allows(tmp_path: Path) -> None:
    write(tmp_path / "My Model, v2.0" / CONFIG, CIFAR10)
    write(tmp_path / "My Model, v2.0" / "scheduler_config.json", DDPM)
    assert describe_model(str(tmp_path / "My Model, v2.0")).name == "my-model-v2-0"
    assert CifarOptions(Path(), data=str(tmp_path / "Cats & Dogs")).called == "cats-dogs"


@given(st.text(max_size=60))
def test_whatever_a_folder_is_called_there_is_a_name_for_it(text: str) -> None:
    assert check_name(as_name(text, "model"), "model")


@pytest.mark.parametrize("name", ["My Run", "a\x1bb", " run", "$x$", "_run", "a" * 41])
def test_a_new_run_folder_is_called_by_the_rule(tmp_path: Path, name: str) -> None:
    said = "--out .* cannot name a run; expected up to 40 lower-case letters.*; for instance '.*/my-run'"
    with pytest.raises(UsageError, match=said):
        run_and_report("quick", Overrides(), tmp_path / name, force=False, dry_run=True)
    assert not (tmp_path / name).exists()


def test_a_run_of_another_name_that_is_there_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.running.session.Session.load", stop)
    (tmp_path / "My Run").mkdir()
    (tmp_path / "My Run" / "study.json").write_text("{}")
    with pytest.raises(KeyboardInterrupt):
        run_and_report("quick", Overrides(), tmp_path / "My Run", force=False, dry_run=True)
