"""The table that papers print: samplers by budget, each cell its quality; the baseline on top, families in groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from bench.report.data.budgets import Budgets, TableLine, budgets, room_order
from bench.report.data.columns import CLOCK, UNGUIDED, USUAL_MODE, Row, invalid
from bench.report.data.distances import Quality, of_key
from bench.report.data.gaps import TESTED
from bench.report.data.section import Section
from bench.report.data.series import usual
from bench.report.data.summary import Summary
from bench.report.data.text import ALIKE, DOUBTFUL, NOTHING, Column, marked, words
from bench.report.tables.cost_notes import cost_notes
from bench.report.tables.notes import interval_note, small_n, what_it_means
from bench.report.tables.table import ranks, value_texts

MOST_COLUMNS = 8
"""Budgets that a page or a terminal shows beside one another: as many as the widest of the papers' tables have."""

MANY_LINES = 30
"""Lines beyond which the terminal shows only those that stand out, as the figures do."""

FAILED = "failed"


@dataclass(frozen=True)
class Paper:
    """The table, as it is shown.

    Attributes:
        table: its columns.
        notes: sentences below it.
        groups: the numbers of the rows that are headings of those below.
        baseline: the number of the baseline's row; None: it is not there.
        spare: the headings of columns in the order in which they are left out where there is no room.
        lines: by row, the line of figures that it is; None of a heading.
    """

    table: list[Column]
    notes: list[str]
    groups: tuple[int, ...]
    baseline: int | None
    spare: tuple[str, ...]
    lines: tuple[TableLine | None, ...]


def paper(section: Section, summary: Summary) -> Paper | None:
    """The table of a section; None if there is nothing to show in it."""
    key = summary.view.metric or section.rank
    quality = None if key is None else of_key(key)
    found = None if quality is None else budgets(section, summary, quality)
    if quality is None or found is None:
        return None
    lines = _with_headings(found.lines)
    names = [each if isinstance(each, str) else _name(each) for each in lines]
    groups = tuple(n for n, each in enumerate(lines) if isinstance(each, str))
    first = words("Sampler", names)
    first = Column(first.heading, first.cells, first.brief, [n in groups for n in range(len(names))], number=False)
    shown = [first, *_columns(found, lines, quality)]
    headings = [each.heading for each in shown[1:]]
    return Paper(
        shown,
        _notes(section, found, quality, shown),
        groups,
        next((n for n, each in enumerate(lines) if isinstance(each, TableLine) and each.baseline is not None), None),
        tuple(headings[n] for n in room_order(found)),
        tuple(None if isinstance(each, str) else each for each in lines),
    )


def _with_headings(lines: Sequence[TableLine]) -> list[TableLine | str]:
    """The lines with the family, and the model that is not the study's own, above the first of each group."""
    titles = [f"{line.family}{'' if line.model is None else f', {line.model}'}" for line in lines]
    told = len({title for line, title in zip(lines, titles, strict=True) if line.baseline is None}) > 1
    found, before = list[TableLine | str](), ""
    for line, title in zip(lines, titles, strict=True):
        if told and line.baseline is None and title != before:
            found.append(title)
            before = title
        found.append(line)
    return found


def _name(line: TableLine) -> str:
    nowhere = f" ({FAILED})" if -1 in line.failed and not line.cells else ""
    return f"{line.label}{'' if line.baseline is None else _baseline(line.baseline)}{nowhere}"


def _baseline(row: Row) -> str:
    return f" (baseline: {row['nfe']:,.6g} NFE)"


def _columns(found: Budgets, lines: Sequence[TableLine | str], quality: Quality) -> list[Column]:
    rows = {id(row): row for line in found.lines for row in line.cells.values()}
    texts = dict(zip(rows, zip(*value_texts(quality, list(rows.values())), strict=True), strict=True))
    return [_column(found, n, heading, lines, quality, texts) for n, heading in enumerate(_headings(found))]


def _column(
    found: Budgets,
    n: int,
    heading: str,
    lines: Sequence[TableLine | str],
    quality: Quality,
    texts: Mapping[int, tuple[str, str]],
) -> Column:
    """A budget, of lines and headings of groups, with the texts of rows: means, and half their intervals."""
    here = [line.cells[n] for line in found.lines if n in line.cells]
    within = CLOCK if found.by == "seconds" else ()
    best, apart = ranks(quality, here, [texts[id(row)][0] for row in here], within)
    several, marks = len(here) > 1, {id(row): pair for row, *pair in zip(here, best, apart, strict=True)}
    cells = list[tuple[str, str, str, bool, bool]]()
    for line in lines:
        row = line.cells.get(n) if isinstance(line, TableLine) else None
        if row is None:
            cells.append(
                ("" if isinstance(line, str) else FAILED if n in line.failed else NOTHING, "", "", False, False)
            )
            continue
        (mean, half), (first, differs) = texts[id(row)], marks[id(row)]
        mark = ALIKE * (differs is False and several) + DOUBTFUL * (found.by == "seconds" and invalid(row))
        told = f"{_told(row, found, n)}{mean}"
        cells.append((told, half, mark, bool(first and several), differs is not None and several))
    return marked(heading, *map(list, zip(*cells, strict=True)))


def _told(row: Row, found: Budgets, n: int) -> str:
    """What stands before a value that is not of the column's evaluations."""
    if found.by == "seconds" or (found.by == "nfe" and row["nfe"] != found.columns[n]):
        return f"({_count(row)}) "
    return ""


def _count(row: Row) -> str:
    return f"{row['nfe']:,.1f}".removesuffix(".0")


def _headings(found: Budgets) -> list[str]:
    if found.by == "nfe":
        return [f"NFE {count:,.0f}" for count in found.columns]
    if found.by == "steps":
        return [f"{count:,.0f} {'step' if count == 1 else 'steps'}" for count in found.columns]
    return [f"≤ {1000 * count:g} ms" if count < 1 else f"≤ {count:,g} s" for count in found.columns]


def _notes(section: Section, found: Budgets, quality: Quality, shown: Sequence[Column]) -> list[str]:
    rows = list({id(row): row for line in found.lines for row in line.cells.values()}.values())
    frame = pd.DataFrame.from_records(rows)
    cells = [cell for column in shown[1:] for cell in column.brief]
    floors = ", or both are at their floors" if quality.floor else ""
    tied = any(ALIKE in cell for cell in cells)
    lines = [
        f"{quality.name} of samplers by {_BUDGETS[found.by]}; {_GOOD[quality.better]}",
        _parentheses(found, cells),
        small_n(section, "table") if quality.key == section.rank else None,
        f"Protocol: {section.label}.",
        _clocks(section) if found.by == "seconds" else None,
        interval_note(frame, rows, [quality], any(any(column.tested) for column in shown)),
        f"Bold: the best of its column{f'; {ALIKE}: cannot be told from it ({TESTED}{floors})' if tied else ''}.",
        _untested(found, quality, shown),
        any(DOUBTFUL in cell for cell in cells) and f"{DOUBTFUL}: a time that does not hold up.",
        _usual(frame),
        found.left_out
        and f"{found.left_out:,} more rows of the same samplers and budgets stand in the table of all rows alone.",
        *cost_notes(rows),
        *what_it_means(section, frame, quality),
    ]
    return [line for line in lines if line]


_BUDGETS = {"nfe": "network evaluations an image (NFE)", "steps": "steps", "seconds": "time an image"}
_GOOD = {"min": "lower is better.", "max": "higher is better."}


def _parentheses(found: Budgets, cells: Sequence[str]) -> str:
    """What stands before values, and which setting of a sampler a column has."""
    parts = {
        "nfe": "",
        "steps": "Steps are not evaluations: some samplers take two or more a step.",
        "seconds": "A cell is the best that the sampler reached in as much time or less, chosen by these very values; "
        "in brackets the evaluations that it took.",
    }
    if found.by == "nfe" and any(cell.startswith("(") for cell in cells):
        return "In brackets: evaluations, where they are fewer than the column's."
    return parts[found.by]


def _clocks(section: Section) -> str:
    several = "; ranked by device and batch" if len(section.clocks()) > 1 else ""
    return f"Time: median of whole calls, {'; '.join(clock for clock, _ in section.clocks())}{several}."


def _untested(found: Budgets, quality: Quality, shown: Sequence[Column]) -> str | None:
    """The columns whose best has no interval."""
    names, ranked = list[str](), 0
    for n, column in enumerate(shown[1:]):
        several = sum(n in line.cells for line in found.lines) > 1
        ranked += several
        if several and not any(column.tested):
            names.append(column.heading)
    if not names:
        return None
    if len(names) == ranked:
        return "The best have no interval, so that nothing is tested against them."
    return f"{', '.join(names)}: the best has no interval, so that nothing is tested against it."


def _usual(frame: pd.DataFrame) -> str | None:
    """What the names leave out."""
    silent, parts = usual(frame), []
    for name, goes_without in (("grid", ""), ("guidance", UNGUIDED), ("mode", USUAL_MODE)):
        found = list(dict.fromkeys(map(str, frame[name])))
        if name in silent:
            parts.append(f"{name.capitalize()}: {silent[name]}, unless another is named.")
        elif len(found) == 1 and found[0] != goes_without:
            parts.append(f"{name.capitalize()}: {found[0]}.")
    return " ".join(parts) or None
