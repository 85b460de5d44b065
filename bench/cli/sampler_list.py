"""The samplers that there are, and what each says of itself: a row for each, and their table on stdout."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from bench.cli.known_names import NOT_QUITE, known_as, table_of
from bench.escape import terminal_text
from bench.progress import output, say
from models.common.errors import UsageError
from models.grids import GRIDS
from models.guidance import registry as guidances
from models.plugins.foreign import foreign
from models.plugins.installed import load_installed
from models.plugins.registry import origin
from models.schedule import DiscreteVP, Level
from samplers import SAMPLERS
from samplers.about import about, declared_evaluations
from samplers.registry import ENTRY_POINTS

Row = dict[str, Any]


_TREE = "tree"


_WIDE = 100
"""Columns of a terminal that has room for papers."""


def sampler_rows(steps: int) -> list[Row]:
    """A row for every sampler, and for every installed plugin that cannot be imported; UsageError if steps do not fit.

    What a stranger's sampler raises when asked about itself becomes its reason, and the others are listed.
    """
    levels = GRIDS.make("trailing")(DiscreteVP.linear(), steps)
    failed = load_installed(ENTRY_POINTS)
    found = [_row(name, levels) for name in SAMPLERS.names()]
    packages = {point.name: _package(point) for point in entry_points(group=ENTRY_POINTS)}
    broken = [
        _blank(name, steps) | {"source": packages[name], "unavailable": reason} for name, reason in failed.items()
    ]
    # a library's adapters are named but not made: that would import the library
    adapters = list[Row]()
    for prefix, names in SAMPLERS.families().items():
        library = prefix
        with suppress(PackageNotFoundError):
            library = f"{prefix} {version(prefix)}"
        adapters += [_blank(name, steps) | {"family": "library", "source": library} for name in names]
    return found + adapters + broken


def source(cls: type) -> str:
    """Where the class of a sampler or a guidance comes from: "tree", a package with its version, or a plugin file."""
    module = cls.__module__
    root = module.partition(".")[0]
    if root in ("samplers", "models"):
        return _TREE
    named = [*entry_points(group=ENTRY_POINTS), *entry_points(group=guidances.ENTRY_POINTS)]
    points = [point for point in named if point.module.partition(".")[0] == root]
    for point in sorted(points, key=lambda point: point.module != module):
        return _package(point)
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return module
    path, here = Path(file), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def parameters(cls: type) -> str:
    """The parameters of a registered class with their defaults, as they are written in a specification: "eta=0.0"."""
    if not dataclasses.is_dataclass(cls):
        return ""
    said = []
    for field in dataclasses.fields(cls):
        value = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        said.append(f"{field.name} (required)" if value is dataclasses.MISSING else f"{field.name}={text}")
    return ", ".join(said)


def show_samplers(found: Sequence[Row]) -> None:
    """Print the samplers as a table on stdout, then those that are not the tree's by source, then what is unusable."""
    console = output()
    nfe = next(key for key in found[0] if key.startswith("nfe"))
    console.print(f"samplers; NFE: network evaluations an image {nfe[4:].replace('_', ' ')}, blank if unknown before\n")
    console.print(_table(found, nfe, console.width))
    console.print(f"\n{NOT_QUITE}\n")
    console.print(table_of(found))
    for row in found:
        if row["unavailable"] is not None:
            say(f"\nunavailable: {row['name']} ({row['source']}): {' '.join(row['unavailable'].split())}")
    elsewhere: dict[str, list[str]] = {}
    for row in found:
        if row["source"] != _TREE and row["unavailable"] is None:
            elsewhere.setdefault(row["source"], []).append(row["name"])
    for where, names in elsewhere.items():
        console.print(Text(terminal_text(f"\nfrom {where}: {', '.join(names)}")))


def _table(found: Sequence[Row], nfe: str, width: int) -> Table:
    heads = {"name": "name", "family": "family", "order": "order", "stochastic": "noise", nfe: "NFE"}
    heads |= {"parameters": "parameters"} | ({"paper": "paper"} if width >= _WIDE else {})
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column, head in heads.items():
        folds, number = column in ("parameters", "paper"), column in ("order", nfe)
        table.add_column(head, no_wrap=not folds, overflow="fold", justify="right" if number else "left")
    for row in found:
        if row["origin"] is not None:
            table.add_row(*(Text(_cell(row[column])) for column in heads))
    return table


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else terminal_text(str(value))


def _blank(name: str, steps: int) -> Row:
    about = ("family", "order", "stochastic", f"nfe_at_{steps}_steps", "parameters", "paper", "source")
    more = ("needs", "places_steps", "caveat", "origin", "unavailable", "known_as", "known_as_differs")
    return {"name": name} | dict.fromkeys((*about, *more))


def _row(name: str, levels: Sequence[Level]) -> Row:
    steps = len(levels) - 1
    row = _blank(name, steps)
    try:
        cls = SAMPLERS.get(name)
        row |= {"source": source(cls), "origin": origin(cls)}
        row |= known_as("samplers", name if row["source"] == _TREE else "")
        with foreign("its parameters cannot be listed", cls):
            row["parameters"] = parameters(cls)
        sampler = SAMPLERS.make(name)
        said = about(name, sampler)
        for key in ("family", "paper", "needs", "places_steps", "caveat", "order", "stochastic"):
            row[key] = getattr(said, key)
        row[f"nfe_at_{steps}_steps"] = declared_evaluations(name, sampler, levels)
    except UsageError as error:
        row["unavailable"] = str(error)
    return row


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.value
