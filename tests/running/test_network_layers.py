"""A network depends on every layer that its function is put together from, and on what that is given."""

import linecache
import sys
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hashes import as_it_was, changed  # noqa: F401  (the first is a fixture of all tests here)

from bench.running.code_hash import architecture_sha256
from bench.running.layers import Layers
from models import architectures
from models.common.errors import UsageError
from models.loading.model import Model
from models.loading.zoo import load_model
from samplers.registry import load_file

_PLUGIN = """
import sys
from functools import cache, partial, wraps
from models.architectures import register_network
from theirs import Holding, hidden, made

HOW
"""
_THEIRS = """
from torch.nn import Identity

def made(config, scale=1.0, table=None, after=None):
    return Identity()

def hidden(function):
    def outer(config):
        return function(config)
    return outer

class Holding:
    def __init__(self, inside):
        self.inside = inside
    def __call__(self, config):
        return made(config)
"""
_HOW = {
    "wraps": "@wraps(made)\ndef mine(config):\n    return made(config, 3.0)\nregister_network('mine')(mine)",
    "a partial of a function of its own": "def mine(config, by):\n    return made(config, by)\n"
    "register_network('mine')(partial(mine, by=3.0))",
    "a partial that is given a function": "def mine(x):\n    return x\n"
    "register_network('mine')(partial(made, after=mine))",
    "a decorator that hides it": "def mine(config):\n    return made(config)\nregister_network('mine')(hidden(mine))",
    "a decorator that names another": "def mine(config):\n    return made(config)\n"
    "register_network('mine')(wraps(made)(hidden(mine)))",
    "a cache": "@cache\n@wraps(made)\ndef mine(config):\n    return made(config)\nregister_network('mine')(mine)",
    "an object that holds it": "def mine(x):\n    return x\nregister_network('mine')(Holding([mine]))",
    "a method": "class Mine:\n    def make(self, config):\n        return made(config)\n"
    "register_network('mine')(Mine().make)",
}


@pytest.fixture(autouse=True)
def networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of plugins are gone after each test."""
    monkeypatch.setattr(architectures, "_makers", dict(architectures._makers))


@cache
def _model() -> Model:
    """Of a network called mine."""
    model = load_model("digits", torch.device("cpu"))
    return replace(model, card=model.card.model_copy(update={"architecture": "mine"}), folder=Path("none"))


def _loaded(folder: Path, how: str) -> tuple[Path, Path]:
    """A plugin, and a module beside it."""
    plugin, theirs = folder / "plugin.py", folder / "theirs.py"
    plugin.write_text(_PLUGIN.replace("HOW", how))
    theirs.write_text(_THEIRS)
    load_file(plugin)
    return plugin, theirs


@pytest.mark.parametrize("how", _HOW.values(), ids=_HOW)
def test_a_network_depends_on_every_module_that_its_function_is_put_together_from(tmp_path: Path, how: str) -> None:
    plugin, theirs = _loaded(tmp_path, how)
    assert changed(plugin, lambda: architecture_sha256(_model()))
    assert changed(theirs, lambda: architecture_sha256(_model()))


def test_a_network_depends_on_the_file_that_a_partial_is_given_wherever_its_name_comes_from(tmp_path: Path) -> None:
    (table := tmp_path / "weights.txt").write_text("1.0")
    _loaded(tmp_path, "register_network('mine')(partial(made, table='.'.join(['weights', 'txt'])))")
    assert changed(table, lambda: architecture_sha256(_model()))


def _made(config: dict[str, Any], scale: object = 1.0, after: object = None) -> torch.nn.Module:
    return torch.nn.Identity()


def _odd(x: float, by: float) -> float:
    return x * by


def _nested(inside: object) -> object:
    """In as many lists that words which are quoted again at each would fill the memory."""
    for _ in range(60):
        inside = [inside, "a"]
    return inside


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"scale": 2.0}, {"scale": 3.0}),
        ({"scale": (2.0, [1])}, {"scale": (2.0, [3])}),
        ({"scale": {"a": 1, "b": 2}}, {"scale": {"a": 2, "b": 1}}),
        ({"scale": torch.float16}, {"scale": torch.float32}),
        ({"after": torch.sin}, {"after": torch.cos}),
        ({"after": partial(_odd, by=1.0)}, {"after": partial(_odd, by=2.0)}),
        ({"after": [_odd]}, {"after": _odd}),
        ({"scale": _nested(1)}, {"scale": _nested(2)}),
    ],
)
def test_a_network_depends_on_what_a_partial_is_given(one: dict[str, Any], other: dict[str, Any]) -> None:
    found = []
    for each in (one, other, one):
        architectures._makers["mine"] = partial(_made, **each)
        found.append(architecture_sha256(_model()))
    assert found[0] == found[2] != found[1]


def test_a_network_depends_on_the_text_of_a_function_that_is_in_no_file_and_is_refused_if_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in a notebook, which keeps the text, and as it is given to Python at once, which does not."""
    monkeypatch.setitem(sys.modules, "notebook", ModuleType("notebook"))
    found = []
    for number in (1, 2):
        cell, name = f"def made(config):\n    return {number}\n", f"<cell {number}>"
        exec(compile(cell, name, "exec"), names := {"__name__": "notebook"})
        architectures._makers["mine"] = names["made"]  # type: ignore[assignment]
        with pytest.raises(UsageError, match="the code of made is in no file"):
            architecture_sha256(_model())
        monkeypatch.setitem(linecache.cache, name, (len(cell), None, cell.splitlines(True), name))
        found.append(architecture_sha256(_model()))
    assert len({*found}) == 2


def test_generated_code_around_a_network_is_no_hindrance(tmp_path: Path) -> None:
    plugin, _ = _loaded(tmp_path, "def mine(config):\n    return made(config)\nregister_network('mine')(mine)")
    exec("def around(config):\n    return within(config)", names := {"within": architectures.maker_of("mine")})
    names["around"].__wrapped__ = names["within"]  # type: ignore[attr-defined]
    architectures._makers["mine"] = names["around"]
    assert changed(plugin, lambda: architecture_sha256(_model()))


def test_what_a_decorator_keeps_of_the_networks_that_were_made_changes_no_hash() -> None:
    kept: dict[str, torch.nn.Module] = {}

    def remembered(config: dict[str, Any]) -> torch.nn.Module:
        return kept.setdefault(str(config), _made(config))

    architectures._makers["mine"] = remembered
    before = architecture_sha256(_model())
    remembered({})
    assert architecture_sha256(_model()) == before


def test_where_a_file_lies_is_nothing_of_what_a_network_is_given() -> None:
    said = [Layers().of(partial(print, Path(folder) / "table.json")) for folder in ("/here", "/there")]
    assert said[0] == said[1] != Layers().of(partial(print, Path("/here/other.json")))
