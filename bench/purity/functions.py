"""Of modules and classes that all share: their functions, which a plugin may have replaced by its own."""

import math
import sys
import time
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
