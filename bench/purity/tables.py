"""What a plugin's sampler keeps outside of itself from call to call: in its module, its classes and their functions.

What is kept by its arguments, as by `functools.lru_cache`, changes no result; of a table of its own nobody can tell.
"""

import sys
from collections import deque
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

_TABLES = (dict, list, set, deque)


_Key = tuple[str, int]
"""A name, and which of the values that it has."""


class OwnTables:
    """Of a sampler's classes that are not the tree's, as it all is when this is made."""

    def __init__(self, sampler: object) -> None:
        self._classes = [each for each in type(sampler).__mro__ if not _is_shared(each.__module__)]
        self._before = {key: _held(value) for key, value in self._values()}

    def changed(self) -> list[str]:
        """What is other now, or new, by name."""
        return [key[0] for key, value in self._values() if not _alike(_held(value), self._before.get(key))]

    def _values(self) -> Iterator[tuple[_Key, Any]]:
        for name in dict.fromkeys(each.__module__ for each in self._classes):
            for own, value in vars(sys.modules[name]).items() if name in sys.modules else ():
                if not own.startswith("__") and not isinstance(value, ModuleType | type):
                    yield (own, 0), value
                if getattr(value, "__module__", None) == name:
                    yield from _kept_by(own, value)
        for each in self._classes:
            for own, value in vars(each).items():
                if not own.startswith("__"):
                    yield (f"{each.__qualname__}.{own}", 0), value
                    yield from _kept_by(f"{each.__qualname__}.{own}", value)


def _is_shared(module: str) -> bool:
    """Whether a module is the tree's, which its tests look at, or Python's."""
    return module.partition(".")[0] in ("samplers", "models", "bench", "builtins", "abc", "typing")


def _kept_by(name: str, function: object) -> Iterator[tuple[_Key, Any]]:
    """What a function keeps: its defaults, and what it was defined within."""
    if isinstance(function, FunctionType):
        for n, value in enumerate((*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())):
            yield (f"a default of {name}", n), value
        for key, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if key != "__class__":
                yield (f"{key} of {name}", 0), cell.cell_contents


def _held(value: Any) -> Any:
    """What of a value can change, and is compared: its identity, what a table holds, numbers of a tensor."""
    if isinstance(value, Tensor):
        return value, value.clone()
    if isinstance(value, np.ndarray):
        return value, value.copy()
    if isinstance(value, _TABLES):
        return value, tuple(value.items()) if isinstance(value, dict) else tuple(value)
    return value, None


def _alike(now: tuple[Any, Any], before: tuple[Any, Any] | None) -> bool:
    if before is None or now[0] is not before[0]:
        return False
    if isinstance(now[1], Tensor):
        return torch.equal(now[1], before[1])
    if isinstance(now[1], np.ndarray):
        return bool(np.array_equal(now[1], before[1], equal_nan=True))
    if now[1] is None:
        return True
    return len(now[1]) == len(before[1]) and all(_same(*pair) for pair in zip(now[1], before[1], strict=True))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        return all(map(_same, one, other))
    return one is other
