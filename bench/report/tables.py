"""The table as Markdown, LaTeX, HTML and for the terminal. What it says is decided in `display`."""

import re
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
from pandas.io.formats.style import Styler
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from bench.report.columns import flat
from bench.report.display import NOTHING, Column, columns, notes
from bench.report.leaderboard import NOTE, is_long, leaderboard
from bench.report.summary import Section, Summary

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # a row that begins with a bare one would be read as an argument of the \\ before it
    "*": "{*}",
    "±": r"$\pm$",
    "×10³": r"$\times 10^{3}$",
    "×": r"$\times$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "–": "--",  # noqa: RUF001
    "≤": r"$\leq$",
} | {character: f"\\{character}" for character in "&%$#_{}"}
_LATEX_SPECIAL = re.compile("|".join(map(re.escape, sorted(_LATEX, key=len, reverse=True))))


_SHORT = {"ms/image": "ms/img", "Overhead": "Over-\nhead", "Precision ↑": "Prec. ↑", "Evaluations": "Evalu-\nations"}
"""Headings for the terminal, which may have no more than 80 columns."""

_PAGE = 45
"""Rows of a LaTeX table that fit on a page."""


def all_notes(section: Section) -> list[str]:
    """The notes of a table, and of its leaderboard if it has one."""
    return [*notes(section), *([NOTE] if is_long(section) else [])]


def latex_text(text: str) -> str:
    """Plain text for LaTeX: specials escaped, and the symbols of our headings written as commands.

    pandas' own escaping leaves < > | and brackets at the start of a row, which LaTeX prints or reads as something else.
    """
    return _LATEX_SPECIAL.sub(lambda match: _LATEX[match[0]], text)


def _latex_cell(cell: object) -> str:
    return latex_text(str(cell))


def markdown_text(text: str) -> str:
    """Plain text for a Markdown table or list: what would be read as markup or as a cell's end is escaped."""
    return re.sub(r"[\\`*_|<>~\[\]]", r"\\\g<0>", text)


def _frame(shown: list[Column]) -> pd.DataFrame:
    return pd.DataFrame({column.heading: column.cells for column in shown}, dtype=object)


def _styler(shown: list[Column], bold: str, identity: str) -> Styler:
    """A styler with the best cells bold. Its identity is fixed, so that the same records give the same bytes."""
    frame = _frame(shown)
    styles = pd.DataFrame({each.heading: [bold if best else "" for best in each.best] for each in shown}, dtype=object)
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
    if remarks := summary.remarks():
        parts.append("\n".join(f"- {markdown_text(remark)}" for remark in remarks))
    return "\n\n".join(parts) + "\n"


def terminal_table(summary: Summary) -> Table:
    """The table for the terminal; where there are several protocols, a table for each under its label."""
    if len(summary.sections) == 1:
        return _terminal_section(summary.sections[0])
    grid = Table.grid(padding=(0, 0, 1, 0))
    for section in summary.sections:
        grid.add_row(_terminal_section(section))
    return grid


def _terminal_section(section: Section) -> Table:
    """Within 80 columns if it can be: short headings on two lines, no deviations, and a grid that all share below."""
    if is_long(section):
        shown = leaderboard(section)
        whole = f"All {len(section.rows):,} rows: table.md, table.csv and index.html of the report."
        return _terminal(shown, [whole, *all_notes(section)], [budget == NOTHING for budget in shown[0].cells])
    shown, below = columns(section), notes(section)
    if len(grids := set(shown[1].cells)) == 1:
        below.append(f"{shown.pop(1).heading}: {grids.pop()}.")
    return _terminal(shown, below, [bool(each) for each in section.rows["baseline"]])


def _terminal(shown: list[Column], below: list[str], baseline: list[bool]) -> Table:
    table = Table(caption=Text(" ".join(below)), caption_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
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
        cells = [Text(column.brief[n], style="bold" if column.best[n] else "") for column in shown]
        table.add_row(*cells, style="cyan" if highlighted else None)
    return table


def _narrow(heading: str) -> Text:
    """A heading on two lines: FD (digits) ↓ as "FD ↓" above "(digits)"."""
    first, *others = _SHORT.get(heading, heading).split(" ")
    return Text("\n".join([" ".join([first, *others[1:]]), *others[:1]]))
