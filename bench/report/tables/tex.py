"""The blocks as LaTeX, as papers have their tables: a short caption, notes below, numbers aligned, methods cited."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from bench.escape import latex_text, needs_other_engine, plain_line
from bench.report.data.references import OURS, References, references
from bench.report.data.summary import Summary
from bench.report.data.text import Column, flat
from bench.report.data.view import Numbers
from bench.report.tables.blocks import Block
from bench.report.tables.marks import marked_blocks
from bench.report.tables.paper import MOST_COLUMNS
from bench.report.tables.remarks import remarks
from bench.report.tables.tabular import LIST, LISTED, NAME, NAMED, breakable, latex_table, layout_of, width_of

_PAGE = 45
"""Rows of a table that fit on a page."""
_ROOM = 120
"""Characters of a table's line beyond which it would be scaled down too far to be read."""
_LINE = 74
"""Characters of a line of notes."""
_CITED = 6
"""Lines of what is cited beside methods."""
_NOTES = 30
"""Lines of notes beyond which they stand behind a table, and not in it."""
_COLUMN = 44
"""Characters of a line beyond which a table stands across both columns of a page that has two."""
FIT = r"\resizebox{\ifdim\width>\linewidth \linewidth\else \width\fi}{!}"
"""Scales what follows to the width of the text if it is wider."""
_ENGINE = "% Of some letters pdflatex prints the numbers: use xelatex or lualatex, with a font that has them."
_PACKAGES = {
    "siunitx": r"% Needs \usepackage{booktabs,graphicx,siunitx}.",
    "plain": r"% Needs \usepackage{graphicx} and no other package.",
}
_SETUP = {
    "siunitx": "\\footnotesize\\setlength{\\tabcolsep}{4pt}\n\\sisetup{detect-weight,table-align-text-post=false}",
    "plain": r"\footnotesize\setlength{\tabcolsep}{4pt}",
}


@dataclass(frozen=True)
class _Style:
    """How all tables of a file are written.

    Attributes:
        numbers: how numbers are aligned.
        label: what their labels begin with.
        cited: what samplers cite, by their name in the records.
    """

    numbers: Numbers
    label: str
    cited: References

    def cite(self, keys: Sequence[str]) -> str:
        return f"~\\cite{{{','.join(keys)}}}" if keys else ""


@dataclass(frozen=True)
class _Table:
    """A part of a block: what stands in one float.

    Attributes:
        columns: its columns.
        caption: above it.
        notes: sentences below it, as LaTeX.
        samplers: by row, the sampler that is cited beside its name; none where nothing is.
        groups: the rows that are headings of those below.
    """

    columns: Sequence[Column]
    caption: str
    notes: Sequence[str] = ()
    samplers: Sequence[str | None] = ()
    groups: Sequence[int] = ()

    def rows(self, start: int, end: int | None) -> "_Table":
        """Some of its rows, without the notes of the first."""
        groups = [row - start for row in self.groups if start <= row and (end is None or row < end)]
        return replace(
            self, columns=_part(self.columns, start, end), samplers=self.samplers[start:end], groups=groups, notes=()
        )


def latex(summary: Summary, numbers: Numbers = "siunitx") -> str:
    """All tables, to be read with \\input; see `latex_files`."""
    return latex_files(summary, numbers)["table"]


def latex_files(summary: Summary, numbers: Numbers = "siunitx") -> dict[str, str]:
    """Files of LaTeX by name without its ending, to be read with \\input: `table` has all tables, each other file those
    of one kind (`table-samplers`, `table-rows`, ...), numbered where there are several, with the same labels.

    The answers stand above, as comments.

    Args:
        summary: what they say.
        numbers: how numbers are aligned, which says what packages it takes.
    """
    cited = references(summary)
    style = _Style(numbers, _label(summary), cited)
    above = [f"{_PACKAGES[numbers]} Made by sampler-bench from the records; do not edit."]
    # without any, BibTeX would fail
    above += ["% What is cited stands in references.bib.", *([] if cited.used else [f"\\nocite{{{OURS.key}}}"])]
    above += [f"% No entry for {plain_line(each)}." for each in cited.lacking]
    above += [f"% {plain_line(answer.sentence)}" for answer in summary.answers]
    below, found, lines = (
        [latex_text(each) for each in remarks(summary, alone=True)],
        marked_blocks(summary),
        list[str](),
    )
    if not summary.sections:
        lines += [f"{remark}\n" for remark in below]
    # remarks are about all tables, and stand below that of the last section
    last = next((block for block in reversed(found) if block.kind == "rows"), None)
    title, names = flat(summary.title), _names(found)
    pairs = [
        (name, table)
        for name, block in zip(names, found, strict=True)
        for table in _tables(block, title, below if block is last else ())
    ]
    tables = [table for _, table in pairs]
    if tables:
        tables[0] = replace(tables[0], notes=[*tables[0].notes, *_bibliography(tables, style)])
    else:
        lines += _bibliography([], style)
    floats = [_float(table, style, n) for n, table in enumerate(tables, 1)]
    files = {"table": [*above, *lines, *floats]}
    for (name, _), each in zip(pairs, floats, strict=True):
        files.setdefault(f"table-{name}", [*above]).append(each)
    return {name: "\n".join(_with_engine(each)) for name, each in files.items()}


_NAMES = {"paper": "samplers", "left_out": "left-out"}
"""What the files of blocks are called that are not called as their kind."""


def _names(found: Sequence[Block]) -> list[str]:
    """Names of the files of blocks, numbered from the second of a kind on."""
    kinds = [_NAMES.get(block.kind, block.kind) for block in found]
    counts = [kinds[: n + 1].count(kind) for n, kind in enumerate(kinds)]
    return [kind if count == 1 else f"{kind}-{count}" for kind, count in zip(kinds, counts, strict=True)]


def _with_engine(lines: list[str]) -> list[str]:
    return [*lines[:1], _ENGINE, *lines[1:]] if any(map(needs_other_engine, lines)) else lines


def _label(summary: Summary) -> str:
    """A name of letters, digits and dashes for the labels of the tables."""
    names = "-".join(dict.fromkeys(str(run.study["name"]) for run in summary.runs))
    return re.sub(r"[^A-Za-z0-9]+", "-", names).strip("-")[:60] or "run"


def _bibliography(tables: Sequence[_Table], style: _Style) -> list[str]:
    """A sentence that cites what is used besides the samplers that tables name."""
    named = {sampler for table in tables for sampler in table.samplers if sampler is not None}
    silent = [(name, keys) for name, keys in style.cited.samplers.items() if name not in named and keys]
    told = [*style.cited.others, *silent]
    words = [f"{latex_text(name)}{style.cite(keys)}" for name, keys in told]
    return [f"References: {'; '.join(words)}."] if words else []


def _tables(block: Block, title: str, below: Sequence[str]) -> list[_Table]:
    """The parts of a block, each narrow and short enough for a page; the first has the notes."""
    notes = [breakable(latex_text(each)) for each in block.notes]
    if block.kind == "paper":
        whole = _Table(block.table, f"{title}: {block.notes[0]}", notes[1:], block.samplers, block.groups)
        return _numbered(_divided(whole, MOST_COLUMNS), f"{title}: samplers by budget")
    name = {"rows": "all settings", "modes": "modes"}.get(block.kind, "")
    about = f"{title}: {block.heading[:1].lower()}{block.heading[1:]}" if block.heading else f"{title}: {name}"
    whole = _Table(block.table, f"{about}.", [*notes, *below], () if block.short else block.samplers)
    if block.kind == "rows" and block.short is not None:
        short = replace(whole, columns=block.short, caption=f"{title}: the best within each budget.")
        every = replace(whole, notes=())
        return [
            *_numbered(_divided(short), f"{title}: the best within each budget"),
            *_numbered(_divided(every), f"{title}: all{block.whole.removeprefix('All')}", first=True),
        ]
    return _numbered(_divided(whole), about)


def _numbered(parts: Sequence[_Table], name: str, *, first: bool = False) -> list[_Table]:
    """The parts with captions that say which each is; that of the first is its own unless it is told too."""
    if len(parts) == 1 and not first:
        return list(parts)
    captions = [f"{name}, part {n} of {len(parts)}." for n in range(1, len(parts) + 1)]
    kept = captions if first else [parts[0].caption, *captions[1:]]
    return [replace(part, caption=caption) for part, caption in zip(parts, kept, strict=True)]


def _divided(whole: _Table, most: int | None = None) -> list[_Table]:
    """A table in parts, at most so many columns beside the names in each, as many rows as a page has."""
    lines, parts = _lines(whole.notes), list[_Table]()
    for columns in _beside(whole.columns, most):
        taken = 0 if parts else lines + _CITED if lines <= _NOTES else _CITED  # the first has the notes
        starts = _starts(_heights(columns), whole.groups, _PAGE - taken)
        parts += [replace(whole, columns=columns).rows(start, end) for start, end in pairwise(starts)]
    return [replace(parts[0], notes=whole.notes), *parts[1:]]


def _beside(columns: Sequence[Column], most: int | None) -> list[list[Column]]:
    """Columns that stand in one part, beside those that say what a row is, as many as can be read."""
    keys = [each for n, each in enumerate(columns) if n == 0 or (most is None and _is_key(each))]
    others, parts = [each for each in columns if each not in keys], list[list[Column]]([[]])
    left = room = _ROOM - sum(map(width_of, keys))
    for each in others:
        width = width_of(each, each is columns[-1])
        if parts[-1] and (len(parts[-1]) == most or left < width):
            parts.append([])
            left = room
        parts[-1].append(each)
        left -= width
    return [[each for each in columns if each in keys or each in part] for part in parts]


def _is_key(column: Column) -> bool:
    return column.heading in ("Sampler", "Grid", "Guidance", "Mode", "Model", "Steps", "NFE")


def _lines(notes: Sequence[str]) -> int:
    """Lines that notes take, about."""
    return -(-len(" ".join(notes)) // _LINE)


def _starts(heights: Sequence[int], groups: Sequence[int], page: int) -> list[int]:
    """Where the parts of a table begin, about as long as one another, and its end; no heading stands last in one.

    Args:
        heights: lines that its rows take.
        groups: the rows that are headings of those below.
        page: lines that a page has.
    """
    count = -(-sum(heights) // (page - 1)) or 1
    starts, filled = [0], 0
    for row, height in enumerate(heights):
        # a heading and the row below it stay together
        needed = height + (heights[row + 1] if row in groups and row + 1 < len(heights) else 0)
        if row > starts[-1] and filled + needed > -(-sum(heights) // count) and row - 1 not in groups:
            starts.append(row)
            filled = 0
        filled += height
    return [*starts, len(heights)]


def _heights(columns: Sequence[Column]) -> list[int]:
    """Lines that rows take, about."""
    lists = [(each, layout_of(each, each is columns[-1])) for each in columns]
    lines = {LISTED: LIST, NAMED: NAME - 12}
    return [
        max([1, *(-(-len(each.cells[n]) // lines[layout]) for each, layout in lists if layout in lines)])
        for n in range(len(columns[0].cells))
    ]


def _part(shown: Sequence[Column], start: int, end: int | None) -> list[Column]:
    rows = slice(start, end)
    return [replace(each, cells=each.cells[rows], best=each.best[rows]) for each in shown]


def _float(table: _Table, style: _Style, n: int) -> str:
    """A table as a float, across both columns of a page where one is too narrow for it."""
    tabular = latex_table(table.columns, style.numbers, table.groups, [_cited(each, style) for each in table.samplers])
    wide = (
        sum(width_of(each, each is table.columns[-1]) for each in table.columns) > _COLUMN
        or len("".join(table.notes)) > 1500
    )
    name = "table*" if wide else "table"
    lines = [
        f"\\begin{{{name}}}",
        r"\centering\sloppy",
        f"\\caption{{{breakable(latex_text(table.caption))}}}",
        f"\\label{{tab:{style.label}-{n}}}",
        _SETUP[style.numbers],
        f"{FIT}{{%\n{tabular}}}",
    ]
    if table.notes and _lines(table.notes) <= _NOTES:
        lines += [
            r"\par\smallskip",
            r"\begin{minipage}{\linewidth}\raggedright\footnotesize",
            *table.notes,
            r"\end{minipage}",
        ]
    lines.append(f"\\end{{{name}}}\n")
    if _lines(table.notes) > _NOTES:
        start = f"{{\\raggedright\\footnotesize\\noindent Notes on Table~\\ref{{tab:{style.label}-{n}}}:"
        lines += [start, *table.notes, "\\par}\n"]
    return "\n".join(lines)


def _cited(sampler: str | None, style: _Style) -> str:
    return style.cite(style.cited.samplers.get(sampler, ())) if sampler is not None else ""
