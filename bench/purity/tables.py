"""What a plugin's sampler keeps outside of itself from call to call: in its module, its classes and their functions.

What is kept by its arguments, as by `functools.lru_cache`, changes no result; of a table of its own nobody can tell.
"""

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
from torch import Tensor

_TABLES = (dict, list, set, deque)
_LARGEST = 2**22
"""Bytes of a tensor or an array that is kept to compare with; of a larger one its identity alone is looked at."""
_Key = tuple[str, str, int]
"""A module, a name in it, and which of the values that the name has."""
_Held = tuple[Any, Any]
"""A value, and what of it can change: the contents of a table, the numbers of a tensor or an array; None: nothing."""


class OwnTables:
    """Of a sampler's classes that are not the tree's, as it all is when this is made."""

    def __init__(self, sampler: object) -> None:
        self._classes = [each for each in type(sampler).__mro__ if not _is_shared(each.__module__)]
        self._before = {key: _held(value) for key, value in self._values()}

    def changed(self) -> list[str]:
        """What is other now, or new, by name."""
        other = (key for key, value in self._values() if not _alike(_held(value), self._before.get(key)))
        return list(dict.fromkeys(name for _, name, _ in other))

    def _values(self) -> Iterator[tuple[_Key, Any]]:
        for module in dict.fromkeys(each.__module__ for each in self._classes):
            for name, value in list(vars(sys.modules[module]).items()) if module in sys.modules else ():
                if not name.startswith("__") and not isinstance(value, ModuleType | type):
                    yield (module, name, 0), value
                if getattr(value, "__module__", None) == module:
                    yield from _kept_by(module, name, value)
        for each in self._classes:
            for own, value in vars(each).items():
                name = f"{each.__qualname__}.{own}"
                if not own.startswith("__") and own != "_abc_impl":
                    yield (each.__module__, name, 0), value
                    yield from _kept_by(each.__module__, name, value)


def _is_shared(module: str) -> bool:
    """Whether a module is the tree's, which its tests look at, or Python's."""
    return module.partition(".")[0] in ("samplers", "models", "bench", "builtins", "abc", "typing")


def _kept_by(module: str, name: str, value: object) -> Iterator[tuple[_Key, Any]]:
    """What a function or method keeps: its defaults, and what it was defined within."""
    function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
    if isinstance(function, FunctionType):
        for n, each in enumerate((*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())):
            yield (module, f"a default of {name}", n), each
        for key, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if key != "__class__":
                with suppress(ValueError):  # it holds nothing yet
                    yield (module, f"{key} of {name}", 0), cell.cell_contents


def _held(value: Any) -> _Held:
    with suppress(Exception):  # a tensor that has no numbers, such as a sparse one or one on "meta"
        if isinstance(value, Tensor) and value.numel() * value.element_size() <= _LARGEST:
            return value, value.detach().clone()
        if isinstance(value, np.ndarray) and value.nbytes <= _LARGEST:
            return value, value.copy()
        if isinstance(value, _TABLES):
            return value, tuple(value.items()) if isinstance(value, dict) else tuple(value)
    return value, None


def _alike(now: _Held, before: _Held | None) -> bool:
    if before is None or now[0] is not before[0]:
        return False
    if isinstance(now[1], (Tensor, np.ndarray)) and type(now[1]) is type(before[1]):
        return _equal(now[1], before[1])
    if now[1] is None or before[1] is None:
        return True
    return len(now[1]) == len(before[1]) and all(_same(*pair) for pair in zip(now[1], before[1], strict=True))


def _equal(one: Any, other: Any) -> bool:
    """Whether tensors or arrays hold the same, NaN as itself; what cannot be compared is taken as the same."""
    with suppress(Exception):
        return bool(one.shape == other.shape and ((one == other) | ((one != one) & (other != other))).all())
    return True


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        return all(map(_same, one, other))
    return one is other
