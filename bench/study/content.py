"""A study as it was read, key by key, without what is wrong in it, and mappings as such a file has them."""

import json
import operator
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

from models.common.errors import UsageError
from models.common.explain import Place

Item = tuple[Place, Any]
"""What stands in a study, and where."""


@dataclass(frozen=True)
class Content:
    """A study as it was read, without what is wrong in it.

    Attributes:
        tables: all of it.
        wrong: the places whose values are wrong.
    """

    tables: dict[str, Any]
    wrong: frozenset[Place]

    def value(self, *place: str | int) -> Any:
        """What stands at a place; None: nothing, or something wrong."""
        here: Any = self.tables
        for n, step in enumerate(place):
            there = step in here if isinstance(here, dict) else isinstance(here, list) and isinstance(step, int)
            if not there or place[: n + 1] in self.wrong:
                return None
            here = here[step]
        return here

    def items(self, *place: str | int) -> list[Item]:
        """Those of a list that are right."""
        found = self.value(*place)
        items = [((*place, n), each) for n, each in enumerate(found)] if isinstance(found, list) else []
        return [(at, each) for at, each in items if at not in self.wrong]

    def item(self, *place: str | int) -> list[Item]:
        """What stands at a place, if it is right."""
        found = self.value(*place)
        return [] if found is None else [(place, found)]


def as_toml(given: Mapping[str, Any], what: str) -> dict[str, Any]:
    """A mapping as TOML would have it: its paths as text, its ranges and tuples as lists; UsageError for others."""

    def plain(value: object) -> object:
        if isinstance(value, Mapping):
            return dict(value)
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if isinstance(value, Sequence):
            return list(value)
        if isinstance(value, SupportsIndex):
            return operator.index(value)
        raise TypeError(f"{value!r} is a {type(value).__name__}, which TOML does not have")

    try:
        found: dict[str, Any] = json.loads(json.dumps(given, default=plain))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what}: {error}; expected text, numbers, true, false, lists and tables of these") from None
    return found
