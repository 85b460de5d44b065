"""What a plugin's sampler keeps outside of itself from call to call: in its modules, their classes and functions.

What is kept by its arguments, as by `functools.lru_cache`, changes no result; of a table of its own nobody can tell.
"""

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
from torch import Tensor

from models.plugins.foreign import is_installed

_TABLES = (dict, list, set, deque)
_LARGEST, _MOST = 2**22, 1000
"""Bytes of a tensor or an array, and values of a table, that are kept to compare with: of more the identity alone."""
_DEPTH = 4
"""How far tables within tables, attributes of objects and what functions keep are followed."""
_Held = tuple[Any, Any]
"""A value, and what of it can change: the contents of a table, the numbers of a tensor or an array; None: nothing."""


class OwnTables:
    """Of a sampler's class, if it is not the tree's, and of the modules beside its own, as it all is when this is made.

    Args:
        kind: the class.
    """

    def __init__(self, kind: type) -> None:
        classes = [each for each in kind.__mro__ if not _is_shared(each.__module__)]
        self._modules = _beside(dict.fromkeys(each.__module__ for each in classes))
        self._before = dict(self._values())

    def changed(self) -> list[str]:
        """What is other now, or new, by name."""
        names = (key[1] for key, held in self._values() if not _is_as_before(held, self._before.get(key)))
        return list(dict.fromkeys(names))

    def _values(self) -> Iterator[tuple[tuple[str, str], list[_Held]]]:
        for module in self._modules:
            for name, value in list(vars(sys.modules[module]).items()):
                if not name.startswith("__") and not isinstance(value, ModuleType):
                    seen = set[int]()
                    yield (module, name), [_held(each) for each in _within(value, set(self._modules), _DEPTH, seen)]


@lru_cache(maxsize=256)
def tables_of(kind: type) -> OwnTables:
    """Those of a class as they were when it was first asked for in this process: what was kept since is in any row."""
    return OwnTables(kind)


def _is_shared(module: str) -> bool:
    """Whether a module is the tree's, which its tests look at, or Python's."""
    return module.partition(".")[0] in ("samplers", "models", "bench", "builtins", "abc", "typing")


def _beside(modules: dict[str, None]) -> list[str]:
    """These modules that are loaded, and those of their packages, or of a plugin file's folder, that they use."""
    found = [each for each in modules if each in sys.modules]
    packages = {each.partition(".")[0] for each in found}
    for module in found:  # which grows
        file = _file_of(module)
        folder = None if file is None or is_installed(file) else file.parent
        for value in list(vars(sys.modules[module]).values()):
            name = value.__name__ if isinstance(value, ModuleType) else _module_of(value)
            if name in found or name not in sys.modules or _is_shared(name):
                continue
            other = _file_of(name)
            near = folder is not None and other is not None and other.is_relative_to(folder) and not is_installed(other)
            if name.partition(".")[0] in packages or near:
                found.append(name)
    return found


def _file_of(module: str) -> Path | None:
    file = getattr(sys.modules[module], "__file__", None)
    return Path(file) if isinstance(file, str) else None


def _module_of(value: object) -> str:
    """Where a function or class was defined, or the class of anything else."""
    return str((value if isinstance(value, (FunctionType, type)) else type(value)).__module__)


def _within(value: Any, modules: set[str], depth: int, seen: set[int]) -> Iterator[Any]:
    """A value, and what it keeps: tables what they hold, and functions, classes and objects of these modules theirs."""
    yield value
    if depth == 0 or id(value) in seen:
        return
    seen.add(id(value))
    for each in _kept_by(value, modules):
        yield from _within(each, modules, depth - 1, seen)


def _kept_by(value: Any, modules: set[str]) -> list[Any]:
    if isinstance(value, (dict, list, tuple, set, deque)):
        held = value.values() if isinstance(value, dict) else value
        return list(held) if len(value) <= _MOST else []
    function = value.__func__ if isinstance(value, (staticmethod, classmethod, MethodType)) else value
    function = function.fget if isinstance(function, property) else function
    if isinstance(function, FunctionType) and function.__module__ in modules:
        kept = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values(), *vars(function).values()]
        for key, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            with suppress(ValueError):  # it holds nothing yet
                kept += [cell.cell_contents] if key != "__class__" else []
        return kept
    own = value if isinstance(value, type) else type(value)
    if own.__module__ not in modules:
        return []
    attributes = vars(value) if hasattr(value, "__dict__") else {}
    return [each for name, each in attributes.items() if _is_kept(name, each)]


def _is_kept(name: str, value: object) -> bool:
    return name != "_abc_impl" and not (name.startswith("__") and name.endswith("__") and not callable(value))


def _held(value: Any) -> _Held:
    with suppress(Exception):  # a tensor that has no numbers, such as a sparse one or one on "meta"
        if isinstance(value, Tensor) and value.numel() * value.element_size() <= _LARGEST:
            return value, value.detach().clone()
        if isinstance(value, np.ndarray) and value.nbytes <= _LARGEST:
            return value, value.copy()
        if isinstance(value, _TABLES):
            return value, tuple(value.items()) if isinstance(value, dict) else tuple(value)
    return value, None


def _is_as_before(now: list[_Held], before: list[_Held] | None) -> bool:
    """Whether a name has what it had; what was None may have been worked out since, and imported code is no state."""
    if before is None:
        return isinstance(now[0][0], (FunctionType, BuiltinFunctionType, type))
    if before[0][0] is None:
        return True
    return len(now) == len(before) and all(_alike(*pair) for pair in zip(now, before, strict=True))


def _alike(now: _Held, before: _Held) -> bool:
    if now[0] is not before[0]:
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
