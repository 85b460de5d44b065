"""The table as Markdown, LaTeX, HTML and for the terminal. What it says is decided in `display`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from bench.report.columns import flat
from bench.report.display import ALIKE, NOTHING, Column, columns, measured
from bench.report.escape import latex_text, markdown_text
from bench.report.leaderboard import NOTE, is_long, leaderboard
from bench.report.notes import notes
from bench.report.published import Comparison
from bench.report.reproduction import TITLE, below, comparison_columns
from bench.report.summary import Section, Summary

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

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

_PAGE = 45
"""Rows of a LaTeX table that fit on a page."""


def all_notes(section: Section) -> list[str]:
    """The notes of a table, and of its leaderboard if it has one."""
    return [*notes(section), *([NOTE] if is_long(section) else [])]


def _latex_cell(cell: object) -> str:
    return latex_text(str(cell))


def _frame(shown: list[Column]) -> pd.DataFrame:
    return pd.DataFrame({column.heading: column.cells for column in shown}, dtype=object)


def _styler(shown: list[Column], bold: str, identity: str) -> "Styler":
    """A styler with the best cells bold. Its identity is fixed, so that the same records give the same bytes."""
    frame = _frame(shown)
    styles = pd.DataFrame({each.heading: [bold if best else "" for best in each.best] for each in shown}, dtype=object)
    from pandas.io.formats.style import Styler  # older ones import matplotlib, which most outputs do not need

    styler = Styler(frame, uuid=identity, cell_ids=False)
    return styler.hide(axis="index").apply(lambda _: styles, axis=None)


def html_table(section: Section, identity: str) -> str:
    """The table of a protocol; `identity` makes its CSS ids unique on a page."""
    return _html(columns(section), identity)


def html_leaderboard(section: Section, identity: str) -> str | None:
    """The leaderboard of a long table."""
    return _html(leaderboard(section), identity) if is_long(section) else None


def _html(shown: list[Column], identity: str) -> str:
    styler = _styler(shown, "font-weight: 700", identity)
    return styler.format(escape="html").format_index(escape="html", axis=1).to_html()


def html_published(found: Sequence[Comparison], identity: str) -> str | None:
    """The table of published values, if there are any."""
    return _html(comparison_columns(found), identity) if found else None


def latex_table(section: Section, title: str, remarks: Sequence[str] = ()) -> str:
    """The table of a protocol for booktabs, remarks below it.

    A long table is a leaderboard and then several `table` environments, each short enough for a page.
    """
    shown, caption = columns(section), " ".join([f"{flat(title)}.", *all_notes(section)])
    if not is_long(section):
        return _latex(shown, caption, remarks)
    lines = len(section.rows)
    starts = range(0, lines, _PAGE)
    parts = [_latex(leaderboard(section), caption, remarks)]
    for n, start in enumerate(starts, 1):
        rows = slice(start, start + _PAGE)
        part = [replace(each, cells=each.cells[rows], best=each.best[rows]) for each in shown]
        parts.append(_latex(part, f"{flat(title)}: all {lines:,} rows, part {n} of {len(starts)}.", ()))
    return "\n".join(parts)


def _latex(shown: list[Column], caption: str, remarks: Sequence[str]) -> str:
    wide = r"p{0.3\linewidth}"  # what stands last and is no number is a list of names
    layout = "".join("r" if each.number else wide if each is shown[-1] else "l" for each in shown)
    styler = _styler(shown, "textbf: --rwrap", "latex").format(_latex_cell).format_index(_latex_cell, axis=1)
    tabular = styler.to_latex(hrules=True, column_format=layout)
    below = "".join(f"\\par\\footnotesize {latex_text(remark)}\n" for remark in remarks)
    heading = f"\\begin{{table}}\n\\centering\n\\caption{{{latex_text(caption)}}}\n\\small\n"
    return f"{heading}{tabular}{below}\\end{{table}}\n"


def latex(summary: Summary) -> str:
    """All tables, to be read with \\input in a document that loads booktabs; the answers stand above, as comments."""
    lines = ["% Needs \\usepackage{booktabs}. Made by sampler-bench from the records; do not edit."]
    lines += [f"% {flat(answer.sentence, 10_000)}" for answer in summary.answers]
    remarks = summary.remarks()
    if not summary.sections:
        lines += [latex_text(remark) + "\n" for remark in remarks]
    for section in summary.sections:  # remarks are about all tables, and stand below the last
        lines.append(latex_table(section, summary.title, remarks if section is summary.sections[-1] else ()))
    if summary.published:
        caption = " ".join([f"{flat(summary.title)}: {TITLE[0].lower()}{TITLE[1:]}.", *below(summary.published)])
        lines.append(_latex(comparison_columns(summary.published), caption, ()))
    return "\n".join(lines)


def markdown_table(section: Section) -> str:
    """The table of a protocol, best values bold."""
    return _markdown(columns(section))


def _markdown(shown: list[Column]) -> str:
    cells = {
        markdown_text(column.heading): [
            f"**{markdown_text(cell)}**" if best else markdown_text(cell)
            for cell, best in zip(column.cells, column.best, strict=True)
        ]
        for column in shown
    }
    align = ["right" if column.number else "left" for column in shown]
    # without disable_numparse, 1.20 becomes 1.2
    return pd.DataFrame(cells, dtype=object).to_markdown(index=False, disable_numparse=True, colalign=align)


def markdown(summary: Summary) -> str:
    """Answers, tables, their notes and remarks."""
    parts = [f"## {markdown_text(flat(summary.title))}"]
    if not summary.sections:
        parts += [markdown_text(each.sentence) for each in summary.answers]
    for section in summary.sections:
        if len(summary.sections) > 1:
            parts.append(f"### {markdown_text(section.label)}")
        parts += [f"**{markdown_text(each.sentence)}**" for each in section.answers]
        if is_long(section):
            parts += [_markdown(leaderboard(section)), f"All {len(section.rows):,} rows:"]
        parts.append(markdown_table(section))
        parts.append("\n".join(f"- {markdown_text(note)}" for note in all_notes(section)))
    if summary.published:
        parts += [f"### {TITLE}", _markdown(comparison_columns(summary.published))]
        parts.append("\n".join(f"- {markdown_text(line)}" for line in below(summary.published)))
    if remarks := summary.remarks():
        parts.append("\n".join(f"- {markdown_text(remark)}" for remark in remarks))
    return "\n\n".join(parts) + "\n"


def terminal_table(summary: Summary) -> Table:
    """The table for the terminal; where there are several protocols, a table for each; then the published values."""
    tables = [_terminal_section(section) for section in summary.sections]
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


def _terminal_section(section: Section) -> Table:
    """Within 80 columns if it can be: short headings on two lines, no intervals, and a grid that all share below."""
    if is_long(section):
        shown = leaderboard(section)
        whole = f"All {len(section.rows):,} rows: table.md, table.csv and index.html of the report."
        return _terminal(shown, [whole, *all_notes(section)], [budget == NOTHING for budget in shown[0].cells])
    shown, lines = columns(section), notes(section)
    if len(grids := set(shown[1].cells)) == 1:
        lines.append(f"{shown.pop(1).heading}: {grids.pop()}.")
    more = len(measured(section)) - _ROOM
    spared = [each for each in shown if any(each.heading in names for least, names in _SPARE.items() if more >= least)]
    if spared:
        shown = [each for each in shown if each not in spared]
        lines.append(f"{', '.join(each.heading.rstrip(' ↓↑') for each in spared)}: in table.md.")
    return _terminal(shown, lines, [bool(each) for each in section.rows["baseline"]])


def _terminal(shown: list[Column], lines: list[str], baseline: list[bool]) -> Table:
    table = Table(caption=Text(" ".join(lines)), caption_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
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
        cells = [Text(_aligned(column, n), style="bold" if column.best[n] else "") for column in shown]
        table.add_row(*cells, style="cyan" if highlighted else None)
    return table


def _aligned(column: Column, n: int) -> str:
    """A cell in brief, with a space where others have a mark, so that digits stand below digits."""
    cell = column.brief[n]
    return f"{cell} " if any(ALIKE in each for each in column.brief) and not cell.endswith(ALIKE) else cell


def _narrow(heading: str) -> Text:
    """A heading on two lines: FD (digits) ↓ as "FD ↓" above "(digits)"."""
    first, *others = _SHORT.get(heading, heading).split(" ")
    return Text("\n".join([" ".join([first, *others[1:]]), *others[:1]]))
