"""One global thing that a sampler could change: how it is read, and how it is put back."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

Kind = Literal["random", "torch", "autograd", "process", "weights"]


def from_to(before: object, after: object) -> str:
    """Both values."""
    return f" from {before} to {after}"


def untold(before: object, after: object) -> str:
    """Nothing, of values that say nothing."""
    return ""


def names(before: dict[Any, object], after: dict[Any, object]) -> str:
    """The keys whose values differ, without the values: an environment holds secrets."""
    changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
    return f" ({', '.join(sorted(map(str, changed)))})"


class Aspect(NamedTuple):
    """One thing.

    Attributes:
        name: in words that follow "changed".
        read: its value, to be compared by ==.
        told: what is said of the value before and the one after.
        accuses: whether who changed it has done wrong; what the first import of a library changes is only put back.
        by_import: whether libraries change it where they are first imported: it accuses only where nothing was.
    """

    name: str
    kind: Kind
    read: Callable[[], Any]
    write: Callable[[Any], object]
    told: Callable[[Any, Any], str] = from_to
    accuses: bool = True
    by_import: bool = False


class Change(NamedTuple):
    """What was changed, in words that follow "changed", what sort of thing it is, and whether it was put back."""

    kind: Kind
    words: str
    undone: bool = True
