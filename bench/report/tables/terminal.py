"""The blocks on the terminal, within 80 columns where they can be: short headings, no intervals, fewer columns."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TypeVar

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from bench.escape import terminal_text
from bench.report.data.summary import Summary
from bench.report.data.text import ALIKE, DOUBTFUL, Column
from bench.report.tables.blocks import Block, blocks
from bench.report.tables.paper import MOST_COLUMNS
from bench.report.tables.table import SPEED_HEADINGS

T = TypeVar("T")

# a no-break space, so that the arrow stays below
_SHORT = {
    "ms/image": "ms/img",
    "Overhead": "Over-\nhead",
    "Precision ↑": "Prec. ↑",
    "Evaluations": "Evalu-\nations",
    "Published": "Pub-\nlished",
    "Measured": "Meas-\nured",
    "Difference": "Differ-\nence",
    "Solver RMSE ↓": "Solver\nRMSE\u00a0↓",
    "Nearest RMSE ↓": "Nearest\nRMSE\u00a0↓",
    "Law FD ↓": "Law\nFD\u00a0↓",
    "Occupancy ↓": "Occu-\npancy\u00a0↓",
}
"""Headings for the terminal, which may have no more than 80 columns."""

_WIDTH, _NAME = 80, 26
"""Of a terminal, and what is left of that for the names of samplers, which take several lines where they are longer."""

_ROOM = 5
"""Quality columns that 80 columns have room for beside all others."""
_SPARE = {1: ["Overhead"], 2: ["Precision ↑", "Recall ↑"], 4: ["KID ×10³ ↓", "IS ↑"]}
"""What stands in the files only, where there are so many more."""


def terminal_table(summary: Summary) -> Table:
    """The tables of all sections, then those of modes, then the published values; of long ones the short form."""
    order = {"paper": 0, "rows": 0, "left_out": 1, "fits": 2, "modes": 3, "published": 4}
    shown = sorted(blocks(summary), key=lambda block: order[block.kind])
    for n, (block, below) in enumerate(pairwise(shown)):
        if block.kind == "paper":  # what holds for both is said once
            shown[n] = replace(block, notes=[line for line in block.notes if line not in below.notes])
    tables = [_table(block) for block in shown]
    if len(tables) == 1:
        return tables[0]
    grid = Table.grid(padding=(0, 0, 1, 0))
    for table in tables:
        grid.add_row(table)
    return grid


def _table(block: Block) -> Table:
    if block.kind == "paper":
        return _paper(block)
    if block.short:
        whole = f"{block.whole}: {block.files} of the report."
        median = ["The median over settings, and the range."] if block.kind == "modes" else []
        # beside the names of guidances there is little room
        narrow = any(each.heading == "Guidance" for each in block.short)
        shown, said = _spared(block.short, ("Grid", "Guidance") if narrow else ())
        return drawn(shown, [*median, whole, *block.notes, *said], block.highlighted)
    shown, said = _spared(block.table, block.spared)
    lines = [*block.notes, *said]
    more = sum(each.heading != each.name for each in shown) - _ROOM + _wide_words(shown)
    spare = {*SPEED_HEADINGS, *(name for least, names in _SPARE.items() if more >= least for name in names)}
    if spared := [each.name for each in shown if each.heading in spare]:
        lines.append(f"{', '.join(spared)}: in table.md.")
    return drawn([each for each in shown if each.heading not in spare], lines, block.highlighted)


def _spared(columns: Sequence[Column], names: Sequence[str]) -> tuple[list[Column], list[str]]:
    """The columns without those of these names whose cells are all alike, which are said below."""
    gone = [each for each in columns if each.heading in names and len(set(each.cells)) == 1]
    return [each for each in columns if each not in gone], [f"{each.heading}: {each.cells[0]}." for each in gone]


def _paper(block: Block) -> Table:
    """As many columns as there is room for, and of many rows those that stand out."""
    shown, spare, lines = list(block.table), list(block.spare), list(block.notes)
    while spare and (len(shown) > 1 + MOST_COLUMNS or sum(map(_width, shown[1:])) > _WIDTH - _least(shown[0])):
        gone = spare.pop(0)
        shown = [each for each in shown if each.heading != gone]
    if left_out := [each.heading for each in block.table if each not in shown]:
        lines.append(f"{', '.join(left_out)}: in {block.files}.")
    rows = range(len(shown[0].cells)) if block.outstanding is None else block.outstanding
    if block.outstanding is not None:
        count = len(shown[0].cells) - len(block.groups)
        lines.append(f"These are the lines that stand out in the figures; all {count:,}: {block.files}.")
    parts = [
        replace(each, cells=_of(each.cells, rows), brief=_of(each.brief, rows), best=_of(each.best, rows))
        for each in shown
    ]
    return drawn(parts, lines, tuple(_of(block.highlighted, rows)))


def _of(values: Sequence[T], rows: Iterable[int]) -> list[T]:
    return [values[n] for n in rows]


def _width(column: Column) -> int:
    cells = (_aligned(column, n) for n in range(len(column.cells)))
    return 1 + max(map(len, (*cells, *_narrow(column.heading).plain.splitlines())))


def _least(names: Column) -> int:
    """Characters that the column of names gets at least."""
    return min(_NAME, max(map(len, names.brief)))


def _wide_words(shown: list[Column]) -> int:
    """How many columns of numbers the names of modes and guidances take the room of."""
    wide = [column.cells for column in shown if column.heading in ("Mode", "Guidance")]
    return sum(-(-max(map(len, cells)) // 8) for cells in wide)


def drawn(shown: Sequence[Column], lines: Sequence[str], highlighted: Sequence[bool]) -> Table:
    """Columns as a table with lines below it, rows that are highlighted in another colour."""
    caption = Text(terminal_text(" ".join(lines)))
    table = Table(caption=caption, caption_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.show_edge = table.pad_edge = False
    for column in shown:
        table.add_column(
            _narrow(column.heading),
            justify="right" if column.number else "left",
            no_wrap=column.number,
            overflow="fold",
        )
    for n in range(len(shown[0].cells)):
        # Text, because rich would read ddim[eta=0.5] as markup
        cells = [Text(terminal_text(_aligned(column, n)), style="bold" if column.best[n] else "") for column in shown]
        table.add_row(*cells, style="cyan" if highlighted and highlighted[n] else None)
    return table


def _aligned(column: Column, n: int) -> str:
    """A cell in brief, with a space where others have a mark, so that digits stand below digits."""
    cell, marks = column.brief[n], (ALIKE, DOUBTFUL)
    return f"{cell} " if any(each.endswith(marks) for each in column.brief) and not cell.endswith(marks) else cell


def _narrow(heading: str) -> Text:
    """A heading on two lines: FD (digits) ↓ as "FD ↓" above "(digits)", and "≤ 20 ms" as "≤ 20" above "ms"."""
    if heading.startswith("≤"):
        return Text("\n".join(heading.rsplit(" ", 1)))
    first, *others = _SHORT.get(heading, heading).replace("Δ ", "Δ\u00a0").split(" ")
    return Text(terminal_text("\n".join([" ".join([first, *others[1:]]), *others[:1]])))
