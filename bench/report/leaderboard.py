"""The short form of a long table: the best at each budget of evaluations, and what ties with it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import NormalDist

import pandas as pd

from bench.report.columns import BUDGETS, Row, guest, known, method, rows_of
from bench.report.display import NOTHING, Column, columns
from bench.report.summary import Section

LONG = 30
"""Rows from which on a table has a leaderboard."""

NOTE = (
    "Leaderboard: the best for as many evaluations or fewer. Ties: other samplers' best for as many, where Welch's "
    "t-test over seeds gives p > 0.05, not corrected for many comparisons; what has no standard deviation is not "
    "tested."
)

_KEPT = ("Sampler", "Grid", "Model", "Steps", "NFE", "ms/image")
_NAMED, _NAMED_BRIEFLY = 4, 2
"""Samplers that are named of those that cannot be told apart."""


@dataclass(frozen=True)
class Leader:
    """The best at a budget.

    Attributes:
        budget: most evaluations an image; infinite for no limit.
        row: the best.
        alike: the best rows of other samplers (on other grids, or with other models) that do not differ from it,
            in order; None where that cannot be tested.
    """

    budget: float
    row: Row
    alike: list[Row] | None


def is_long(section: Section) -> bool:
    """Whether a section has so many rows that its table needs a leaderboard, and distances to make it from."""
    return len(section.rows) >= LONG and bool(leaders(section))


def leaders(section: Section) -> list[Leader]:
    """The best at each of `BUDGETS` that some row needs, and without limit if some row needs more."""
    fd = section.fd
    if fd is None:
        return []
    rows = [row for row in rows_of(section.rows) if known(row[fd]) and known(row["nfe"])]
    limits = [
        high for low, high in pairwise((-1.0, *BUDGETS, math.inf)) if any(low < row["nfe"] <= high for row in rows)
    ]
    return [_leader([row for row in rows if row["nfe"] <= limit], limit, fd) for limit in limits]


def _leader(rows: list[Row], budget: float, fd: str) -> Leader:
    best = {method(row): row for row in sorted(rows, key=lambda row: -float(row[fd]))}
    first, *others = sorted(best.values(), key=lambda row: float(row[fd]))
    if not known(first[f"{fd}_std"]):
        return Leader(budget, first, None)
    return Leader(budget, first, [row for row in others if differ(first, row, fd) is False])


def differ(a: Row, b: Row, fd: str) -> bool | None:
    """Whether the distances of two rows differ by Welch's t-test at 5 %; None if one has no standard deviation.

    That of a single seed is a standard error already, and taken as known.
    """
    spreads = [(row[f"{fd}_std"], int(row["seeds"])) for row in (a, b)]
    if not all(known(spread) for spread, _ in spreads):
        return None
    variances = [(spread**2 / seeds, seeds) for spread, seeds in spreads]
    total = sum(variance for variance, _ in variances)
    doubt = sum(variance**2 / (seeds - 1) for variance, seeds in variances if seeds > 1)
    return bool(abs(a[fd] - b[fd]) > _quantile(total**2 / doubt if doubt else math.inf) * math.sqrt(total))


def _quantile(freedom: float) -> float:
    """Of Student's t distribution, 97.5 %."""
    if math.isinf(freedom):
        return NormalDist().inv_cdf(0.975)
    from scipy.special import stdtrit  # half a second, which only a long table costs

    return float(stdtrit(freedom, 0.975))


def leaderboard(section: Section) -> list[Column]:
    """The table of the leaders, with the baseline below."""
    found = leaders(section)
    budgets = [f"≤ {each.budget:,}" if math.isfinite(each.budget) else "any" for each in found]
    alike = [each.alike for each in found]
    rows = [each.row for each in found]
    for row in rows_of(section.rows[section.rows["baseline"]]):
        rows, budgets, alike = [*rows, row], [*budgets, NOTHING], [*alike, []]
    shown = columns(replace(section, rows=pd.DataFrame.from_records(rows, columns=list(section.rows.columns))))
    kept = [each for each in shown if each.heading in _KEPT or each.heading.startswith(("FD", "FID"))]
    several = section.rows["grid"].nunique() > 1
    names = [_names(each, several, _NAMED) for each in alike]
    brief = [_names(each, several, _NAMED_BRIEFLY) for each in alike]
    none = [False] * len(rows)
    return [
        Column("Evaluations", budgets, budgets, none, number=False),
        *kept,
        Column("Ties", names, brief, none, number=False),
    ]


def _names(rows: Sequence[Row] | None, several: bool, most: int) -> str:
    if rows is None:
        return "not tested"
    names = []
    for row in rows:
        grid = f" on {row['grid']}" if several else ""
        names.append(row["sampler"] + grid + (f" with {row['model']}" if guest(row) else ""))
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}" or NOTHING
