"""What a report shows, as one list of blocks that Markdown, LaTeX, HTML and the terminal render."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from bench.report.data.decided import TITLE as LEFT_OUT
from bench.report.data.decided import left_out_columns, left_out_notes, left_out_summary
from bench.report.data.fits import TITLE as FITS
from bench.report.data.fits import fit_columns, fit_notes
from bench.report.data.looks import Decisions
from bench.report.data.modes import TITLE as MODES
from bench.report.data.modes import ModeCost, mode_columns, mode_notes, mode_summary
from bench.report.data.published import TITLE as PUBLISHED
from bench.report.data.published import Comparison, published_columns, published_notes
from bench.report.data.section import Section
from bench.report.data.series import outstanding
from bench.report.data.summary import Summary
from bench.report.data.text import NOTHING, Column
from bench.report.tables.leaderboard import NOTE, is_long, leaderboard
from bench.report.tables.notes import notes
from bench.report.tables.paper import MANY_LINES, Paper, paper
from bench.report.tables.table import columns

MANY_MODES = 30
"""Lines of a table of modes beyond which it has a short form."""


@dataclass(frozen=True)
class Block:
    """A table with what stands around it.

    Attributes:
        kind: what it is of.
        heading: above it, if there is one.
        answers: sentences above it.
        table: the whole table.
        notes: sentences below it.
        short: the short form of a long one, which stands before it.
        whole: what the long one is called there, "All 201 rows".
        files: where a reader of the terminal finds it.
        spared: headings of columns that the terminal says below where all cells are alike.
        highlighted: rows of what the terminal shows that are the baseline's.
        groups: the numbers of the rows that are headings of those below.
        spare: headings of columns that are left out one after the other where there is no room for all.
        samplers: by row, the sampler that its name is of, as records have it; None of a heading; none where nothing is
            cited beside names.
        outstanding: the numbers of the rows that the terminal shows, where it does not show all.
    """

    kind: Literal["paper", "rows", "fits", "modes", "left_out", "published"]
    heading: str | None
    table: list[Column]
    notes: list[str]
    answers: tuple[str, ...] = ()
    short: list[Column] | None = None
    whole: str = ""
    files: str = ""
    spared: tuple[str, ...] = ("Grid", "Guidance")
    highlighted: tuple[bool, ...] = ()
    groups: tuple[int, ...] = ()
    spare: tuple[str, ...] = ()
    samplers: tuple[str | None, ...] = ()
    outstanding: tuple[int, ...] | None = None


@lru_cache(maxsize=1)
def groups(summary: Summary) -> list[list[Block]]:
    """The blocks of each section, those of its samplers, rows, fits and modes; then that of the published values.

    All renderings of a summary share them: to test which values can be told apart takes longest.
    """
    found = [_section(section, summary) for section in summary.sections]
    if found and summary.decisions is not None and summary.decisions.left_early:
        found[-1].append(_left_out(summary.decisions))
    found += [[_published(summary.published)]] if summary.published else []
    if summary.left_out is None:
        return found
    return [[replace(each, notes=_with_selection(each, summary.left_out)) for each in group] for group in found]


def _with_selection(block: Block, told: str) -> list[str]:
    """The notes with what a selection leaves out, which stands first; that of what papers print has its subject."""
    at = block.kind == "paper"
    return [*block.notes[:at], told, *block.notes[at:]]


def blocks(summary: Summary) -> list[Block]:
    """All blocks, in order."""
    return [block for group in groups(summary) for block in group]


def _section(section: Section, summary: Summary) -> list[Block]:
    """The blocks of a section; heading and answers stand above the first."""
    # of settings that are left of those of another section it would say little
    whole = summary.decisions is None or section.images == summary.decisions.everyone
    shown = [*(_paper(section, summary) if whole else []), _rows(section), *_fits(section), *_modes(section.modes)]
    heading = section.label if len(summary.sections) > 1 else None
    answers = tuple(_sentences(section, summary))
    return [replace(shown[0], heading=heading, answers=answers), *shown[1:]]


def _sentences(section: Section, summary: Summary) -> list[str]:
    """Its answers; where images grow, the answer of the last look stands above the table of all settings."""
    if not any(each.first for each in summary.sections):
        return [each.sentence for each in section.answers]
    if section.first:
        return [each.sentence for each in summary.answers] if section is summary.sections[0] else []
    return [f"What was left at {section.images:,} images, for the answer above."]


def _paper(section: Section, summary: Summary) -> list[Block]:
    found = paper(section, summary)
    if found is None:
        return []
    return [
        Block(
            "paper",
            None,
            found.table,
            found.notes,
            files="table.md and index.html",
            highlighted=tuple(n == found.baseline for n in range(len(found.lines))),
            groups=found.groups,
            spare=found.spare,
            samplers=tuple(None if each is None else each.key[0] for each in found.lines),
            outstanding=_outstanding(found, section) if len(found.lines) > MANY_LINES else None,
        )
    ]


def _outstanding(found: Paper, section: Section) -> tuple[int, ...]:
    """The rows of the lines that stand out in the figures, under the headings of their groups, and the baseline's."""
    stand_out = outstanding(section)
    shown = [each is not None and (each.baseline is not None or each.key in stand_out) for each in found.lines]
    ends = (*found.groups[1:], len(shown)) if found.groups else ()
    headings = [n for n, end in zip(found.groups, ends, strict=True) if any(shown[n:end])]
    return tuple(sorted([*headings, *(n for n, each in enumerate(shown) if each)]))


def _rows(section: Section) -> Block:
    table = columns(section)
    if not is_long(section):
        baseline = tuple(bool(row["baseline"]) for row in section.records)
        samplers = tuple(str(row["sampler"]) for row in section.records)
        return Block("rows", None, table, notes(section, table), highlighted=baseline, samplers=samplers)
    short = leaderboard(section)
    return Block(
        "rows",
        None,
        table,
        [*notes(section, table), NOTE],
        short=short,
        whole=f"All {len(section.rows):,} rows",
        files="table.md, table.csv and index.html",
        spared=(),
        highlighted=tuple(budget == NOTHING for budget in short[0].cells),
    )


def _fits(section: Section) -> list[Block]:
    found = section.fits
    return [Block("fits", FITS, fit_columns(found), fit_notes(found), files="table.md and index.html")] if found else []


def _modes(found: list[ModeCost]) -> list[Block]:
    if not found:
        return []
    table, lines = mode_columns(found), mode_notes(found)
    if len(found) <= MANY_MODES:
        return [Block("modes", MODES, table, lines)]
    whole, files = f"All {len(found):,} lines", "table.md and modes.csv"
    return [Block("modes", MODES, table, lines, short=mode_summary(found), whole=whole, files=files)]


def _left_out(decisions: Decisions) -> Block:
    found = decisions.left_early
    table, short = left_out_columns(found), left_out_summary(found)
    files = "table.md and index.html"
    return Block("left_out", LEFT_OUT, table, left_out_notes(decisions), short=short, whole="All settings", files=files)


def _published(found: list[Comparison]) -> Block:
    spared = ("Source", "Sampler", "Grid", "Guidance", "Metric")
    return Block("published", PUBLISHED, published_columns(found), published_notes(found), spared=spared)
