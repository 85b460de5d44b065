"""What samplers and grids are called elsewhere: the names of diffusers, k-diffusion, ComfyUI and A1111.

They stand in `known_as.toml`, by what they are here. A specification that begins with none of our names is looked up
there, and so the names of others are taken wherever ours are (`models.plugins.registry.Elsewhere`).
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from models.common.errors import UsageError
from models.common.explain import shown
from models.plugins.specs import parse_spec

FILE = Path(__file__).parent / "known_as.toml"
PLACES = {"diffusers": "diffusers", "k-diffusion": "k-diffusion", "comfyui": "ComfyUI", "a1111": "A1111"}
"""Where names are known, by their keys in the file."""

Kind = Literal["samplers", "grids"]


@dataclass(frozen=True)
class Known:
    """A name elsewhere.

    Attributes:
        name: as it is written there, with the arguments that it needs.
        place: of `PLACES`.
        ours: what it is here, a specification.
        differs: in what it is not quite that; None: in nothing.
    """

    name: str
    place: str
    ours: str
    differs: str | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """The arguments of a class; of anything else there are none."""
        return parse_spec(self.name)[1] if "[" in self.name else {}

    @property
    def says(self) -> str:
        """What it is here, in words."""
        more = "" if self.differs is None else f", but not quite: {self.differs}"
        return f"{shown_name(self.name)} is {self.ours} here{more}"


def shown_name(name: str) -> str:
    """A name as it stands in a sentence: with quotes where it has spaces."""
    return repr(name) if " " in name else name


def normal(name: str) -> str:
    """A name without what does not tell it from others: case, spaces, "-" and "_"; "pp" for "++"."""
    return re.sub(r"[\s_-]", "", name.partition("[")[0].lower().replace("++", "pp"))


@cache
def _file() -> dict[str, Any]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


@cache
def known(kind: Kind) -> tuple[Known, ...]:
    """All names of one kind, in the order of the file."""
    shared = _file().get("differ", {}).get(kind, {})

    def differs(name: str, own: dict[str, str]) -> str | None:
        common = [how for how, names in shared.items() if name in names]
        return "; ".join([own[name], *common] if name in own else common) or None

    return tuple(
        Known(name, place, ours, differs(name, entry.get("differs", {})))
        for ours, entry in _file()[kind].items()
        for place in PLACES
        for name in entry.get(place, ())
    )


def unnamed(kind: Kind) -> dict[str, str]:
    """Why something has no name elsewhere, by our name."""
    found: dict[str, str] = _file()["unnamed"][kind]
    return found


def names_of(kind: Kind, name: str) -> dict[str, dict[str, list[str]]]:
    """The names elsewhere of what is registered here under one, by specification and by place."""
    found: dict[str, dict[str, list[str]]] = {}
    for each in known(kind):
        if each.ours.partition("[")[0] == name:
            found.setdefault(each.ours, {}).setdefault(each.place, []).append(each.name)
    return found


def differences(kind: Kind, name: str) -> dict[str, str]:
    """In what those names elsewhere are not quite the same, by name."""
    mine = (each for each in known(kind) if each.ours.partition("[")[0] == name)
    return {each.name: each.differs for each in mine if each.differs is not None}


class Names:
    """The names of one kind elsewhere, as a registry asks for them.

    Args:
        kind: of what.
    """

    def __init__(self, kind: Kind) -> None:
        self._kind: Kind = kind

    def find(self, spec: str) -> Known | None:
        """What a specification in the words of others stands for; None if nobody calls anything so.

        Raises:
            UsageError: it stands for several things, or has arguments under which it is not known.
        """
        same = [each for each in known(self._kind) if normal(each.name) == normal(spec)]
        if not same:
            return None
        name, given = parse_spec(spec)
        exact = sorted((each for each in same if each.parameters == given), key=lambda each: each.name != spec)
        meant = {each.ours: each for each in reversed(exact)}  # as it is spelled, or in the first place
        if len(meant) == 1:
            return replace(next(iter(meant.values())), name=spec.strip())
        if meant:
            places = "; ".join(f"{PLACES[each.place]}'s is {ours}" for ours, each in reversed(meant.items()))
            raise UsageError(f"{shown_name(name)} stands for several things: {places}. Say which of ours is meant")
        told = ", and ".join(f"{each.name} is {each.ours}" for each in same)
        raise UsageError(
            f"{shown(spec)} is not known with these arguments. Here, {told}; give its parameters by our names"
        )

    def elsewhere(self, name: str, ours: str) -> str | None:
        """In words, what others call by a name of ours, in capitals or not; None if that is the same, or nobody does.

        Args:
            name: without parameters.
            ours: the specification that it stands for here.
        """
        alike = [each for each in known(self._kind) if each.name.lower() == name]
        if not alike or any(each.ours == ours for each in alike):
            return None
        them = alike[0]
        return f"{name} is our own {ours}; what {PLACES[them.place]} calls {shown_name(them.name)} is {them.ours} here"

    def close(self, name: str, ours: Iterable[str]) -> str | None:
        """The name of others that was probably meant by one, with what it is here; None if none is nearer than ours."""
        spelled = {normal(each.name): each for each in reversed(known(self._kind))}
        mine = {normal(each) for each in ours}
        near = difflib.get_close_matches(normal(name), [*spelled.keys() - mine, *mine], n=1, cutoff=0.75)
        if not near or near[0] in mine:
            return None
        found = spelled[near[0]]
        return f"{found.name.partition('[')[0]!r}, which is {found.ours} here"


def on_grid(label: str, sampler: Callable[[str], bool], grid: Callable[[str], bool]) -> tuple[str, str] | None:
    """The sampler and the grid of a label that names both, such as "DPM++ 2M Karras"; None if it is none.

    Args:
        label: that is no name of a sampler by itself.
        sampler, grid: whether that is a name of one.
    """
    words = re.split(r"[\s_]+", label.strip())
    for n in range(len(words) - 1, 0, -1):
        first, last = " ".join(words[:n]), " ".join(words[n:])
        if sampler(first) and grid(last):
            return first, last
    return None
