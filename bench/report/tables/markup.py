"""The blocks as Markdown and HTML; `tex` has LaTeX."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.escape import html_text, markdown_text
from bench.report.data.summary import Summary
from bench.report.data.text import Column, flat
from bench.report.tables.blocks import blocks
from bench.report.tables.remarks import remarks


@cache
def templates(folder: Path) -> Environment:
    """The templates in a folder, whose texts are escaped."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        finalize=html_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


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


def html_table(shown: Sequence[Column], groups: Sequence[int] = ()) -> str:
    """A table, each cell escaped; how what is of a class looks, the page says.

    Args:
        shown: its columns.
        groups: the numbers of the rows that are headings of those below.
    """
    columns = []
    for each in shown:
        kind = "" if each.number else "names" if _is_list(each, shown) else "words"
        cells = zip(each.cells, each.best, strict=True)
        columns.append(
            [_html("th", each.heading, kind), *(_html("td", cell, kind, "best" * best) for cell, best in cells)]
        )
    heading, *lines = map("".join, zip(*columns, strict=True))
    starts = ['<tr class="group">' if n in groups else "<tr>" for n in range(len(lines))]
    rows = [f"{start}{line}</tr>" for start, line in zip(starts, lines, strict=True)]
    head = f"<thead><tr>{heading}</tr></thead>"
    return "\n".join(["<table>", head, "<tbody>", *rows, "</tbody>", "</table>"])


def _html(element: str, text: str, *classes: str) -> str:
    named = " ".join(filter(None, classes))
    start = f'{element} class="{named}"' if named else element
    return f"<{start}>{html_text(text)}</{element}>"


def _is_list(column: Column, shown: Sequence[Column]) -> bool:
    """Whether a column is a list of names, which may take lines: it stands last and is no number."""
    return column is shown[-1] and not column.number
