"""Named, parametrised things: samplers and grids, written as `name` or `name[parameter=value,...]`.

A registered class is a dataclass whose fields are its parameters, validated strictly (pydantic) when made from a
specification: a wrong name, type or range ends in a message that says what there is. A family is a set of names
`prefix:name` whose classes are made when asked for, such as adapters for another library, not imported before.
"""

import dataclasses
import difflib
import json
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, PydanticUndefinedAnnotation, PydanticUserError, TypeAdapter, ValidationError

from models.common.errors import Notice, PluginError, UsageError
from models.common.explain import Fault, faults
from models.plugins.elsewhere import Elsewhere
from models.plugins.foreign import defined_at, foreign, place_of, words
from models.plugins.names import check_name
from models.plugins.plain import NotPlain, plain, refuse_unstorable, unreadable
from models.plugins.specs import parse_spec

T = TypeVar("T")

PLUGIN = "sampler_bench_plugin_"
"""What the names of the modules of plugin files begin with."""


def unknown(kind: str, given: str, known: Iterable[str], meant: str | None = None) -> UsageError:
    """The error for a name that does not exist: what was given, what was probably meant, and what there is.

    `meant` is that, in words, where somebody knows better than the names that there are.
    """
    names = sorted(known)
    close = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    meant = repr(close[0]) if meant is None and close else meant
    hint = "" if meant is None else f" Did you mean {meant}?"
    return UsageError(f"unknown {kind} {given!r}.{hint} There is: {', '.join(names) or 'nothing'}.")


def in_our_words(fault: Fault, table: type[BaseModel] | None) -> Fault:
    """What is wrong with a key of a table: with the keys that there are if it is none, or that it is not there.

    Args:
        fault: as pydantic has it.
        table: that the key stands in; None: it is not known.
    """
    if fault.kind == "missing":
        return dataclasses.replace(fault, text="is missing")
    if fault.kind != "extra_forbidden" or table is None:
        return fault
    keys = [field.alias or name for name, field in table.model_fields.items()]
    return dataclasses.replace(fault, text=str(unknown("key", str(fault.place[-1]), keys)))


@dataclass(frozen=True)
class Family(Generic[T]):
    """Names with a common prefix: `make` gives the class of a name without it; UsageError if there is none."""

    make: Callable[[str], type[T]]
    names: Callable[[], Iterable[str]]


class Registry(Generic[T]):
    """Classes by name, each a frozen dataclass derived from `base`.

    Args:
        kind: what they are, for messages.
        base: class that all derive from.
        discover: imports what may register an unknown name; returns, by name, why what could not be imported.
        examine: asks an instance, by its name, for all that it has to say; raises for what cannot be used.

    Attributes:
        elsewhere: the names of others, which `make` takes, too; None: there are none.
    """

    def __init__(
        self,
        kind: str,
        base: type[T],
        discover: Callable[[], dict[str, str]] = dict,
        examine: Callable[[str, T], object] = lambda name, made: None,
    ) -> None:
        self.kind, self._base = kind, base
        self._discover, self._examine = discover, examine
        self._classes: dict[str, type[T]] = {}
        self._aliases: dict[str, str] = {}
        self._families: dict[str, Family[T]] = {}
        self._made: dict[str, type[T]] = {}
        self.elsewhere: Elsewhere | None = None

    def register(self, name: str, *aliases: str) -> Callable[[type[T]], type[T]]:
        """Class decorator that enters a class under a name; the aliases are looked up but never recorded.

        UsageError for a name that nothing can have, or that is taken.
        """
        for each in (name, *aliases):
            if not (isinstance(each, str) and self._family(each)):  # what is one of its own is said below
                check_name(each, self.kind)

        def enter(cls: type[T]) -> type[T]:
            for each in (name, *aliases):
                if self._family(each) is not None:
                    raise UsageError(f"{self.kind} {each!r} has the prefix of a family; rename {origin(cls)}")
                known = self._classes.get(self._aliases.get(each, each))
                if known is not None:
                    raise UsageError(
                        f"two {self.kind}s are called {each!r}: {origin(known)} and {origin(cls)}; rename one of them"
                    )
            if not issubclass(cls, self._base):
                raise UsageError(f"{origin(cls)} is not a {self._base.__name__}; derive {self.kind} {name!r} from it")
            self._classes[name] = cls
            self._aliases.update(dict.fromkeys(aliases, name))
            return cls

        return enter

    def add_family(self, prefix: str, family: Family[T]) -> None:
        """Enter the names `prefix:...`; their classes are made once, when asked for."""
        if prefix in self._families:
            raise UsageError(f"two families of {self.kind}s have the prefix {prefix!r}; rename one of them")
        self._families[prefix] = family

    def families(self) -> dict[str, list[str]]:
        """The full names of each family by its prefix, without making their classes."""
        return {
            prefix: sorted(f"{prefix}:{name}" for name in family.names()) for prefix, family in self._families.items()
        }

    def _family(self, name: str) -> Family[T] | None:
        prefix, colon, _ = name.partition(":")
        return self._families.get(prefix) if colon else None

    def names(self) -> list[str]:
        """All names but those of families."""
        return sorted(self._classes)

    def get(self, name: str) -> type[T]:
        """The class of that name; UsageError with the known names if there is none."""
        family = self._family(name)
        if family is not None:
            if name not in self._made:
                self._made[name] = family.make(name.partition(":")[2])
            return self._made[name]
        name = self._aliases.get(name, name)
        failed = {} if name in self._classes else self._discover()
        if name in self._classes:
            return self._classes[name]
        if name in failed:
            raise UsageError(f"{self.kind} {name!r} comes from a package that cannot be imported: {failed[name]}")
        meant = None if self.elsewhere is None else self.elsewhere.close(name, self._classes)
        error = unknown(self.kind, name, [*self._classes, *(f"{prefix}:<name>" for prefix in self._families)], meant)
        if any(module.startswith(PLUGIN) for module in sys.modules):
            raise error
        raise UsageError(f"{error} One that a file of your own registers needs --plugin FILE.")

    def has(self, name: str) -> bool:
        """Whether that is one of our names, and not one of others."""
        if name in self._classes or name in self._aliases or self._family(name) is not None:
            return True
        self._discover()
        return name in self._classes or name in self._aliases

    def named_in(self, texts: Iterable[str]) -> list[str]:
        """Those of some texts that are one of our names, or begin with one as a specification does."""
        names = {text: text.partition("[")[0].strip() for text in texts}
        if any(name not in self._classes for name in names.values()):
            self._discover()
        ours = {*self._classes, *self._aliases}
        return [text for text, name in names.items() if name in ours or self._family(name) is not None]

    def ours(self, spec: str, *, quiet: bool = False) -> str:
        """A specification by our names: what begins with none of ours, and is known elsewhere, as what it is here.

        Args:
            spec: the specification.
            quiet: whether a name of others is passed over without a `Notice` that says what it is here.

        Raises:
            UsageError: what others call so are several things.
        """
        if self.elsewhere is None or self.has(spec.partition("[")[0].strip()):
            return spec
        found = self.elsewhere.find(spec)
        if found is None:
            return spec
        if not quiet:
            warnings.warn(found.says, Notice, stacklevel=3)
        return found.ours

    def make(self, spec: str) -> T:
        """An instance from 'name[parameter=value,...]'; UsageError names every parameter that does not fit.

        A name that others have is taken for what it is here, with a `Notice`.

        Raises:
            PluginError: the class raises, or is or says what cannot be recorded.
        """
        name, parameters = parse_spec(self.ours(spec))
        cls = self.get(name)
        if not dataclasses.is_dataclass(cls):
            raise PluginError(
                f"{origin(cls)} is not a dataclass; decorate {self.kind} {name!r} with @dataclass(frozen=True)"
            )
        try:
            # through JSON, so that what is accepted here is exactly what can be stored and read back
            text = json.dumps(parameters, allow_nan=False)
        except ValueError as error:
            raise UsageError(f"cannot read {spec!r}: {error}") from None
        with foreign(f"{self.kind} {name!r} cannot be made", cls):
            made = self._instance(name, cls, text)
        for key, given in parameters.items():
            # of a `Literal`'s members pydantic takes 2.0 and true for 2 and 1
            if type(getattr(made, key)) is int and type(given) is not int:
                raise UsageError(f"{self.kind} {name!r}: {key}: expected a whole number, got {json.dumps(given)}")
        return made

    def _instance(self, name: str, cls: Any, text: str) -> T:
        """An instance from parameters in JSON, asked for all that it has to say."""
        called = f"{self.kind} {name!r}"
        try:
            made: T = _validator(cls).validate_json(text, strict=True, extra="forbid")
            refuse_unstorable(made)
            self._examine(name, made)
        except ValidationError as error:
            wrong = "; ".join(str(in_our_words(fault, None)) for fault in faults(error))
            raise UsageError(f"{called}: {wrong}{_raised_at(error)}. It takes: {_taken(cls)}.") from None
        except (PydanticUserError, PydanticUndefinedAnnotation) as error:
            reason = unreadable(cls) or words(error)
            raise PluginError(f"{called}: {reason} ({defined_at(cls)})") from None
        except NotPlain as error:
            raise PluginError(f"{called}: parameter {error} ({defined_at(cls)})") from None
        return made

    def name_of(self, instance: T) -> str:
        """The registered name of an instance's class."""
        for name, cls in (self._classes | self._made).items():
            if cls is type(instance):
                return name
        raise unknown(self.kind, type(instance).__name__, self._classes)

    def spec_of(self, instance: T) -> str:
        """The shortest specification that makes an equal instance: parameters at their default are left out."""
        inside = list[str]()
        for field in dataclasses.fields(instance):  # type: ignore[arg-type]
            value = getattr(instance, field.name)
            if value != field.default:
                if isinstance(value, float) and value.is_integer():
                    value = int(value)
                text = value if isinstance(value, str) else json.dumps(plain(value), separators=(",", ":"))
                inside.append(f"{field.name}={text}")
        return self.name_of(instance) + (f"[{','.join(inside)}]" if inside else "")


def _taken(cls: Any) -> str:
    """The parameters of a class, those that may be left out with their defaults."""
    fields = [(each.name, each.default) for each in dataclasses.fields(cls)]
    told = [name if default is dataclasses.MISSING else f"{name}={default!r}" for name, default in fields]
    return ", ".join(told) or "no parameters"


@lru_cache(maxsize=1024)
def _validator(cls: type[T]) -> TypeAdapter[T]:
    """What makes instances of a class; to build it takes a hundred times as long as to make one."""
    return TypeAdapter(cls)


def origin(made: Any) -> str:
    """Where a class or function comes from, for messages and listings: module.Name, or "Name in FILE" of a plugin."""
    module = getattr(made, "__module__", None) or "?"
    name = getattr(made, "__qualname__", None) or repr(made)
    return f"{name} in {sys.modules[module].__file__}" if module.startswith(PLUGIN) else f"{module}.{name}"


def _raised_at(error: ValidationError) -> str:
    """Where a plugin refused its parameters, for the end of a message; nothing where pydantic did."""
    raised = (part.get("ctx", {}).get("error") for part in error.errors(include_url=False))
    places = (place_of(each, ours=False) for each in raised if isinstance(each, BaseException))
    return "".join(f" ({place})" for place in places if place is not None)
