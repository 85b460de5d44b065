"""The picture: what samplers make of the same noise, rows by sampler, columns by steps or by evaluations."""

import math
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bench.escape import figure_text
from bench.report.columns import BUDGETS, Row, guest, known, line, percent, scientific
from bench.report.display import NOTHING
from bench.report.picture import Table, tables
from bench.report.quality import OWN_TRUTH, fd_label, rank_columns
from bench.report.style import DPI, FAINT, GREY, INK, SMALL, TINY, title, warning, wrapped
from bench.report.summary import Summary

_EDGE, _LABEL, _GAP, _LINE, _HEAD, _NARROWEST = 0.12, 1.35, 0.14, 0.22, 0.28, 5.6
"""Inches: the margin, the column of names, between blocks, a line of text, a heading, a figure."""
_LETTERS = 16
"""Of the legend, that an inch has room for."""
_TINY_LETTER = 0.048
"""Inches that a letter below a block takes."""


_KINDS = {
    "maps": ["Channels side by side, grey over the range of values."],
    "points": ["Each point is a sample, its first two coordinates over the range of values."],
}
"""What the legend says of samples that are no pictures."""


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
    """The first images of cells of the first seed, a part for each protocol and run.

    Where there are more methods than can be seen at once, those that stand out in the other figures; where there are
    more step counts, columns are budgets of evaluations.
    """
    parts = tables(summary)
    width = max([_NARROWEST, *(_size(table)[0] for table in parts)])
    heading = title(summary, width)
    y = 0.5 + 0.2 * heading.count("\n")
    sheet = _Sheet(width, y + 0.25 + sum(_size(table)[1] for table in parts) if parts else y + 1.0)
    sheet.text(_EDGE, 0.1, heading, fontsize=11, fontweight="bold")
    if not parts:
        sheet.text(_EDGE, y, "nothing to show: no cell was measured", color=GREY)
    for table in parts:
        if table.label:
            sheet.text(_EDGE, y, figure_text(fill(table.label, int(width * 17))), fontsize=TINY, color=GREY)
        _draw(sheet, table, y + _HEAD * bool(table.label))
        y += _size(table)[1]
    if note := warning(summary):
        sheet.text(_EDGE, y + 0.12, note, fontsize=TINY, color=GREY)
    return sheet.figure


def _block(table: Table) -> tuple[float, float]:
    """Width and height of a block of images, inches."""
    height, width = next(iter(table.pictures.values())).shape[:2] if table.pictures else (80, 160)
    return width / DPI, height / DPI


def _pitch(table: Table) -> float:
    """Inches from a column to the next: a block's width, or that of the longest line below one."""
    longest = max((len(_caption(row)) for cells in table.lines.values() for row in cells.values()), default=0)
    return max(_block(table)[0] + _GAP, longest * _TINY_LETTER + _EDGE)


def _has_head(table: Table) -> bool:
    return table.baseline is not None or table.left_out > 0 or table.mode is not None or table.kind in _KINDS


def _size(table: Table) -> tuple[float, float]:
    width, height = _block(table)
    rows = len(table.lines) + _has_head(table)
    across = 2 * _EDGE + _LABEL + len(table.columns) * _pitch(table)
    if _has_head(table):
        longest = max(map(len, _legend(table).splitlines()))
        across = max(across, 2 * _EDGE + _LABEL + width + 2 * _GAP + longest / _LETTERS)
    return across, _HEAD * (1 + bool(table.label)) + rows * (height + _LINE + _GAP)


def _draw(sheet: _Sheet, table: Table, y: float) -> None:
    width, height = _block(table)
    left, down, pitch = _EDGE + _LABEL, height + _LINE + _GAP, _pitch(table)
    if table.baseline is not None:
        _name(sheet, y, "baseline", _described(table, table.baseline))
        _cell(sheet, table, left, y, table.baseline)
    if _has_head(table):
        sheet.text(left + width + 2 * _GAP, y, figure_text(_legend(table)), fontsize=SMALL, color=GREY, linespacing=1.5)
        y += down
    for n, column in enumerate(table.columns):
        sheet.text(left + n * pitch, y, _heading(table, column), fontweight="bold")
    y += 0.22
    several = len({grid for _, grid, _ in table.lines}) > 1
    for (sampler, grid, _), cells in table.lines.items():
        name, _, parameters = sampler.partition("[")
        row = next(iter(cells.values()))
        details = [
            parameters.rstrip("]"),
            f"on {grid}" if several else "",
            f"with {row['model']}" if guest(row) else "",
            f"in {row['mode']}" if table.mode not in (None, row["mode"]) else "",
        ]
        _name(sheet, y, name, "\n".join(filter(None, details)))
        for n, column in enumerate(table.columns):
            _cell(sheet, table, left + n * pitch, y, cells.get(column))
        y += down


def _heading(table: Table, column: float) -> str:
    if table.by_budget:
        return f"≤ {column:,} NFE" if math.isfinite(column) else f"> {BUDGETS[-1]:,} NFE"
    return f"{column:,} step{'s' * (column != 1)}"


def _described(table: Table, row: Row) -> str:
    return f"{row['sampler']} on {row['grid']}\n{row['steps']:,} steps"


def _legend(table: Table) -> str:
    lines = [f"All blocks are of seed {table.seed} and start from the same noise.", *_KINDS.get(table.kind, ())]
    if table.winners:
        lines.append(f"Framed: the fastest setting within {percent(table.run.tolerance)} of the baseline.")
    if table.mode is not None:
        lines.append(f"In {table.mode} unless named; another figure compares the modes.")
    if table.left_out:
        lines.append(f"Each family's best and what is near the Pareto front; {table.left_out} others left out.")
    return "\n".join(lines)


def _name(sheet: _Sheet, y: float, name: str, details: str) -> None:
    name = wrapped(name, 20)
    sheet.text(_EDGE, y, name, fontweight="bold")
    below = y + 0.16 * (1 + name.count("\n"))
    sheet.text(_EDGE, below, "\n".join(wrapped(each, 24) for each in details.splitlines()), fontsize=TINY, color=GREY)


def _cell(sheet: _Sheet, table: Table, x: float, y: float, row: Row | None) -> None:
    width, height = _block(table)
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
    if (line(row), row["steps"]) in table.winners:
        axes.add_patch(
            Rectangle((-0.03, -0.06), 1.06, 1.12, transform=axes.transAxes, clip_on=False, fill=False, lw=1.5)
        )
    sheet.text(x, y + height + 0.075, _caption(row), fontsize=6.5, color=GREY)


def _caption(row: Row) -> str:
    """What stands below a block: evaluations, and the distance that is ranked by."""
    if row["status"] != "ok":
        return ""
    name = next((name for name in rank_columns(row) if known(row[name])), None)
    quality = "" if name is None else f", {fd_label(name) if name in OWN_TRUTH else 'FD'} {scientific(row[name])}"
    evaluations = f"NFE {row['nfe']:,.4g}" if known(row["nfe"]) else ""
    return f"{evaluations}{quality}"
