"""What is wrong with what was written by hand, such as a study or a card: pydantic's errors in words, each once, with
the path of its key, in the order of the file.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from models.common.errors import UsageError

Place = tuple[str | int, ...]

_LONGEST = 200  # characters that are shown of a value
_BARE = re.compile(r"[A-Za-z0-9_-]+")  # keys that TOML takes without quotation marks
_NO_VALUE = ("missing", "unexpected_keyword_argument", "extra_forbidden")


@dataclass(frozen=True)
class Fault:
    """Something wrong: the keys and numbers that lead to it (none: all), what was expected, and pydantic's word."""

    place: Place
    text: str
    kind: str = ""

    def __str__(self) -> str:
        return f"{dotted(self.place)}: {self.text}" if self.place else self.text


def dotted(place: Place) -> str:
    """A key's path as TOML writes it, such as block.0.steps.1."""
    return ".".join(key if _BARE.fullmatch(key) else json.dumps(key) for key in map(str, place))


def explain(error: ValidationError, content: object = None) -> str:
    """A pydantic error in one line: place, what was expected, what was given."""
    return "; ".join(map(str, faults(error, content)))


def faults(error: ValidationError, content: object = None) -> list[Fault]:
    """What is wrong, each place once, in the order of the content; without that, places and order are pydantic's."""
    found: dict[Place, list[dict[str, Any]]] = {}
    for part in error.errors(include_url=False):
        place = part["loc"] if content is None else _in_content(part["loc"], part["type"], content)
        found.setdefault(place, []).append(dict(part))
    # of what may be of several types, the one that it nearly is says where
    innermost = [place for place in found if not any(each[: len(place)] == place != each for each in found)]
    told = [_told(place, found[place], content) for place in innermost]
    return told if content is None else in_order(told, content)


def in_order(found: Iterable[Fault], content: object) -> list[Fault]:
    """Faults in the order of a content's keys; what is missing comes after what is there."""
    return sorted(found, key=lambda fault: _position(fault.place, content))


def shown(value: object) -> str:
    """A value as Python writes it, of a long one its beginning."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits, or too many lists in lists
        return f"a value ({type(value).__name__}) that is too long to be shown"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _told(place: Place, parts: list[dict[str, Any]], content: object) -> Fault:
    texts = dict.fromkeys(part["msg"].removeprefix("Value error, ") for part in parts)  # before our own words
    first = parts[0]
    # what we say about a name or a specification ourselves says which
    said = first["type"] in _NO_VALUE or isinstance(first.get("ctx", {}).get("error"), UsageError)
    # of a table in a file, several keys of which do not go together
    said = said or (content is not None and first["type"] == "value_error" and isinstance(first["input"], dict))
    return Fault(place, " or ".join(texts) + ("" if said else f", got {shown(first['input'])}"), first["type"])


def _in_content(place: Place, kind: str, content: object) -> Place:
    """A place without the names of the variants that were tried there."""
    kept, here = list[str | int](), content
    for n, step in enumerate(place):
        if _has(here, step):
            kept.append(step)
            here = here[step]  # type: ignore[index]
        elif kind == "missing" and n == len(place) - 1:
            kept.append(step)
    return tuple(kept)


def _has(content: object, step: str | int) -> bool:
    if isinstance(content, dict):
        return step in content
    return isinstance(content, (list, tuple)) and isinstance(step, int) and 0 <= step < len(content)


def _position(place: Place, content: object) -> list[int]:
    found, here = list[int](), content
    for step in place:
        there = _has(here, step)
        if isinstance(here, dict):
            found.append(list(here).index(step) if there else len(here))
        else:
            found.append(step if isinstance(step, int) else 0)
        here = here[step] if there else None  # type: ignore[index]
    return found
