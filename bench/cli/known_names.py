"""The names that samplers and grids have elsewhere, as they are listed."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from samplers.known_as import PLACES, Kind, differences, names_of, normal

NOT_QUITE = (
    "known as: in diffusers, k-diffusion, ComfyUI and A1111, names that are taken here, too; ~ before those that are\n"
    "not quite the same there. --json says where, and in what"
)


def known_as(kind: Kind, name: str) -> dict[str, Any]:
    """The names of a sampler or grid elsewhere, by specification and by where, and in what some are not the same."""
    found = names_of(kind, name)
    known = {ours: {PLACES[place]: names for place, names in places.items()} for ours, places in found.items()}
    return {"known_as": known, "known_as_differs": differences(kind, name)}


def told(row: dict[str, Any]) -> list[tuple[str, str]]:
    """The names of a row by specification, those that only spelling tells apart once."""
    said = []
    for ours, places in (row["known_as"] or {}).items():
        names = [name for each in places.values() for name in each]
        once = {normal(name) + name.partition("[")[2]: name for name in reversed(names)}
        marked = ("~" * (name in row["known_as_differs"]) + name.replace(",", ", ") for name in reversed(once.values()))
        said.append((ours, ", ".join(marked)))
    return said


def in_a_cell(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its names in one cell, under their specification where that is not the bare name."""
    names = "; ".join(names if ours == row["name"] else f"{ours}: {names}" for ours, names in told(row))
    return {key: value for key, value in (row | {"known_as": names}).items() if key != "known_as_differs"}


def table_of(found: Sequence[dict[str, Any]]) -> Table:
    """What the things of some rows are called elsewhere, by what they are here."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("here", overflow="fold", max_width=50)
    table.add_column("known as", overflow="fold")
    for row in found:
        for ours, names in told(row):
            table.add_row(Text(ours), Text(names))
    return table
