"""Samplers as options name them: by our names, by those of others, and by labels that name a grid as well."""

import warnings
from typing import Any

from models.common.errors import Notice, UsageError
from models.grids import GRIDS
from models.plugins.names import check_text
from models.plugins.registry import Registry
from samplers import SAMPLERS
from samplers.known_as import Kind, Names, on_grid


class OnGrid(str):
    """A sampler's specification, from a label that names its grid as well, such as "DPM++ 2M Karras".

    Attributes:
        grid: a specification, by our names.
        label: as it was given.
    """

    __slots__ = ("grid", "label")

    grid: str
    label: str


def grid_of(sampler: str) -> str | None:
    """The grid that a sampler's label named; None if it named none."""
    return sampler.grid if isinstance(sampler, OnGrid) else None


def refuse_grid(spec: str) -> None:
    """UsageError for a label that names a sampler and its grid, where only a sampler can stand."""
    if (label := _on_grid(spec)) is not None:
        sampler, grid = (registry.ours(each, quiet=True) for registry, each in zip(_BOTH, label, strict=True))
        raise UsageError(f"{spec!r} names a sampler and its grid, here {sampler} and {grid}; say each where it belongs")


def sampler_of(spec: str) -> str:
    """A sampler's specification by our names, an `OnGrid` where its label names a grid; UsageError for any other.

    A name of ours by which others call something else is told, once.
    """
    check_text(spec)
    label = _on_grid(spec)
    if label is None:
        _tell_others("samplers", SAMPLERS, spec)
        SAMPLERS.make(found := SAMPLERS.ours(spec))
        return found
    sampler, grid = (registry.ours(each, quiet=True) for registry, each in zip(_BOTH, label, strict=True))
    SAMPLERS.make(sampler)
    GRIDS.make(grid)
    warnings.warn(f"{spec!r} is {sampler} on {grid} here{_differs(label)}", Notice, stacklevel=2)
    found = OnGrid(sampler)
    found.grid, found.label = grid, spec
    return found


def grid_named(spec: str) -> str:
    """A grid's specification as it is, with a word on a name of ours by which others call something else."""
    _tell_others("grids", GRIDS, spec)
    return spec


_BOTH: tuple[Registry[Any], Registry[Any]] = (SAMPLERS, GRIDS)


def _knows(registry: Registry[Any], name: str) -> bool:
    """Whether a name is ours or, of one thing, that of others."""
    if registry.has(name):
        return True
    try:
        return registry.elsewhere is not None and registry.elsewhere.find(name) is not None
    except UsageError:
        return False


def _on_grid(spec: str) -> tuple[str, str] | None:
    if "[" in spec or _knows(SAMPLERS, spec.strip()):
        return None
    return on_grid(spec, lambda name: _knows(SAMPLERS, name), lambda name: _knows(GRIDS, name))


def _differs(label: tuple[str, str]) -> str:
    """In what the two of a label are not quite what they are elsewhere."""
    said = []
    for kind, registry, name in zip(("samplers", "grids"), _BOTH, label, strict=True):
        found = None if registry.has(name) else Names(kind).find(name)  # type: ignore[arg-type]
        said += [] if found is None or found.differs is None else [f"of {name}, {found.differs}"]
    return f", but not quite: {'; '.join(said)}" if said else ""


def _tell_others(kind: Kind, registry: Registry[Any], spec: str) -> None:
    """A `Notice` of a name of ours by which others call something else."""
    if "[" in spec or not registry.has(spec):
        return
    said = Names(kind).elsewhere(spec, registry.name_of(registry.make(spec)))
    if said is not None:
        warnings.warn(said, Notice, stacklevel=3)
