"""A study as it was read, key by key, without what is wrong in it."""

from dataclasses import dataclass
from typing import Any

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
