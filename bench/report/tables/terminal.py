"""The tables for the terminal, within 80 columns where they can be. What they say is decided in `display`."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from bench.escape import terminal_text
from bench.report.data.mode_effects import ModeCost
from bench.report.data.published import Comparison
from bench.report.data.summary import Section, Summary
from bench.report.tables.display import ALIKE, DOUBTFUL, NOTHING, SPEED_HEADINGS, Column, columns, measured
from bench.report.tables.leaderboard import is_long, leaderboard
from bench.report.tables.markup import all_notes
from bench.report.tables.mode_table import MANY, mode_columns, mode_summary
from bench.report.tables.mode_table import below as below_modes
from bench.report.tables.notes import notes
from bench.report.tables.published_table import below, comparison_columns

_SHORT = {"ms/image": "ms/img", "Overhead": "Over-\nhead", "Precision ↑": "Prec. ↑", "Evaluations": "Evalu-\nations"}
_SHORT |= {"Published": "Pub-\nlished", "Measured": "Meas-\nured", "Difference": "Differ-\nence"}
# a no-break space, so that the arrow stays below
_SHORT |= {
    "Solver RMSE ↓": "Solver\nRMSE\u00a0↓",
    "Nearest RMSE ↓": "Nearest\nRMSE\u00a0↓",
    "Law FD ↓": "Law\nFD\u00a0↓",
}
_SHORT |= {"Occupancy ↓": "Occu-\npancy\u00a0↓"}
"""Headings for the terminal, which may have no more than 80 columns."""

_ROOM = 5
"""Quality columns that 80 columns have room for beside all others."""
_SPARE = {1: ["Overhead"], 2: ["Precision ↑", "Recall ↑"], 4: ["KID ×10³ ↓", "IS ↑"]}
"""What stands in the files only, where there are so many more."""


def terminal_table(summary: Summary) -> Table:
    """The table for the terminal; where there are several protocols, a table for each; then the published values."""
    tables = [_terminal_section(section) for section in summary.sections]
    tables += [_terminal_modes(section.modes) for section in summary.sections if section.modes]
    tables += [_terminal_published(summary.published)] if summary.published else []
    if len(tables) == 1:
        return tables[0]
    grid = Table.grid(padding=(0, 0, 1, 0))
    for table in tables:
        grid.add_row(table)
    return grid


def _terminal_published(found: Sequence[Comparison]) -> Table:
    """Text that is the same in all lines stands below."""
    shown, lines = comparison_columns(found), below(found)
    alike = [each for each in shown[:-1] if not each.number and len(set(each.cells)) == 1]
    lines += [f"{each.heading}: {each.cells[0]}." for each in alike]
    return _terminal([each for each in shown if each not in alike], lines, [False] * len(found))


def _terminal_modes(found: Sequence[ModeCost]) -> Table:
    """A line for each setting and mode; where they are many, for each mode."""
    lines = below_modes(found)
    if len(found) > MANY:
        whole = (
            f"The median over settings, and the range. All {len(found):,} lines: table.md and modes.csv of the report."
        )
        return _terminal(shown := mode_summary(found), [whole, *lines], [False] * len(shown[0].cells))
    shown = mode_columns(found)
    if len(grids := set(shown[1].cells)) == 1:
        lines.append(f"{shown.pop(1).heading}: {grids.pop()}.")
    return _terminal(shown, lines, [False] * len(found))


def _terminal_section(section: Section) -> Table:
    """Within 80 columns if it can be: short headings on two lines, no intervals, and a grid that all share below."""
    if is_long(section):
        shown = leaderboard(section)
        whole = f"All {len(section.rows):,} rows: table.md, table.csv and index.html of the report."
        return _terminal(shown, [whole, *all_notes(section)], [budget == NOTHING for budget in shown[0].cells])
    shown, lines = columns(section), notes(section)
    if len(grids := set(shown[1].cells)) == 1:
        lines.append(f"{shown.pop(1).heading}: {grids.pop()}.")
    more = len(measured(section)) - _ROOM + _wide_modes(shown)
    spare = {*SPEED_HEADINGS, *(name for least, names in _SPARE.items() if more >= least for name in names)}
    spared = [each for each in shown if each.heading in spare]
    if spared:
        shown = [each for each in shown if each not in spared]
        lines.append(f"{', '.join(each.heading.rstrip(' ↓↑') for each in spared)}: in table.md.")
    return _terminal(shown, lines, [bool(each) for each in section.rows["baseline"]])


def _wide_modes(shown: list[Column]) -> int:
    """How many columns of numbers the names of modes take the room of."""
    longest = max((len(cell) for column in shown if column.heading == "Mode" for cell in column.cells), default=0)
    return -(-longest // 8)


def _terminal(shown: list[Column], lines: list[str], baseline: list[bool]) -> Table:
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
    for n, highlighted in enumerate(baseline):
        # Text, because rich would read ddim[eta=0.5] as markup
        cells = [Text(terminal_text(_aligned(column, n)), style="bold" if column.best[n] else "") for column in shown]
        table.add_row(*cells, style="cyan" if highlighted else None)
    return table


def _aligned(column: Column, n: int) -> str:
    """A cell in brief, with a space where others have a mark, so that digits stand below digits."""
    cell, marks = column.brief[n], (ALIKE, DOUBTFUL)
    return f"{cell} " if any(each.endswith(marks) for each in column.brief) and not cell.endswith(marks) else cell


def _narrow(heading: str) -> Text:
    """A heading on two lines: FD (digits) ↓ as "FD ↓" above "(digits)"."""
    first, *others = _SHORT.get(heading, heading).replace("Δ ", "Δ\u00a0").split(" ")
    return Text(terminal_text("\n".join([" ".join([first, *others[1:]]), *others[:1]])))
