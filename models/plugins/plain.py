"""What a record can hold: whatever a plugin says of itself comes through here, where numbers are converted."""

import math
from enum import Enum
from numbers import Real
from typing import Any, Protocol, runtime_checkable


class NotPlain(ValueError):
    """Something has no place in JSON; the message says what, where in the value, and what has."""


@runtime_checkable
class _Scalar(Protocol):
    """A number of NumPy or torch, or an array of any shape."""

    ndim: int

    def item(self) -> Any:
        """As a number of Python's."""


def plain(value: Any, place: str = "") -> Any:
    """A value as JSON has it: numbers of NumPy and torch as Python's, tuples as lists.

    Args:
        value: None, truth values, text, finite numbers, and lists, tuples and tables (by text) of these.
        place: what it is called in messages.

    Raises:
        NotPlain: it is, or holds, anything else.
    """
    if isinstance(value, list | tuple):
        return [plain(each, f"{place}[{n}]") for n, each in enumerate(value)]
    if isinstance(value, dict):
        return {_key(key, place): plain(each, f"{place}[{key!r}]") for key, each in value.items()}
    if value is not None and type(value) not in (bool, int, float, str):
        value = _scalar(value, place)
    if isinstance(value, float) and not math.isfinite(value):
        raise NotPlain(f"{_called(place)}{value} is no finite number")
    if isinstance(value, str):
        _refuse_halves(value, place)
    return value


def _scalar(value: Any, place: str) -> bool | int | float | str:
    """A scalar of NumPy or torch as Python has it."""
    if isinstance(value, _Scalar) and not isinstance(value, Enum) and value.ndim == 0:
        found = value.item()
        if type(found) in (bool, int, float, str):
            return found  # type: ignore[no-any-return]
        if isinstance(found, Real):  # a float with more digits than Python's
            return float(found)
    raise NotPlain(
        f"{_called(place)}a {type(value).__qualname__} has no place in JSON; expected None, True or "
        "False, a finite number, text, or lists and tables of these"
    )


def _key(key: Any, place: str) -> str:
    if type(key) is not str:
        raise NotPlain(f"{_called(place)}{key!r} is no key of a table in JSON; expected text")
    _refuse_halves(key, place)
    return key


def _refuse_halves(text: str, place: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotPlain(f"{_called(place)}{text!a} holds half a character, which has no place in a file") from None


def _called(place: str) -> str:
    return f"{place}: " if place else ""
