"""The blocks as Markdown, LaTeX and HTML."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pandas as pd

from bench.escape import html_text, latex_text, markdown_text, needs_other_engine, plain_line
from bench.report.data.summary import Summary
from bench.report.data.text import Column, flat
from bench.report.tables.blocks import Block, blocks
from bench.report.tables.paper import MOST_COLUMNS
from bench.report.tables.remarks import remarks

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

_PAGE = 45
"""Rows of a LaTeX table that fit on a page."""
_FIT = r"\resizebox{\ifdim\width>\linewidth \linewidth\else \width\fi}{!}"
"""Scales what follows to the width of the text if it is wider."""
_ENGINE = "% Of some letters pdflatex prints the numbers: use xelatex or lualatex, with a font that has them."


def markdown(summary: Summary) -> str:
    """Answers, tables, their notes and remarks."""
    parts = [f"## {markdown_text(flat(summary.title))}"]
    if not summary.sections:
        parts += [markdown_text(each.sentence) for each in summary.answers]
    for block in blocks(summary):
        parts += [f"### {markdown_text(block.heading)}"] if block.heading else []
        parts += [f"**{markdown_text(sentence)}**" for sentence in block.answers]
        table = markdown_table(block.table)
        if block.short:
            parts.append(markdown_table(block.short))
            parts += ["The median over settings, and the range."] if block.kind == "modes" else []
            # what a reader opens, where Markdown is shown as a page
            table = f"<details>\n<summary>{block.whole}</summary>\n\n{table}\n\n</details>"
        parts += [table, _list(block.notes)]
    if lines := remarks(summary):
        parts.append(_list(lines))
    return "\n\n".join(parts) + "\n"


def markdown_table(shown: Sequence[Column]) -> str:
    """A table, best values bold."""
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


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {markdown_text(line)}" for line in lines)


def latex(summary: Summary) -> str:
    """All tables, to be read with \\input beside booktabs and graphicx; the answers stand above, as comments."""
    lines = ["% Needs \\usepackage{booktabs,graphicx}. Made by sampler-bench from the records; do not edit."]
    lines += [f"% {plain_line(answer.sentence)}" for answer in summary.answers]
    below, found = remarks(summary), blocks(summary)
    if not summary.sections:
        lines += [latex_text(remark) + "\n" for remark in below]
    # remarks are about all tables, and stand below that of the last section
    last = next((block for block in reversed(found) if block.kind == "rows"), None)
    for block in found:
        lines.append("\n".join(_latex_parts(block, flat(summary.title), below if block is last else ())))
    if any(map(needs_other_engine, lines)):
        lines.insert(1, _ENGINE)
    return "\n".join(lines)


def _latex_parts(block: Block, title: str, below: Sequence[str]) -> list[str]:
    """The table, after its leaderboard if it has one; where it may be long, in parts short enough for a page."""
    if block.kind == "paper":
        return _papers(block, title)
    heading = "" if block.kind == "rows" or block.heading is None else block.heading
    about = f"{title}: {heading[:1].lower()}{heading[1:]}" if heading else title
    caption = " ".join([f"{about}.", *block.notes])
    leaders = block.short if block.kind == "rows" else None
    if block.kind != "modes" and leaders is None:
        return [latex_table(block.table, caption, below)]
    starts = range(0, len(block.table[0].cells), _PAGE)
    name = "modes" if leaders is None else f"all{block.whole.removeprefix('All')}"
    parts = [
        latex_table(_part(block.table, start), f"{title}: {name}, part {n} of {len(starts)}.")
        for n, start in enumerate(starts, 1)
    ]
    if leaders is not None:
        return [latex_table(leaders, caption, below), *parts]
    return [latex_table(_part(block.table, 0), caption), *parts[1:]]


def _papers(block: Block, title: str) -> list[str]:
    """Samplers by budget, in parts narrow and short enough for a page; the first has the notes."""
    names, budgets = block.table[0], block.table[1:]
    wide = [[names, *budgets[n : n + MOST_COLUMNS]] for n in range(0, len(budgets), MOST_COLUMNS)]
    starts = _starts(len(names.cells), block.groups)
    parts = [(columns, rows) for columns in wide for rows in pairwise(starts)]
    tables = []
    for n, (columns, (start, end)) in enumerate(parts, 1):
        told = (
            f"{title}: samplers by budget, part {n} of {len(parts)}."
            if n > 1
            else " ".join([f"{title}.", *block.notes])
        )
        rules = [group - start for group in block.groups if start < group < end]
        tables.append(latex_table(_part(columns, start, end), told, rules=rules))
    return tables


def _starts(rows: int, groups: Sequence[int]) -> list[int]:
    """Where the parts of a table begin, about as long as one another, and its end; no heading stands last in one."""
    size = -(-rows // -(-rows // (_PAGE - 1)))
    return [0, *(start - (start - 1 in groups) for start in range(size, rows, size)), rows]


def _part(shown: Sequence[Column], start: int, end: int | None = None) -> list[Column]:
    rows = slice(start, start + _PAGE if end is None else end)
    return [replace(each, cells=each.cells[rows], best=each.best[rows]) for each in shown]


def latex_table(shown: Sequence[Column], caption: str, below: Sequence[str] = (), *, rules: Sequence[int] = ()) -> str:
    """A table for booktabs, with sentences below it, and rules above the rows of these numbers."""
    layout = "".join("r" if each.number else r"p{0.3\linewidth}" if _is_list(each, shown) else "l" for each in shown)
    styler = _styler(shown, "textbf: --rwrap", "latex").format(_latex_cell).format_index(_latex_cell, axis=1)
    tabular = _ruled(styler.to_latex(hrules=True, column_format=layout), rules)
    lines = "".join(f"\\par\\raggedright\\footnotesize {latex_text(line)}\n" for line in below)
    size = "\\small\n\\setlength{\\tabcolsep}{4pt}"
    heading = f"\\begin{{table}}\n\\centering\n\\caption{{{latex_text(caption)}}}\n{size}\n"
    return f"{heading}{_FIT}{{%\n{tabular}}}\n{lines}\\end{{table}}\n"


def _ruled(tabular: str, rules: Sequence[int]) -> str:
    """A table with rules, each row of which is a line after that of the rule below the headings."""
    lines = tabular.splitlines(keepends=True)
    first = lines.index("\\midrule\n") + 1
    for number in sorted(rules, reverse=True):
        lines.insert(first + number, "\\midrule\n")
    return "".join(lines)


def _latex_cell(cell: object) -> str:
    return latex_text(str(cell))


def html_table(shown: Sequence[Column], identity: str, groups: Sequence[int] = ()) -> str:
    """A table, each cell escaped; words are aligned to the left.

    Args:
        shown: its columns.
        identity: makes its CSS ids unique on a page.
        groups: the numbers of the rows that are headings of those below.
    """
    styler = _styler(shown, "font-weight: 700", identity)
    left = {each.heading: "text-align: left" for each in shown if not each.number}
    if _is_list(shown[-1], shown):
        left[shown[-1].heading] += "; white-space: normal; min-width: 12rem"
    styler.set_table_styles({name: [{"selector": "", "props": props}] for name, props in left.items()})
    for n in groups:
        place = f"tbody tr:nth-child({n + 1}) td"
        styler.set_table_styles([{"selector": place, "props": "padding-top: 1rem"}], overwrite=False)
    return styler.format(html_text).format_index(html_text, axis=1).to_html()


def _is_list(column: Column, shown: Sequence[Column]) -> bool:
    """Whether a column is a list of names, which may take lines: it stands last and is no number."""
    return column is shown[-1] and not column.number


def _styler(shown: Sequence[Column], bold: str, identity: str) -> "Styler":
    """A styler with the best cells bold. Its identity is fixed, so that the same records give the same bytes."""
    frame = pd.DataFrame({column.heading: column.cells for column in shown}, dtype=object)
    styles = pd.DataFrame({each.heading: [bold if best else "" for best in each.best] for each in shown}, dtype=object)
    from pandas.io.formats.style import Styler  # older ones import matplotlib, which most outputs do not need

    styler = Styler(frame, uuid=identity, cell_ids=False)
    return styler.hide(axis="index").apply(lambda _: styles, axis=None)
