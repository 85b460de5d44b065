"""The parameters of a registered class: the fields of a dataclass, read from JSON and kept in records."""

import dataclasses
import typing
from typing import Any

from pydantic import TypeAdapter

from models.plugins.plain import plain


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
            TypeAdapter(_type_of(cls, field))
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


def _type_of(cls: Any, field: dataclasses.Field[Any]) -> Any:
    """The annotation of a field, evaluated where it was written."""
    owner = next((each for each in cls.__mro__ if field.name in vars(each).get("__annotations__", {})), cls)
    alone = type(field.name, (), {"__annotations__": {field.name: field.type}, "__module__": owner.__module__})
    return typing.get_type_hints(alone, include_extras=True)[field.name]
