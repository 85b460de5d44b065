"""What Python keeps by name: the functions of modules and classes that all share, and a sampler's own attributes."""

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
_WITH_CLASSES = ("bench.", "models.", "samplers.", "diffusers.models.", "diffusers.schedulers.", "torch.nn.modules.")
_COMPILER = tuple(str(Path(torch.__file__).parent / each) for each in ("_dynamo", "_compile.py"))
"""Where the functions stand that torch itself puts in the place of others once something is compiled: they stay."""
_MISSING = object()
_Namespace = ModuleType | type


class KeptFunctions:
    """Functions and classes, by where they are looked up, as they are when this is made: those of what is loaded.

    Of modules those that others may have imported from them; of classes their methods, too, which all instances have.
    This takes a few milliseconds, so it is for a whole cell, a plugin's import or a check.
    """

    def __init__(self) -> None:
        self._before = [(each, dict(vars(each))) for each in _namespaces(len(sys.modules))]

    def put_back(self) -> list[Change]:
        """Make them as they were; what was not."""
        changed = []
        for namespace, before in self._before:
            now = vars(namespace)
            if len(now) == len(before) and all(map(is_, now.values(), before.values())):
                continue  # as nearly always, and this takes least
            for name in _replaced(namespace, before):
                _restore(namespace, name, before.get(name, _MISSING))
                changed.append(f"{_name(namespace)}.{name}")
        return [Change("process", f"the function {each}") for each in changed]


@lru_cache(maxsize=1)
def _namespaces(loaded: int) -> list[_Namespace]:
    """Of what is loaded, which is looked for again when more modules are."""
    found: list[_Namespace] = [*_LIBRARIES, Tensor]
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and f"{name}.".startswith(_WITH_CLASSES):
            found.append(module)
            found += [each for each in vars(module).values() if isinstance(each, type) and each.__module__ == name]
    return found


def _replaced(namespace: _Namespace, before: dict[str, Any]) -> list[str]:
    now = vars(namespace)
    found = [name for name, value in before.items() if now.get(name, _MISSING) is not value and _is_function(value)]
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
