"""What a record can hold: whatever a plugin says of itself, the parameters of a registered class among them."""

import dataclasses
import math
import typing
from enum import Enum
from numbers import Real
from typing import Any, Protocol, runtime_checkable

from pydantic import TypeAdapter


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

    NotPlain, with the place where it is, for all but None, truth values, text, finite numbers, and lists, tuples and
    tables (by text) of these.
    """
    if isinstance(value, list | tuple):
        return [plain(each, f"{place}[{n}]") for n, each in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if type(key) is not str:
                raise NotPlain(f"{_called(place)}{key!r} is no key of a table in JSON; expected text")
            _refuse_halves(key, place)
        return {key: plain(each, f"{place}[{key!r}]") for key, each in value.items()}
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


def _refuse_halves(text: str, place: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotPlain(f"{_called(place)}{text!a} holds half a character, which has no place in a file") from None


def _called(place: str) -> str:
    return f"{place}: " if place else ""


def parameters_of(instance: Any) -> dict[str, Any]:
    """Values by name, as a record holds them; NotPlain names the first that JSON cannot hold."""
    return {field.name: plain(getattr(instance, field.name), field.name) for field in dataclasses.fields(instance)}


def refuse_unstorable(instance: Any) -> None:
    """NotPlain for a value, or a default that is compared with values, that JSON cannot hold."""
    parameters_of(instance)
    for field in dataclasses.fields(instance):
        if field.default is not dataclasses.MISSING:
            plain(field.default, field.name)


def unreadable(cls: Any) -> str | None:
    """Which parameter has a type that is not read from JSON, and why, in words; None if each alone could be."""
    for field in dataclasses.fields(cls):
        try:
            # the annotation of a field, evaluated where it was written
            owner = next((each for each in cls.__mro__ if field.name in vars(each).get("__annotations__", {})), cls)
            alone = type(field.name, (), {"__annotations__": {field.name: field.type}, "__module__": owner.__module__})
            TypeAdapter(typing.get_type_hints(alone, include_extras=True)[field.name])
        except NameError as error:
            return (
                f"the type of parameter {field.name!r} is not known when it is made ({error}): import what it is "
                "called by outside of TYPE_CHECKING"
            )
        except Exception:  # of pydantic, and of what evaluates annotations
            typed = field.type.__qualname__ if isinstance(field.type, type) else str(field.type)
            return (
                f"parameter {field.name!r} is of type {typed}, which JSON cannot hold; expected bool, int, float, "
                "str, or lists, tuples and tables of these"
            )
    return None
