"""The tables as Markdown, LaTeX and HTML. What they say is decided in `display`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from bench.escape import html_text, latex_text, markdown_text, needs_other_engine, plain_line
from bench.report.data.columns import flat
from bench.report.data.published import Comparison
from bench.report.data.summary import Section, Summary
from bench.report.tables.display import Column, columns
from bench.report.tables.leaderboard import NOTE, is_long, leaderboard
from bench.report.tables.mode_table import MANY, mode_columns, mode_summary
from bench.report.tables.mode_table import TITLE as MODES
from bench.report.tables.mode_table import below as below_modes
from bench.report.tables.notes import notes
from bench.report.tables.published_table import TITLE, below, comparison_columns

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

_PAGE = 45
"""Rows of a LaTeX table that fit on a page."""
_FIT = r"\resizebox{\ifdim\width>\linewidth \linewidth\else \width\fi}{!}"
"""Scales what follows to the width of the text if it is wider."""
_ENGINE = "% Of some letters pdflatex prints the numbers: use xelatex or lualatex, with a font that has them."


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
    """Words are aligned to the left; what stands last and is no number is a list of names, which may take lines."""
    styler = _styler(shown, "font-weight: 700", identity)
    left = {each.heading: "text-align: left" for each in shown if not each.number}
    if not shown[-1].number:
        left[shown[-1].heading] += "; white-space: normal; min-width: 12rem"
    styler.set_table_styles({name: [{"selector": "", "props": props}] for name, props in left.items()})
    return styler.format(html_text).format_index(html_text, axis=1).to_html()


def html_modes(section: Section, identity: str) -> str | None:
    """The table of what modes cost and save, if a section has several."""
    return _html(mode_columns(section.modes), identity) if section.modes else None


def html_mode_summary(section: Section, identity: str) -> str | None:
    """The median of each mode, where there are many lines."""
    return _html(mode_summary(section.modes), identity) if len(section.modes) > MANY else None


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
        parts.append(_latex(_part(shown, start), f"{flat(title)}: all {lines:,} rows, part {n} of {len(starts)}.", ()))
    return "\n".join(parts)


def _latex(shown: list[Column], caption: str, remarks: Sequence[str]) -> str:
    wide = r"p{0.3\linewidth}"  # what stands last and is no number is a list of names
    layout = "".join("r" if each.number else wide if each is shown[-1] else "l" for each in shown)
    styler = _styler(shown, "textbf: --rwrap", "latex").format(_latex_cell).format_index(_latex_cell, axis=1)
    tabular = styler.to_latex(hrules=True, column_format=layout)
    below = "".join(f"\\par\\raggedright\\footnotesize {latex_text(remark)}\n" for remark in remarks)
    size = "\\small\n\\setlength{\\tabcolsep}{4pt}"
    heading = f"\\begin{{table}}\n\\centering\n\\caption{{{latex_text(caption)}}}\n{size}\n"
    return f"{heading}{_FIT}{{%\n{tabular}}}\n{below}\\end{{table}}\n"


def latex(summary: Summary) -> str:
    """All tables, to be read with \\input beside booktabs and graphicx; the answers stand above, as comments."""
    lines = ["% Needs \\usepackage{booktabs,graphicx}. Made by sampler-bench from the records; do not edit."]
    lines += [f"% {plain_line(answer.sentence)}" for answer in summary.answers]
    remarks = summary.remarks()
    if not summary.sections:
        lines += [latex_text(remark) + "\n" for remark in remarks]
    for section in summary.sections:  # remarks are about all tables, and stand below the last
        lines.append(latex_table(section, summary.title, remarks if section is summary.sections[-1] else ()))
        lines += _latex_modes(section, summary.title)
    if summary.published:
        caption = " ".join([f"{flat(summary.title)}: {TITLE[0].lower()}{TITLE[1:]}.", *below(summary.published)])
        lines.append(_latex(comparison_columns(summary.published), caption, ()))
    if any(map(needs_other_engine, lines)):
        lines.insert(1, _ENGINE)
    return "\n".join(lines)


def _latex_modes(section: Section, title: str) -> list[str]:
    """The table of modes in parts short enough for a page, what it means below the first."""
    shown, lines = mode_columns(section.modes), range(0, len(section.modes), _PAGE)
    caption = " ".join([f"{flat(title)}: {MODES[0].lower()}{MODES[1:]}.", *below_modes(section.modes)])
    captions = [caption, *(f"{flat(title)}: modes, part {n} of {len(lines)}." for n in range(2, len(lines) + 1))]
    return [_latex(_part(shown, n), caption, ()) for n, caption in zip(lines, captions, strict=False)]


def _part(shown: list[Column], start: int) -> list[Column]:
    rows = slice(start, start + _PAGE)
    return [replace(each, cells=each.cells[rows], best=each.best[rows]) for each in shown]


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
            whole = _folded(f"All {len(section.rows):,} rows", markdown_table(section))
            parts += [_markdown(leaderboard(section)), whole]
        else:
            parts.append(markdown_table(section))
        parts.append(_list(all_notes(section)))
        parts += _markdown_modes(section)
    if summary.published:
        parts += [f"### {TITLE}", _markdown(comparison_columns(summary.published))]
        parts.append(_list(below(summary.published)))
    if remarks := summary.remarks():
        parts.append(_list(remarks))
    return "\n\n".join(parts) + "\n"


def _markdown_modes(section: Section) -> list[str]:
    """What modes cost and save; where there are many lines, first the median of each mode."""
    found = section.modes
    if not found:
        return []
    parts, whole = [f"### {MODES}"], _markdown(mode_columns(found))
    if len(found) > MANY:
        parts += [_markdown(mode_summary(found)), "The median over settings, and the range."]
        whole = _folded(f"All {len(found):,} lines", whole)
    return [*parts, whole, _list(below_modes(found))]


def _folded(heading: str, text: str) -> str:
    """What a reader opens, where Markdown is shown as a page."""
    return f"<details>\n<summary>{heading}</summary>\n\n{text}\n\n</details>"


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {markdown_text(line)}" for line in lines)
