"""What Python keeps by name: what modules and classes that all share define, and a sampler's own attributes."""

import math
import sys
import time
from collections import deque
from functools import lru_cache
from operator import is_
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.purity.aspect import Change

_LIBRARIES: tuple[ModuleType, ...] = (
    *(math, time, np, np.linalg, np.random),
    *(torch, torch.linalg, torch.fft, torch.special, nn.functional, nn.init),
)
_OURS = ("bench.", "models.", "samplers.")
_WITH_CLASSES = (*_OURS, "diffusers.models.", "diffusers.schedulers.", "torch.nn.modules.")
_TABLES = (dict, list, set, deque)
_COMPILER = tuple(str(Path(torch.__file__).parent / each) for each in ("_dynamo", "_compile.py"))
"""Where the functions stand that torch itself puts in the place of others once something is compiled: they stay."""
_MISSING = object()
_Namespace = ModuleType | type


_Contents = tuple[object, ...]


class KeptNames:
    """What shared modules and classes define, as it is when this is made: functions, classes, numbers and tables.

    Of libraries the functions and numbers that others may have imported from them; of our own modules all but other
    modules, with what tables hold that have names of constants; of our classes their methods and attributes, which all
    instances have. This takes a few milliseconds, so it is for a whole cell, a plugin's import or a check.
    """

    def __init__(self) -> None:
        self._before = [(each, dict(vars(each))) for each in _namespaces(len(sys.modules))]
        self._tables = [
            (each, name, value, _contents(value))
            for each, before in self._before
            if _is_ours(each)
            for name, value in before.items()
            if isinstance(value, _TABLES) and name.isupper()
        ]

    def put_back(self) -> list[Change]:
        """Make them as they were; what was not."""
        changed = []
        for namespace, before in self._before:
            now = vars(namespace)
            if len(now) == len(before) and all(map(is_, now.values(), before.values())):
                continue  # as nearly always, and this takes least
            for name in _replaced(namespace, before):
                value = before.get(name, _MISSING)
                _restore(namespace, name, value)
                what = "the function " if value is _MISSING or _is_function(value) else ""
                changed.append(f"{what}{_name(namespace)}.{name}")
        for namespace, name, table, contents in self._tables:
            if not _alike(_contents(table), contents):
                _refill(table, contents)
                changed.append(f"{_name(namespace)}.{name}")
        return [Change("process", each) for each in changed]


@lru_cache(maxsize=1)
def _namespaces(loaded: int) -> list[_Namespace]:
    """Of what is loaded, which is looked for again when more modules are."""
    found: list[_Namespace] = [*_LIBRARIES, Tensor]
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and f"{name}.".startswith(_WITH_CLASSES):
            found.append(module)
            found += [each for each in vars(module).values() if isinstance(each, type) and each.__module__ == name]
    return found


def _is_ours(namespace: _Namespace) -> bool:
    module = namespace.__name__ if isinstance(namespace, ModuleType) else namespace.__module__
    return f"{module}.".startswith(_OURS)


def _contents(table: Any) -> _Contents:
    """What a table holds, keys and values one after the other."""
    return (*table.keys(), *table.values()) if isinstance(table, dict) else tuple(table)


def _alike(now: _Contents, before: _Contents) -> bool:
    return len(now) == len(before) and all(map(is_, now, before))


def _refill(table: Any, contents: _Contents) -> None:
    table.clear()
    if isinstance(table, dict):
        half = len(contents) // 2
        table.update(zip(contents[:half], contents[half:], strict=True))
    elif isinstance(table, set):
        table.update(contents)
    else:
        table.extend(contents)


def _replaced(namespace: _Namespace, before: dict[str, Any]) -> list[str]:
    now, ours = vars(namespace), _is_ours(namespace)
    other = [name for name, value in before.items() if now.get(name, _MISSING) is not value]
    found = [name for name in other if _is_function(before[name]) or _is_value(name, before[name], ours)]
    if isinstance(namespace, type):  # what is new there may hide what was inherited
        added = [name for name in now if name not in before and callable(now[name])]
        found += [name for name in added if any(name in vars(base) for base in namespace.__mro__[1:])]
    return [name for name in found if not _is_of_the_compiler(now.get(name))]


def _is_of_the_compiler(value: object) -> bool:
    code = getattr(value, "__code__", None)
    return code is not None and str(code.co_filename).startswith(_COMPILER)


def _is_function(value: object) -> bool:
    kinds = (FunctionType, BuiltinFunctionType, staticmethod, classmethod, property, type)
    return isinstance(value, kinds) or type(value).__name__ in ("method_descriptor", "wrapper_descriptor")


def _is_value(name: str, value: object, ours: bool) -> bool:
    """Of libraries a number, such as pi; of ours whatever is no module, and not Python's own."""
    kept = isinstance(value, ModuleType) or name.startswith("__")
    return not kept if ours else isinstance(value, float)


def _restore(namespace: _Namespace, name: str, value: object) -> None:
    if value is _MISSING:
        delattr(namespace, name)
    else:
        setattr(namespace, name, value)


def _name(namespace: _Namespace) -> str:
    if isinstance(namespace, ModuleType):
        return namespace.__name__
    return f"{namespace.__module__}.{namespace.__qualname__}"


class KeptSampler:
    """A sampler's own attributes, as they are when this is made: what it keeps there, its next images depend on.

    New ones and tables are not looked at: results of what depends on nothing else are kept there, as by a
    `cached_property`.
    """

    def __init__(self, sampler: object) -> None:
        self._own: dict[str, object] = getattr(sampler, "__dict__", {})
        self._before = [_Kept(name, value) for name, value in self._own.items()]

    def put_back(self) -> list[Change]:
        """Make them as they were; what was not."""
        changed = [kept for kept in self._before if not kept.is_in(self._own)]
        for kept in changed:
            kept.restore(self._own)
        return [Change("process", f"its own {', '.join(kept.name for kept in changed)}")] if changed else []


class _Kept:
    """An attribute, with what of it can change without its being another object."""

    def __init__(self, name: str, value: object) -> None:
        self.name, self._value = name, value
        self._numbers = value.clone() if isinstance(value, Tensor) else None
        self._items = list[object](value) if isinstance(value, list | deque) else None

    def is_in(self, own: dict[str, object]) -> bool:
        now = own.get(self.name)
        if isinstance(now, Tensor) and self._numbers is not None:
            return now is self._value and torch.equal(now, self._numbers)
        if isinstance(now, list | deque) and self._items is not None:
            return now is self._value and len(now) == len(self._items) and all(map(is_, now, self._items))
        return now is self._value or (type(now) is type(self._value) and now == self._value)

    def restore(self, own: dict[str, object]) -> None:
        own[self.name] = self._value
        if isinstance(self._value, Tensor) and self._numbers is not None:
            self._value.copy_(self._numbers)
        elif isinstance(self._value, list | deque) and self._items is not None:
            self._value.clear()
            self._value.extend(self._items)
