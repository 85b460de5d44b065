"""The first images of the rows, each once within the page, and the table of those from the same noise."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image

from bench.escape import plain_line
from bench.report.data.columns import Row, line, rows_of, setting, with_words
from bench.report.data.runs import Run
from bench.report.data.summary import Summary
from bench.report.data.text import known_text
from bench.report.figures.image_table import Pixels, Table, block, caption, heading, strip_of, tables, tiles_of

_ROOM = 1_500_000
"""Bytes that the images of a page may take altogether, as PNG."""
_LARGEST = 2_000_000
"""Pixels of a picture that is looked into at all."""
_SIDE = 64
"""Pixels of an image, where it would take too much room as it is."""


@dataclass(frozen=True)
class Picture:
    """What a cell of the table of images shows.

    Attributes:
        key: of the picture; None if there is none.
        text: what stands below it.
        name: all of it in words.
        answer: whether it is the answer's.
    """

    key: str | None
    text: str
    name: str
    answer: bool = False


@dataclass(frozen=True)
class Sheet:
    """A table of images: samplers by budgets.

    Attributes:
        label: the protocol and run, where there are several.
        headings: of the columns.
        lines: the name of each line, and a picture or None for each column.
    """

    label: str
    headings: list[str]
    lines: list[tuple[str, list[Picture | None]]]


def picture_of(row: Row, summary: Summary) -> str:
    """The name of a row's picture, that of its first record, which is also the row's."""
    run = next((n for n, run in enumerate(summary.runs) if run.name in (row["run"], *row["run"].split(" + "))), 0)
    return f"{run}-{row['cells'][0]}"


def pictures(summary: Summary) -> dict[str, str]:
    """The first images of the rows as data, by `picture_of`; of those that there are, as many as there is room for."""
    names = [name for name in ("run", "id", "status", "preview_count", "preview_kind") if name in summary.cells]
    records = {(row["run"], row["id"]): row for row in rows_of(summary.cells[names])}
    wanted = dict.fromkeys(key for section in summary.sections for key in _keys(section.records, summary))
    wanted |= dict.fromkeys(key for key, _ in _shown(summary))
    strips = {}
    for key in wanted:
        run, cell = summary.runs[int(key.partition("-")[0])], key.partition("-")[2]
        row = records.get((run.name, cell))
        strip = None if row is None else strip_of(run, row)
        if row is not None and strip is not None and strip.size <= _LARGEST:
            strips[key] = (run, row, strip)
    room = _ROOM // max(1, len(strips))
    found = ((key, _encoded(*strip, room)) for key, strip in strips.items())
    return {key: f"data:image/png;base64,{base64.b64encode(png).decode()}" for key, png in found if png is not None}


def _keys(rows: list[Row], summary: Summary) -> Iterator[str]:
    return (picture_of(row, summary) for row in rows)


def _encoded(run: Run, row: Row, strip: Pixels, room: int) -> bytes | None:
    """As many of a cell's first images as there is room for, as PNG; smaller, if not even one is."""
    if row.get("preview_kind") in ("points", "maps"):
        choices = [block(tiles_of(run, row))]
    else:
        tiles = np.split(strip, int(row["preview_count"]), axis=1)
        choices = [*map(_apart, (tiles[:10], tiles[:5], tiles[:3])), tiles[0], _reduced(tiles[0])]
    return next((png for each in choices if len(png := _png(each)) <= max(room, 600)), None)


def _apart(tiles: list[Pixels]) -> Pixels:
    """Images side by side, a line between them."""
    edges = ((0, 0), (0, 1), *[(0, 0)] * (tiles[0].ndim - 2))
    return np.concatenate([*(np.pad(each, edges, constant_values=255) for each in tiles[:-1]), tiles[-1]], axis=1)


def _reduced(tile: Pixels) -> Pixels:
    shown = Image.fromarray(tile)
    shown.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    return np.asarray(shown)


def _png(pixels: Pixels) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "png", optimize=True)
    return buffer.getvalue()


@lru_cache(maxsize=1)
def _tables(summary: Summary) -> list[Table]:
    return [table for table in tables(summary) if table.tiles]


def _shown(summary: Summary) -> Iterator[tuple[str, Row]]:
    """What the table of images shows."""
    for table in _tables(summary):
        run = summary.runs.index(table.run)
        rows = [row for cells in table.lines.values() for row in cells.values()]
        yield from ((f"{run}-{row['id']}", row) for row in [*rows, *([table.baseline] if table.baseline else [])])


def sheets(summary: Summary) -> list[Sheet]:
    """The tables of images, of each protocol and run whose cells have some."""
    return [_sheet(table, summary.runs.index(table.run)) for table in _tables(summary)]


def _sheet(table: Table, run: int) -> Sheet:
    lines = []
    if table.baseline is not None:
        first = _picture(table, table.baseline, run)
        lines.append((f"baseline: {setting(table.baseline)}", [first, *([None] * (len(table.columns) - 1))]))
    several = len({grid for _, grid, *_ in table.lines}) > 1
    for cells in table.lines.values():
        row = next(iter(cells.values()))
        where = f" on {row['grid']}" if several else ""
        mode = f" in {row['mode']}" if table.mode not in (None, row["mode"]) else ""
        clip = f", {row['clipping']}" if known_text(row["clipping"]) and row["clipping"] else ""
        name = f"{row['sampler']}{where}{with_words(row)}{clip}{mode}"
        lines.append((name, [_picture(table, cells[n], run) if n in cells else None for n in table.columns]))
    return Sheet(table.label, [heading(table, each) for each in table.columns], lines)


def _picture(table: Table, row: Row, run: int) -> Picture:
    if row["status"] != "ok":
        return Picture(None, "failed", "")
    answer = (line(row), row["steps"]) in table.winners
    name = plain_line(f"{setting(row)}: {caption(row)}{', the answer' if answer else ''}")
    return Picture(f"{run}-{row['id']}" if row["id"] in table.tiles else None, caption(row), name, answer)
