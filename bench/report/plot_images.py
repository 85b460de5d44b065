"""The picture: what every sampler makes of the same noise, rows by sampler, columns by steps."""

from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from bench.report.columns import PROTOCOL, Row, fd_columns, known, percent, rows_of, significant
from bench.report.display import NOTHING
from bench.report.style import DPI, FAINT, GREY, INK, SMALL, TINY, title, warning
from bench.report.summary import Run, Summary

Pixels = NDArray[np.uint8]

_SMALLEST, _LARGEST = 36, 64
"""Pixels of the figure that an image is wide: small ones are enlarged by a whole factor, so that they stay sharp."""
_EDGE, _LABEL, _GAP, _LINE, _HEAD, _NARROWEST = 0.12, 1.35, 0.14, 0.22, 0.28, 5.6
"""Inches: the margin, the column of names, between blocks, a line of text, a heading, a figure."""


@dataclass(frozen=True)
class _Table:
    """The cells of one protocol and run, with the pictures that there are, by cell id."""

    label: str
    run: Run
    seed: int
    baseline: Row | None
    lines: dict[tuple[str, str], dict[int, Row]]
    pictures: dict[str, Pixels]
    winners: set[tuple[str, str, int]]

    @property
    def steps(self) -> list[int]:
        return sorted({steps for line in self.lines.values() for steps in line})

    @property
    def block(self) -> tuple[float, float]:
        """Width and height of a block of images, inches."""
        height, width = next(iter(self.pictures.values())).shape[:2] if self.pictures else (80, 160)
        return width / DPI, height / DPI

    @property
    def size(self) -> tuple[float, float]:
        width, height = self.block
        rows = len(self.lines) + (self.baseline is not None)
        across = 2 * _EDGE + _LABEL + len(self.steps) * (width + _GAP)
        return across, _HEAD * (1 + bool(self.label)) + rows * (height + _LINE + _GAP)


class _Sheet:
    """A figure on which things are placed in inches from the top left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = Figure(figsize=(width, height), dpi=DPI)
        self._width, self._height = width, height

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        merged: dict[str, Any] = {"fontsize": SMALL, "color": INK, "va": "top", "ha": "left"} | style
        self.figure.text(x / self._width, 1 - y / self._height, text, **merged)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        corner = x / self._width, 1 - (y + height) / self._height
        axes = self.figure.add_axes((*corner, width / self._width, height / self._height))
        axes.set_axis_off()
        return axes


def images(summary: Summary) -> Figure:
    """The first images of every cell of the first seed, a part for each protocol and run."""
    tables = _tables(summary)
    width = max([_NARROWEST, *(table.size[0] for table in tables)])
    heading = title(summary, width)
    y = 0.5 + 0.2 * heading.count("\n")
    sheet = _Sheet(width, y + 0.25 + sum(table.size[1] for table in tables) if tables else y + 1.0)
    sheet.text(_EDGE, 0.1, heading, fontsize=11, fontweight="bold")
    if not tables:
        sheet.text(_EDGE, y, "nothing to show: no cell was measured", color=GREY)
    for table in tables:
        if table.label:
            sheet.text(_EDGE, y, fill(table.label, int(width * 17)), fontsize=TINY, color=GREY)
        _draw(sheet, table, y + _HEAD * bool(table.label))
        y += table.size[1]
    if note := warning(summary):
        sheet.text(_EDGE, y + 0.12, note, fontsize=TINY, color=GREY)
    return sheet.figure


def _tables(summary: Summary) -> list[_Table]:
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows_of(summary.cells):
        groups.setdefault((row["run"], *_protocol(row)), []).append(row)
    return [_table(rows, summary, len(groups) > 1) for rows in groups.values()]


def _protocol(row: Row) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in PROTOCOL)


def _table(rows: list[Row], summary: Summary, named: bool) -> _Table:
    run = next(run for run in summary.runs if run.name == rows[0]["run"])
    seed = rows[0]["seed"]
    rows = [row for row in rows if row["seed"] == seed]
    baseline = next((row for row in rows if _setting(row) == run.baseline), None)
    lines: dict[tuple[str, str], dict[int, Row]] = {}
    columns = {row["steps"] for row in rows if row is not baseline}
    for row in rows:
        if row is not baseline or row["steps"] in columns:  # else it would have a column for itself
            lines.setdefault((row["sampler"], row["grid"]), {})[int(row["steps"])] = row
    pictures = {row["id"]: picture for row in rows if (picture := _picture(run, row)) is not None}
    answers = [each for section in summary.sections for each in section.answers]
    winners = {
        _setting(each.winner) for each in answers if each.winner and _protocol(each.winner) == _protocol(rows[0])
    }
    label = f"{run.name}: {rows[0]['model']}, {rows[0]['images']:,} images" if named else ""
    return _Table(label, run, seed, baseline, lines, pictures, winners)


def _setting(row: Row) -> tuple[str, str, int]:
    return str(row["sampler"]), str(row["grid"]), int(row["steps"])


def _picture(run: Run, row: Row) -> Pixels | None:
    """The block of a cell's first images; None if there is no picture, or not the one that the record speaks of."""
    if row["status"] != "ok" or not known(row.get("preview_count")):
        return None
    try:
        with Image.open(run.folder.preview(row["id"])) as file:
            strip = np.asarray(file if file.mode in ("L", "RGB") else file.convert("RGB"))
    except OSError:
        return None
    count = int(row["preview_count"])
    return None if count < 1 or strip.shape[1] % count else block(np.split(strip, count, axis=1))


def block(tiles: list[Pixels]) -> Pixels:
    """Images (H, W) or (H, W, 3) as a block of at most 2 x 4, enlarged or reduced to a size that can be seen."""
    across = len(tiles) if len(tiles) <= 5 else min(4, len(tiles) // 2)
    down = 1 if len(tiles) <= 5 else 2
    sized = [_resized(tile) for tile in tiles[: down * across]]
    height, width = sized[0].shape[:2]
    canvas = np.full((down * (height + 2) - 2, across * (width + 2) - 2, *sized[0].shape[2:]), 255, dtype=np.uint8)
    for n, tile in enumerate(sized):
        top, left = n // across * (height + 2), n % across * (width + 2)
        canvas[top : top + height, left : left + width] = tile
    return canvas


def _resized(tile: Pixels) -> Pixels:
    width = tile.shape[1]
    if width > _LARGEST:
        size = (_LARGEST, max(1, round(tile.shape[0] * _LARGEST / width)))
        return np.asarray(Image.fromarray(tile).resize(size, Image.Resampling.BOX))
    factor = -(-_SMALLEST // width)
    return tile.repeat(factor, axis=0).repeat(factor, axis=1)


def _draw(sheet: _Sheet, table: _Table, y: float) -> None:
    width, height = table.block
    left, down = _EDGE + _LABEL, height + _LINE + _GAP
    if table.baseline is not None:
        _name(sheet, y, "baseline", _described(table, table.baseline))
        _cell(sheet, table, left, y, table.baseline)
        sheet.text(left + width + 2 * _GAP, y, _legend(table), fontsize=SMALL, color=GREY, linespacing=1.5)
        y += down
    for n, steps in enumerate(table.steps):
        sheet.text(left + n * (width + _GAP), y, f"{steps:,} step{'s' * (steps != 1)}", fontweight="bold")
    y += 0.22
    several = len({grid for _, grid in table.lines}) > 1
    for (sampler, grid), line in table.lines.items():
        name, _, parameters = sampler.partition("[")
        _name(sheet, y, name, "\n".join(filter(None, [parameters.rstrip("]"), f"on {grid}" if several else ""])))
        for n, steps in enumerate(table.steps):
            _cell(sheet, table, left + n * (width + _GAP), y, line.get(steps))
        y += down


def _described(table: _Table, row: Row) -> str:
    return f"{row['sampler']} on {row['grid']}\n{row['steps']:,} steps"


def _legend(table: _Table) -> str:
    lines = [f"Every block starts from the same noise (seed {table.seed})."]
    return "\n".join(
        [*lines, f"Framed: the fastest setting within {percent(table.run.tolerance)} of the baseline."]
        if table.winners
        else lines
    )


def _name(sheet: _Sheet, y: float, name: str, details: str) -> None:
    name = fill(name, 20)
    sheet.text(_EDGE, y, name, fontweight="bold")
    below = y + 0.16 * (1 + name.count("\n"))
    sheet.text(_EDGE, below, "\n".join(fill(line, 24) for line in details.splitlines()), fontsize=TINY, color=GREY)


def _cell(sheet: _Sheet, table: _Table, x: float, y: float, row: Row | None) -> None:
    width, height = table.block
    axes = sheet.axes(x, y, width, height)
    picture = None if row is None else table.pictures.get(row["id"])
    if row is None or picture is None:
        failed = row is not None and row["status"] == "failed"
        axes.add_patch(Rectangle((0, 0), 1, 1, facecolor="#F8E3DA" if failed else "#F5F5F5", edgecolor=FAINT))
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": SMALL, "color": INK if failed else GREY}
        axes.text(0.5, 0.5, "failed" if failed else NOTHING, **style)
    else:
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
    if row is None or row["status"] != "ok":
        return
    if _setting(row) in table.winners:
        axes.add_patch(
            Rectangle((-0.03, -0.06), 1.06, 1.12, transform=axes.transAxes, clip_on=False, fill=False, lw=1.5)
        )
    distance = next((row[name] for name in fd_columns(row) if known(row[name])), None)
    quality = "" if distance is None else f", FD {significant(distance)}"
    evaluations = f"NFE {row['nfe']:,.6g}" if known(row["nfe"]) else ""
    sheet.text(x, y + height + 0.075, f"{evaluations}{quality}", fontsize=6.5, color=GREY)
