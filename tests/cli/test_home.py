"""~ is the home folder in every path, whether a command or a study gives it."""

import shutil
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import folder_of
from commands import Cli
from cyclopts import App

from bench.cli import app
from bench.quality.datasets import ROOT_VARIABLE, data_root, open_data
from bench.quality.extractors import Chosen, load_extractor
from bench.quality.reference import load_reference
from bench.quality.reference_cache import cached_path
from bench.study.file import STUDIES, load_study
from bench.training.data import open_splits
from models.common.errors import UsageError
from models.loading.sources import ZOO, find_source, measuring_folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def _paths(command: App, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str, bool]]:
    """Every option or argument that is a path: its command, its name, and whether it has a name of its own."""
    if command.default_command is not None:
        for argument in command.assemble_argument_collection():
            if "Path" in str(argument.hint):
                yield path, argument.name, argument.name.startswith("--")
    for name in command:
        if not name.startswith("-"):
            yield from _paths(command[name], (*path, name))


_PATHS = list(_paths(app.app))


def test_paths_are_found_in_all_commands() -> None:
    found = {(path[0] if path else "", name) for path, name, _ in _PATHS}
    some = {("", "--out"), ("run", "--plugin"), ("check", "--plot"), ("train", "--from"), ("reference", "--out")}
    assert some | {("report", "RUNS"), ("compare", "RUN_A"), ("versus", "--plugin")} <= found


@pytest.mark.parametrize(("path", "name", "named"), _PATHS)
def test_every_path_of_a_command_may_begin_at_home(home: Path, path: tuple[str, ...], name: str, named: bool) -> None:
    required = {
        "run": ["quick"],
        "list": ["samplers"],
        "check": ["ddim"],
        "reference": ["digits"],
        "compare": ["run"],
        "pack": ["run"],
    }
    required |= {
        "compare": ["run"],
        "pack": ["run"],
        "new-sampler": ["mine"],
        "new-model": ["mine"],
        "train": ["digits"] if len(path) == 1 else [],
    }
    needed = ["--out", "x"] if path in (("merge",), ("publish",)) and not named else []
    given = [f"{name}=~/x"] if named else ["~/x"] * (2 if path == ("compare",) else 1)
    words = [*path, *(required.get(path[0], []) if path and named else []), *given, *needed]
    _, bound, _ = app.app.parse_args(words, exit_on_error=False, print_error=False)
    found = [each for value in (*bound.args, *bound.kwargs.values()) for each in _flat(value)]
    assert home / "x" in found
    assert Path("~/x") not in found


def _flat(value: Any) -> list[Any]:
    if is_dataclass(value):
        return [each for name in vars(value) for each in _flat(getattr(value, name))]
    return list(value) if isinstance(value, (list, tuple)) else [value]


def test_models_extractors_references_data_and_studies_may_lie_at_home(home: Path) -> None:
    (home / "model").mkdir()
    folder_of(home / "model", {})
    shutil.copytree(ZOO / "digits", home / "digits")
    shutil.copy(STUDIES / "quick.toml", home / "mine.toml")
    assert find_source("~/model").folder == home / "model"
    assert measuring_folder("~/digits") == home / "digits"
    extractor = load_extractor(Chosen("~/digits"), None, torch.device("cpu"))
    assert load_reference("~/digits/reference.safetensors", extractor, ["fd"])
    assert load_reference("~/digits", extractor, ["fd"])
    assert load_study("~/mine.toml").name == "quick"


def test_data_may_lie_at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    for folder in ("a/one", "a/two"):
        (home / folder).mkdir(parents=True)
        for n in range(10):
            Image.new("L", (8, 8), 10 * n).save(home / folder / f"{n}.png")
    assert len(open_data("~/a").images) == 20
    assert len(open_splits("~/a")[0].images) == 20
    extractor = load_extractor(Chosen("digits"), None, torch.device("cpu"))
    assert cached_path("~/a", extractor) == cached_path(str(home / "a"), extractor)
    with pytest.raises(UsageError, match="no statistics of data set '~/a'"):
        load_reference("~/a", extractor)
    monkeypatch.setenv(ROOT_VARIABLE, "~/data")
    assert data_root() == home / "data"


def test_the_home_of_a_user_that_there_is_not_is_refused(cli: Cli) -> None:
    with pytest.raises(UsageError, match="cannot read the path '~nobody-at-all/x'"):
        find_source("~nobody-at-all/x")
    assert "cannot read the path '~nobody-at-all/x'" in cli("report", "~nobody-at-all/x", status=2).err
