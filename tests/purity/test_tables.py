"""What a plugin's sampler keeps outside of itself is seen, and what follows from arguments alone is not meant."""

import importlib
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from bench.purity.tables import OwnTables, tables_of
from samplers.ddim import DDIM

TABLE: dict[int, float] = {}
NUMBERS, TENSOR = np.zeros(2), torch.zeros(2)
COUNT = 0


NESTED: dict[str, dict[str, list[int]]] = {"a": {"b": []}}


class Holder:
    kept = 0


HOLDER = Holder()


def kept_by_attribute() -> None: ...


kept_by_attribute.seen = []  # type: ignore[attr-defined]


@lru_cache(10)
def kept(n: int) -> int:
    return n


def _within(table: list[int]) -> Callable[[], None]:
    return lambda: table.append(1)


@dataclass(frozen=True)
class Keeps(DDIM):
    shared: ClassVar[list[int]] = []
    enclosed = _within([])

    def by_default(self, seen: dict[str, int] = {}) -> None:  # noqa: B006
        seen["a"] = len(seen) + 1


def _count() -> None:
    global COUNT
    COUNT += 1


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda: TABLE.update({len(TABLE): 1.0}), "TABLE"),
        (lambda: NUMBERS.__iadd__(1.0), "NUMBERS"),
        (lambda: TENSOR.add_(1.0), "TENSOR"),
        (_count, "COUNT"),
        (lambda: Keeps.shared.append(1), "Keeps"),
        (lambda: Keeps().by_default(), "Keeps"),
        (Keeps.__dict__["enclosed"], "Keeps"),
        (lambda: NESTED["a"]["b"].append(1), "NESTED"),
        (lambda: setattr(HOLDER, "kept", HOLDER.kept + 1), "HOLDER"),
        (lambda: vars(kept_by_attribute)["seen"].append(1), "kept_by_attribute"),
    ],
)
def test_a_table_that_grew_is_named(change: Callable[[], Any], name: str) -> None:
    tables = OwnTables(Keeps)
    assert tables.changed() == []
    change()
    assert tables.changed() == [name]


def test_what_is_kept_by_arguments_and_what_the_tree_keeps_is_not_named() -> None:
    ours, theirs = OwnTables(Keeps), OwnTables(DDIM)
    kept(1)
    TABLE[len(TABLE)] = 1.0
    del TABLE[len(TABLE) - 1]
    assert (ours.changed(), theirs.changed()) == ([], [])


NAMES, GAPS = np.array(["a", "b"], dtype=object), torch.tensor([1.0, math.nan])
SPARSE = torch.eye(2).to_sparse()


def test_what_cannot_be_compared_or_holds_nan_accuses_nobody() -> None:
    tables = OwnTables(Keeps)
    assert tables.changed() == []
    GAPS[0] = 2.0
    assert tables.changed() == ["GAPS"]


def test_names_of_two_modules_and_cells_that_hold_nothing_yet_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A base class in one module and a sampler of the same name in another, each with a table of one name."""
    base, made = ModuleType("test_tables_base"), ModuleType("test_tables_made")
    for module, text in ((base, _BASE), (made, _MADE)):
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(text, vars(module))
    tables = OwnTables(made.Mine)
    assert tables.changed() == []
    base.TABLE.append(1)
    made.Mine.again()
    assert tables.changed() == ["Mine", "TABLE"]


_BASE = """
from samplers.ddim import DDIM
TABLE = []
def outer():
    def inner(): return later
    if not TABLE: return inner
    later = 1
unset = outer()
class Mine(DDIM): pass
"""
_MADE = """
import test_tables_base
TABLE = []
class Mine(test_tables_base.Mine):
    @staticmethod
    def again(seen=[]):
        seen.append(1)
"""


LATE: int | None = None


def test_what_is_worked_out_once_is_no_state_and_what_goes_on_growing_is_said_each_time() -> None:
    global LATE
    first = tables_of(Keeps)
    LATE = 3
    assert "LATE" not in first.changed()
    TABLE[-1] = 1.0
    assert "TABLE" in tables_of(Keeps).changed()
    assert "TABLE" in tables_of(Keeps).changed()
    del TABLE[-1]


@pytest.mark.parametrize("installed", [False, True])
def test_modules_beside_a_plugin_file_are_looked_at_and_libraries_beside_an_installed_one_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    (tmp_path / "test_tables_sibling.py").write_text("TABLE = []\n")
    (tmp_path / "test_tables_plugin.py").write_text(
        "import numpy, scipy, torch\nimport test_tables_sibling\nfrom samplers.ddim import DDIM\n"
        "class Mine(DDIM): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("bench.purity.tables.is_installed", lambda path: installed or "site-packages" in path.parts)
    plugin = importlib.import_module("test_tables_plugin")
    sibling = importlib.import_module("test_tables_sibling")
    tables = OwnTables(plugin.Mine)
    sibling.TABLE.append(1)
    assert tables.changed() == ([] if installed else ["TABLE"])
    for name in ("test_tables_plugin", "test_tables_sibling"):
        monkeypatch.delitem(sys.modules, name)
