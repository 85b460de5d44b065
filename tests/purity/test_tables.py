"""What a plugin's sampler keeps outside of itself is seen, and what follows from arguments alone is not meant."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from bench.purity.tables import OwnTables
from samplers.ddim import DDIM

TABLE: dict[int, float] = {}
NUMBERS, TENSOR = np.zeros(2), torch.zeros(2)
COUNT = 0


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
        (lambda: Keeps.shared.append(1), "Keeps.shared"),
        (lambda: Keeps().by_default(), "a default of Keeps.by_default"),
        (Keeps.__dict__["enclosed"], "table of Keeps.enclosed"),
    ],
)
def test_a_table_that_grew_is_named(change: Callable[[], Any], name: str) -> None:
    tables = OwnTables(Keeps())
    assert tables.changed() == []
    change()
    assert tables.changed() == [name]


def test_what_is_kept_by_arguments_and_what_the_tree_keeps_is_not_named() -> None:
    ours, theirs = OwnTables(Keeps()), OwnTables(DDIM())
    kept(1)
    TABLE[len(TABLE)] = 1.0
    del TABLE[len(TABLE) - 1]
    assert (ours.changed(), theirs.changed()) == ([], [])
