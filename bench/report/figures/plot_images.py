"""The picture: what samplers make of the same noise, rows by sampler, columns by steps or by evaluations."""

from textwrap import fill
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bench.escape import figure_text
from bench.report.data.columns import Line, Row, line, with_words
from bench.report.data.summary import Summary
from bench.report.data.text import NOTHING, percent, steps_words
from bench.report.figures import style
from bench.report.figures.image_table import ACROSS, Pixels, Table, block, caption_parts, heading, tables
from bench.report.figures.panels import with_letter
from bench.report.figures.style import (
    DPI,
    FAINT,
    GREY,
    INK,
    SMALL,
    TINY,
    Shown,
    apart,
    text_width,
    title,
    warning,
    wrapped,
)

_EDGE, _LABEL, _GAP, _LINE, _HEAD, _NARROWEST = 0.12, 1.35, 0.14, 0.22, 0.28, 5.6
"""Inches: the margin, the column of names, between blocks, a line of text, a heading, a figure."""
_FRAME = 0.035
"""Inches from the answer's block to its frame."""
_CAPTION = 6.5
"""Points."""
_NAME, _DETAIL, _SAID = 0.16, 0.125, 0.17
"""Inches that a line takes, of a name, below one, and of the legend."""


_KINDS = {
    "maps": ["Channels side by side, grey over the range of values."],
    "points": ["Each point is a sample, its first two coordinates over the range of values."],
}
"""What the legend says of samples that are no pictures."""


class _Sheet:
    """A figure on which things are placed in inches from the top left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = Shown(figsize=(width, height), dpi=DPI)
        self._width, self._height = width, height
        # one for all blocks: axes of their own would take longer than all that is drawn
        self.axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        self.axes.set_axis_off()

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        merged: dict[str, Any] = {"fontsize": SMALL, "color": INK, "va": "top", "ha": "left"} | style
        self.figure.text(x / self._width, 1 - y / self._height, text, **merged)

    def picture(self, x: float, y: float, width: float, height: float, picture: Pixels) -> None:
        shown = self.axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="none", aspect="auto")
        shown.set_extent((x, x + width, y + height, y))


class _Name(NamedTuple):
    """What stands beside a row of blocks: a name, and details below it, each on lines that fit."""

    name: str
    details: str

    @property
    def below(self) -> float:
        """Height of the name."""
        return _NAME * (1 + self.name.count("\n"))

    @property
    def height(self) -> float:
        return self.below + _DETAIL * len(self.details.splitlines())


def _named(name: str, *details: str) -> _Name:
    return _Name(wrapped(name, 20), "\n".join(wrapped(each, 24) for each in details if each))


class _Part:
    """A table laid out, in inches.

    Args:
        table: what is shown.
        across: pixels that a block of images may be wide.
        paper: whether it is of a paper: the caption has the legend, and what stands below a block has two lines.
        above: whether the legend stands above the baseline, and not beside it.

    Attributes:
        legend: what it says, or of a paper's figure the caption.
        line: height of what stands below a block.
        names: what stands beside its rows.
        baseline: the same of the baseline's row.
        width, height: of a block.
        pitch: from a column to the next: what is below a block has room, too.
        down: from a row to the next: its name has room, too.
        said: height of the legend where it stands above.
        first: height of the baseline's row, and of the legend where it stands beside it.
        beside: how far right of the names the legend begins where it is beside: the line below the block has room, too.
        size: width and height of all.
    """

    def __init__(self, table: Table, across: int, *, paper: bool, above: bool = False) -> None:
        self.table, self.legend, self.paper = table, _legend(table), paper
        lines, row = [] if paper else self.legend.splitlines(), table.baseline
        self.above, self.line = above or row is None, _LINE * (1.5 if paper else 1.0)
        self.pictures = {cell: block(tiles, across) for cell, tiles in table.tiles.items()}
        height, width = next(iter(self.pictures.values())).shape[:2] if self.pictures else (80, min(160, across))
        self.width, self.height = float(width) / DPI, float(height) / DPI
        self.names = {each: _line_name(table, each) for each in table.lines}
        below = [self._below(row) for cells in table.lines.values() for row in cells.values()]
        self.pitch = max([self.width, *below]) + _GAP
        self.down = max([self.height + self.line, *(name.height for name in self.names.values())]) + _GAP
        self.said = _SAID * len(lines) + _GAP if self.above and lines else 0.0
        self.first, self.beside, self.baseline = 0.0, self.width + 2 * _GAP, _named("baseline")
        if row is not None:
            where = f"{row['sampler']} on {row['grid']}"
            self.baseline = _named("baseline", where, steps_words(row["steps"]), with_words(row, model=False).lstrip())
            legend = 0.0 if self.above else _SAID * len(lines)
            self.first = max(self.height + self.line, self.baseline.height, legend) + _GAP
            self.beside = max(self.width, self._below(row)) + 2 * _GAP
        self._legend_width = max((text_width(each, SMALL) for each in lines), default=0.0)
        head = self._legend_width if self.above else _LABEL + self.beside + self._legend_width
        headings = _HEAD * (1 + bool(table.label))
        self.size = (
            2 * _EDGE + max(_LABEL + len(table.columns) * self.pitch, head),
            headings + self.said + self.first + len(table.lines) * self.down,
        )

    def caption(self, row: Row) -> str:
        """What stands below a block."""
        return ("\n" if self.paper else ", ").join(caption_parts(row))

    def _below(self, row: Row) -> float:
        return max((text_width(each, _CAPTION) for each in self.caption(row).splitlines()), default=0.0)

    def filled(self, width: float) -> "_Part":
        """The same with as many images a block as there is room for in a figure of this width."""
        if self.paper:
            room = (width - 2 * _EDGE - _LABEL) / max(1, len(self.table.columns)) - _GAP
            return _Part(self.table, max(1, int(DPI * room)), paper=True)
        room = width - 2 * _EDGE - _LABEL
        columns = room / max(1, len(self.table.columns)) - _GAP
        beside = min(columns, room - 2 * _GAP - self._legend_width)
        narrow = _Part(self.table, max(ACROSS, int(DPI * beside)), paper=False)
        wide = _Part(self.table, max(ACROSS, int(DPI * columns)), paper=False, above=True)
        return wide if wide.width > narrow.width else narrow


def images(summary: Summary) -> Figure:
    """The first images of cells of the first seed, a part for each protocol and run.

    Where there are more methods than can be seen at once, those that stand out in the other figures; where there are
    more step counts, columns are budgets of evaluations.
    """
    paper = summary.view.style == "paper"
    parts = [_Part(table, ACROSS, paper=paper) for table in tables(summary)]
    width = style.ACROSS if paper else max([_NARROWEST, *(part.size[0] for part in parts)])
    if summary.view.style == "slide":
        width = max(width, (0.75 + sum(part.size[1] for part in parts)) * style.SLIDE)
    parts = [part.filled(width) for part in parts]
    top = "" if paper else title(summary, width)
    y = 0.5 + 0.2 * top.count("\n") if top else 0.1
    height = y + 0.25 + sum(part.size[1] for part in parts) if parts else y + 1.0
    width = max([width, *(part.size[0] for part in parts)])
    if summary.view.style == "slide":
        width = max(width, height * style.SLIDE)
        height = width / style.SLIDE
    sheet = _Sheet(width, height)
    sheet.figure.style = summary.view.style
    sheet.text(_EDGE, 0.1, top, fontsize=11, fontweight="bold")
    if not parts:
        sheet.text(_EDGE, y, "nothing to show: no cell was measured", color=GREY)
    for n, part in enumerate(parts):
        if paper:
            said = [part.table.label, *part.legend.splitlines()]
            sheet.text(_EDGE, y, with_letter(sheet.figure, said, n if len(parts) > 1 else None))
        elif part.table.label:
            sheet.text(_EDGE, y, figure_text(fill(part.table.label, int(width * 17))), fontsize=TINY, color=GREY)
        _draw(sheet, part, y + _HEAD * bool(part.table.label))
        y += part.size[1]
    if (note := warning(summary)) and not apart(sheet.figure, note):
        lines = [fill(line, int(width * 17)) for line in note.split("\n")]
        sheet.text(_EDGE, y + 0.12, figure_text("\n".join(lines)), fontsize=TINY, color=GREY)
    return sheet.figure


def _draw(sheet: _Sheet, part: _Part, y: float) -> None:
    table, left = part.table, _EDGE + _LABEL
    at = (_EDGE, y) if part.above else (left + part.beside, y)
    if not part.paper:
        sheet.text(*at, figure_text(part.legend), color=GREY, linespacing=1.5)
    y += part.said
    if table.baseline is not None:
        _name(sheet, y, part.baseline)
        _cell(sheet, part, left, y, table.baseline)
    y += part.first
    for n, column in enumerate(table.columns):
        sheet.text(left + n * part.pitch, y, heading(table, column), fontweight="bold")
    y += 0.22
    for each, cells in table.lines.items():
        _name(sheet, y, part.names[each])
        for n, column in enumerate(table.columns):
            _cell(sheet, part, left + n * part.pitch, y, cells.get(column))
        y += part.down


def _line_name(table: Table, each: Line) -> _Name:
    sampler, grid, *_ = each
    name, _, parameters = sampler.partition("[")
    row = next(iter(table.lines[each].values()))
    return _named(
        name,
        parameters.rstrip("]"),
        f"on {grid}" if len({grid for _, grid, *_ in table.lines}) > 1 else "",
        with_words(row).lstrip(),
        row["clipping"],
        f"in {row['mode']}" if table.mode not in (None, row["mode"]) else "",
    )


def _name(sheet: _Sheet, y: float, name: _Name) -> None:
    sheet.text(_EDGE, y, name.name, fontweight="bold")
    sheet.text(_EDGE, y + name.below, name.details, fontsize=TINY, color=GREY)


def _legend(table: Table) -> str:
    """Nothing where there is nothing to say but of the blocks."""
    if table.baseline is None and table.left_out == 0 and table.mode is None and table.kind not in _KINDS:
        return ""
    lines = [f"All blocks are of seed {table.seed} and start from the same noise.", *_KINDS.get(table.kind, ())]
    if table.winners:
        lines.append(f"Framed: the answer, within {percent(table.run.tolerance)} of the baseline.")
    if table.mode is not None:
        lines.append(f"In {table.mode} unless named; another figure compares the modes.")
    if table.left_out:
        lines.append(f"Each family's best and what is near the Pareto front; {table.left_out} others left out.")
    return "\n".join(lines)


def _cell(sheet: _Sheet, part: _Part, x: float, y: float, row: Row | None) -> None:
    width, height = part.width, part.height
    picture = None if row is None else part.pictures.get(row["id"])
    if row is None or picture is None:
        failed = row is not None and row["status"] == "failed"
        face = "#F8E3DA" if failed else "#F5F5F5"
        sheet.axes.add_patch(Rectangle((x, y), width, height, facecolor=face, edgecolor=FAINT))
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": SMALL, "color": INK if failed else GREY}
        sheet.axes.text(x + width / 2, y + height / 2, "failed" if failed else NOTHING, **style)
    else:
        sheet.picture(x, y, width, height, picture)
    if row is None or row["status"] != "ok":
        return
    if (line(row), row["steps"]) in part.table.winners:
        corner, sides = (x - _FRAME, y - _FRAME), (width + 2 * _FRAME, height + 2 * _FRAME)
        sheet.axes.add_patch(Rectangle(corner, *sides, fill=False, linewidth=1.5))
    sheet.text(x, y + height + 0.075, part.caption(row), fontsize=_CAPTION, color=GREY)
