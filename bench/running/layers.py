"""What a function is put together from, layer by layer: its code may stand in several modules.

A partial holds a function and what that is given, a decorator's function the one that it wraps, a closure what it was
made with. `__module__` says little of it: `functools.wraps` copies that of the innermost function.
"""

import inspect
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn

from bench.running.closure import in_tree, module_file
from models.common.errors import UsageError
from models.plugins.foreign import is_installed

_PLAIN = (str, bytes, int, float, complex, type(None))
_MADE = (Tensor, nn.Module)
"""What is made when a function runs: it is in no file, and may come and go, as in a table of what was made before."""


@dataclass
class Layers:
    """What was found in something.

    Attributes:
        modules: the names of those that its code stands in, the outermost first.
        texts: that are part of it, which may name files.
    """

    modules: dict[str, None] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    _seen: dict[int, object] = field(default_factory=dict)  # kept, so that nothing else gets their numbers

    @property
    def theirs(self) -> tuple[str, ...]:
        """The modules that are a plugin's: none of the tree, of an installed package or of the standard library."""
        return tuple(filter(_is_theirs, self.modules))

    def of(self, value: Any) -> str:
        """What a value is, in words that are the same in every process; its code is among the modules."""
        if isinstance(value, (*_PLAIN, PurePath)):
            self.texts += [str(value)] if isinstance(value, (str, PurePath)) else []
            # where a file lies is nothing of what it holds
            return repr(value.name) if isinstance(value, PurePath) else repr(value)
        if id(value) in self._seen:
            return "the same"
        self._seen[id(value)] = value
        if isinstance(value, (dict, list, tuple, set, frozenset)):
            return self._of_many(value)
        if isinstance(value, partial):
            return self._said(partial, value.func, value.args, value.keywords)
        if isinstance(value, MethodType):
            return self._said(MethodType, value.__func__, value.__self__)
        if isinstance(value, ModuleType):
            return self._from(value.__name__, "all")
        if isinstance(value, FunctionType):
            module, cells = str(value.__globals__.get("__name__")), map(_held, value.__closure__ or ())
            own, text = self._from(module, value.__qualname__), text_of(value) if _is_unread(module) else ""
            inside = (value.__defaults__, value.__kwdefaults__, *cells, vars(value).get("__wrapped__"))
            return f"{own}{text}{self._said(FunctionType, *inside)}"
        if isinstance(value, (type, BuiltinFunctionType)):
            said = self._from(str(value.__module__), value.__qualname__)
            for each in getattr(value, "__mro__", ()):
                self.modules.setdefault(str(each.__module__))
            return said
        return self._of_object(value)

    def _of_many(self, value: Any) -> str:
        parts = [part for pair in value.items() for part in pair] if isinstance(value, dict) else [*value]
        if any(isinstance(part, _MADE) for part in parts):
            return type(value).__qualname__
        said = [self.of(part) for part in parts]
        told = ", ".join(sorted(said) if isinstance(value, (set, frozenset)) else said)
        return f"{type(value).__qualname__}[{told}]" if said else type(value).__qualname__

    def _of_object(self, value: Any) -> str:
        kind = self.of(type(value))
        if isinstance(value, _MADE):
            return kind
        if (wrapped := getattr(value, "__wrapped__", None)) is not None:  # as of `functools.cache`
            return f"{kind}{self._said(type(value), wrapped)}"
        if _is_theirs(type(value).__module__) and hasattr(value, "__dict__"):
            return f"{kind}{self._said(type(value), dict(vars(value)))}"
        said = repr(value)
        return kind if " at 0x" in said else f"{kind}{said}"

    def _said(self, kind: type, *inside: Any) -> str:
        return f"{kind.__qualname__}({', '.join(map(self.of, inside))})"

    def _from(self, module: str, name: str) -> str:
        self.modules.setdefault(module)
        return f"{name} of {module.rpartition('.')[2]}"


def text_of(made: Any) -> str:
    """The text of a class or function that no file has, as of a notebook's; UsageError if nothing has it."""
    try:
        return inspect.getsource(made)
    except (OSError, TypeError):
        raise UsageError(
            f"the code of {made.__qualname__} is in no file, so that nobody can tell when it changes; write it into "
            "one, and give that with --plugin"
        ) from None


def _is_theirs(name: str) -> bool:
    path = module_file(name)
    return not in_tree(name) and path is not None and not is_installed(path)


def _is_unread(name: str) -> bool:
    """Whether a module is in no file, as a notebook's; generated code and the frozen standard library are none's."""
    known = name in sys.modules and name.partition(".")[0] not in sys.stdlib_module_names
    return known and module_file(name) is None


def _held(cell: Any) -> Any:
    """What a closure's cell holds; None while it holds nothing."""
    try:
        return cell.cell_contents
    except ValueError:
        return None
