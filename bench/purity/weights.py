"""Of networks: their weights, bit for bit, and what else of them decides on what they give.

They are compared with a copy on the same device rather than by a checksum: that is exact, takes less time than any
hash, and the copy is needed to put them back.
"""

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from types import FunctionType, MethodType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from bench.purity.aspect import Change

_TABLES = (
    *("_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs"),
    *("_forward_pre_hooks_with_kwargs", "_forward_hooks_always_called"),
)
_OF_MODULES = {*_TABLES, "training", "forward"}
_PLAIN = (bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)
_MISSING = object()
_STEPS = {f".{name}." for name in ("_parameters", "_buffers", "_modules")}


class _Module(NamedTuple):
    """What a module calls: by table the entries, its own `forward` if an instance has one, and its mode."""

    name: str
    module: nn.Module
    training: bool
    forward: object
    tables: dict[str, dict[str, object]]


class _Object(NamedTuple):
    """An object and the attributes that it has itself, but for those that a `_Module` has."""

    name: str
    found: object
    attributes: dict[str, object]


class _Tensor(NamedTuple):
    """A tensor, and what it held."""

    name: str
    tensor: Tensor
    copy: Tensor


class KeptWeights:
    """Networks, or parts of them, by what they are called in words, as they are when this is made.

    Modules with their parameters, buffers, hooks and modes, the attributes of these and of our own objects, and all
    tensors and arrays that objects hold. What is not looked at (`but`) says `settled`.
    """

    def __init__(self, networks: Mapping[str, object], but: Container[object] = ()) -> None:
        self._but = but
        self._tensors = list[_Tensor]()
        self._arrays = list[tuple[str, np.ndarray[Any, Any], np.ndarray[Any, Any]]]()
        self._modules = list[_Module]()
        self._objects = list[_Object]()
        with torch.inference_mode(mode=False), torch.no_grad():  # plain tensors, whatever mode this is made in
            for name, found in _reached(networks):
                if id(found) in but:
                    continue
                if isinstance(found, Tensor):
                    copy = found.detach().clone()
                    self._tensors.append(_Tensor(name, found, copy))
                elif isinstance(found, np.ndarray):
                    self._arrays.append((name, found, found.copy()))
                elif isinstance(found, nn.Module):
                    self._modules.append(_kept(name, found))
                if _has_attributes(found):
                    self._objects.append(_Object(name, found, _attributes(found)))

    @classmethod
    def settled(cls, networks: Mapping[str, object], evaluate: Callable[[], object]) -> "KeptWeights":
        """As they are once they have been evaluated, without what an evaluation itself changes: a counter, a cache."""
        before = cls(networks)
        evaluate()
        changed = before._changed()
        del before  # whose copies are as large as the networks
        return cls(networks, changed)

    def _changed(self) -> set[object]:
        """The identities of tensors and arrays that are not as they were, and of objects each with an attribute."""
        found = set[object](id(each.tensor) for each in self._tensors if not _is_same(each.tensor, each.copy))
        found |= {id(array) for _, array, copy in self._arrays if array.tobytes() != copy.tobytes()}
        return found | {(id(each.found), name) for each in self._objects for name in _differing(each)}

    def put_back(self) -> list[Change]:
        """Make them as they were; what was not."""
        changed = dict[str, list[str]]()
        for module in self._modules:
            for what in _put_module_back(module):
                changed.setdefault(what, []).append(module.name)
        for each in self._objects:
            if names := [name for name in _differing(each) if (id(each.found), name) not in self._but]:
                changed.setdefault(_put_attributes_back(each, names), []).append(each.name)
        moved = [each.name for each in self._tensors if _put_tensor_back(*each[1:])]
        moved += [name for name, array, copy in self._arrays if _put_array_back(array, copy)]
        changed |= {"weights": moved} if moved else {}
        return [Change("weights", f"the {what} of {_several(names)}") for what, names in changed.items()]


def _several(names: list[str]) -> str:
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]


def _reached(networks: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Everything that some objects hold, at any depth, each once and by its name."""
    seen, waiting = set[int](), deque((f"{name}:", network) for name, network in networks.items())
    while waiting:
        name, found = waiting.popleft()  # what lies nearest first: names are short
        if id(found) not in seen:
            seen.add(id(found))
            yield name, found
            waiting += [(_joined(name, key), part) for key, part in _parts(found)]


def _joined(name: str, key: object) -> str:
    joined = f"{name}.{key}."
    for step in _STEPS:
        joined = joined.replace(step, ".")
    return joined[:-1].replace(":.", ": ")


def _parts(found: object) -> Iterable[tuple[object, object]]:
    """What an object is made of; of torch's own objects only what modules are made of."""
    if isinstance(found, Mapping):
        return found.items()
    if isinstance(found, list | tuple):
        return enumerate(found)
    if isinstance(found, partial):
        return enumerate((found.func, *found.args, *found.keywords.values()))
    if isinstance(found, MethodType):
        return [("self", found.__self__)]
    if isinstance(found, FunctionType) and not _is_foreign(str(found.__module__)):
        return _closure(found)
    if isinstance(found, nn.Module) or not (isinstance(found, type) or _is_foreign(type(found).__module__)):
        return list(getattr(found, "__dict__", {}).items())
    return ()


def _is_foreign(module: str) -> bool:
    return module.partition(".")[0] in ("torch", "builtins", "numpy")


def _closure(function: FunctionType) -> Iterator[tuple[str, object]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # not filled yet
            yield name, cell.cell_contents


def _kept(name: str, module: nn.Module) -> _Module:
    tables = {table: dict(vars(module)[table]) for table in _TABLES if table in vars(module)}
    return _Module(name, module, module.training, vars(module).get("forward"), tables)


def _put_module_back(kept: _Module) -> Iterator[str]:
    """What had changed."""
    own = vars(kept.module)
    if kept.module.training != kept.training:
        kept.module.training = kept.training
        yield f"training mode ({kept.training} to {not kept.training})"
    if own.get("forward") is not kept.forward:
        own.pop("forward")
        own |= {} if kept.forward is None else {"forward": kept.forward}
        yield "forward"
    for table, entries in kept.tables.items():
        now = own[table]
        if now.keys() != entries.keys() or any(now[key] is not entry for key, entry in entries.items()):
            now.clear()
            now.update(entries)
            yield table.strip("_").replace("_", " ")


def _has_attributes(found: object) -> bool:
    """Whether an object has attributes that are looked at: a module that torch.compile has not made, or one of ours."""
    module = type(found).__module__
    if isinstance(found, nn.Module):
        return not module.startswith("torch._dynamo")
    return module.partition(".")[0] in ("bench", "models") and hasattr(found, "__dict__")


def _attributes(found: object) -> dict[str, object]:
    own = _OF_MODULES if isinstance(found, nn.Module) else ()
    return {name: value for name, value in vars(found).items() if name not in own}


def _differing(kept: _Object) -> list[str]:
    """The attributes that were set, replaced or deleted; equal plain values are the same."""
    now, before = _attributes(kept.found), kept.attributes

    def same(name: str) -> bool:
        a, b = before.get(name, _MISSING), now.get(name, _MISSING)
        return a is b or (type(a) is type(b) and isinstance(a, _PLAIN) and a == b)

    return [name for name in {**before, **now} if not same(name)]


def _put_attributes_back(kept: _Object, names: list[str]) -> str:
    """What had changed."""
    for name in names:
        if name in kept.attributes:
            vars(kept.found)[name] = kept.attributes[name]
        else:
            del vars(kept.found)[name]
    return f"attributes ({', '.join(names)})"


def _put_tensor_back(tensor: Tensor, copy: Tensor) -> bool:
    """Whether it had changed."""
    if _is_same(tensor, copy):
        return False
    if _is_alike(tensor, copy):
        with torch.inference_mode():  # in which tensors of either kind can be written to
            tensor.copy_(copy)
    else:
        with torch.inference_mode(mode=False), torch.no_grad():
            tensor.data = copy.clone()
    return True


def _is_alike(tensor: Tensor, copy: Tensor) -> bool:
    return (tensor.dtype, tensor.shape, tensor.device) == (copy.dtype, copy.shape, copy.device)


def _is_same(tensor: Tensor, copy: Tensor) -> bool:
    """Of the same kind, with the same numbers, NaN equal to itself."""
    if not _is_alike(tensor, copy):
        return False
    return torch.equal(tensor, copy) or bool(((tensor == copy) | ((tensor != tensor) & (copy != copy))).all())


def _put_array_back(array: np.ndarray[Any, Any], copy: np.ndarray[Any, Any]) -> bool:
    """Whether it had changed."""
    if array.tobytes() == copy.tobytes():
        return False
    array.flags.writeable = True
    array[...] = copy
    return True
