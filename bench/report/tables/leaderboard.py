"""The short form of a long table: the best at each budget of evaluations, and what ties with it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import pandas as pd

from bench.report.data.columns import BUDGETS, Row, clip_suffix, line, with_words
from bench.report.data.distances import of_key
from bench.report.data.gaps import TESTED, told_apart
from bench.report.data.section import Section
from bench.report.data.text import ALIKE, NOTHING, Column, known, named, words
from bench.report.tables.table import columns

LONG = 30
"""Rows from which on a table has a leaderboard."""

NOTE = (
    "Leaderboard: the best for as many evaluations or fewer. Ties: other samplers' best for as many that cannot be "
    f"told from it ({TESTED}); what has no interval is not tested."
)

_KEPT = ("Sampler", "Grid", "Guidance", "Model", "Mode", "Steps", "NFE", "Fit NFE", "ms/image")
_NAMED, _NAMED_BRIEFLY = 4, 2
"""Samplers that are named of those that cannot be told apart."""


@dataclass(frozen=True)
class Leader:
    """The best at a budget.

    Attributes:
        budget: most evaluations an image; infinite for no limit.
        row: the best.
        alike: the best rows of other samplers (on other grids, with other models or guidances; not in other modes only)
            that do not differ from it, in order; None where that cannot be tested.
    """

    budget: float
    row: Row
    alike: list[Row] | None


def is_long(section: Section) -> bool:
    """Whether a section has so many rows that its table needs a leaderboard, and what to rank them by."""
    return len(section.rows) >= LONG and bool(_ranked(section))


def leaders(section: Section) -> list[Leader]:
    """The best at each of `BUDGETS` that some row needs, and without limit if some row needs more."""
    rows = _ranked(section)
    spans = pairwise((-1.0, *BUDGETS, math.inf))
    limits = [high for low, high in spans if any(low < row["nfe"] <= high for row in rows)]
    return [_leader([row for row in rows if row["nfe"] <= limit], limit, str(section.rank)) for limit in limits]


def _ranked(section: Section) -> list[Row]:
    """The rows that have a place in the leaderboard; none without a distance to rank by."""
    if section.rank is None:
        return []
    return [row for row in section.records if known(row[section.rank]) and known(row["nfe"])]


def _leader(rows: list[Row], budget: float, rank: str) -> Leader:
    best: dict[tuple[str, ...], Row] = {}
    for row in sorted(rows, key=lambda row: float(row[rank])):
        best.setdefault(line(row), row)
    first, *others = best.values()
    apart = told_apart(first, others, of_key(rank))
    if apart and all(each is None for each in apart):
        return Leader(budget, first, None)
    return Leader(budget, first, [row for row, each in zip(others, apart, strict=True) if each is False])


def leaderboard(section: Section) -> list[Column]:
    """The table of the leaders, with the baseline below."""
    found = leaders(section)
    baseline = [row for row in section.records if row["baseline"]]
    rows = [*(each.row for each in found), *baseline]
    budgets = [f"≤ {each.budget:,}" if math.isfinite(each.budget) else "any" for each in found]
    alike = [*(each.alike for each in found), *([] for _ in baseline)]
    shown = columns(replace(section, rows=pd.DataFrame.from_records(rows, columns=list(section.rows.columns))))
    ranked = [of_key(key).heading for key in (section.rank or "", f"{section.rank}_inf")]
    several = section.rows["grid"].nunique() > 1
    return [
        words("Evaluations", [*budgets, *(NOTHING for _ in baseline)]),
        # ties stand in their own column
        *(_unmarked(each) for each in shown if each.heading in (*_KEPT, *ranked)),
        words("Ties", *([_names(each, several, most) for each in alike] for most in (_NAMED, _NAMED_BRIEFLY))),
    ]


def _unmarked(column: Column) -> Column:
    cells, brief = ([cell.rstrip(f" {ALIKE}") for cell in cells] for cells in (column.cells, column.brief))
    return replace(column, cells=cells, brief=brief)


def _names(rows: Sequence[Row] | None, several: bool, most: int) -> str:
    if rows is None:
        return "not tested"
    names = []
    for row in rows:
        grid = f" on {row['grid']}" if several else ""
        names.append(f"{row['sampler']}{grid}{with_words(row)}{clip_suffix(row)}")
    return named(names, most) or NOTHING
