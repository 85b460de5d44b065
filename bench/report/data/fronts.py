"""The Pareto fronts of rows, and which of them are ranked with one another."""

from collections.abc import Sequence

import pandas as pd

from bench.report.data.columns import CLOCK, PROTOCOL
from bench.report.data.distances import fd_columns, rank_columns
from bench.report.data.text import known


def pareto(cost: Sequence[float], distance: Sequence[float]) -> list[bool]:
    """Which points no other point beats: at most its cost and at most its distance, and less of one of them.

    Points with an unknown coordinate are never on the front.
    """
    order = sorted((c, d, n) for n, (c, d) in enumerate(zip(cost, distance, strict=True)) if known(c) and known(d))
    front = [False] * len(cost)
    best: tuple[float, float] | None = None
    for c, d, n in order:
        if best is None or d < best[1] or (c, d) == best:  # equal points do not beat each other
            front[n], best = True, (c, d)
    return front


def with_fronts(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `pareto_nfe` and `pareto_seconds`: which rows are on the fronts of their protocol."""
    table = table.assign(pareto_nfe=False, pareto_seconds=False)
    for rows, rank in protocols(table):
        if rank is None:
            continue
        table.loc[rows.index, "pareto_nfe"] = pareto(rows["nfe"].tolist(), rows[rank].tolist())
        for _, timed in rows.groupby(list(CLOCK), dropna=False, sort=False):
            seconds = timed["s_per_image_median"].tolist()
            table.loc[timed.index, "pareto_seconds"] = pareto(seconds, timed[rank].tolist())
    return table


def protocols(table: pd.DataFrame) -> list[tuple[pd.DataFrame, str | None]]:
    """The rows that are ranked with one another, and the column that they are ranked by; None if there is none.

    A Frechet distance to a reference ranks all rows of a protocol. Without one, each model has its own truth, and its
    rows are a part of their own; so are those of each flow where they are ranked by the error of its solution.
    """
    found: list[tuple[pd.DataFrame, str | None]] = []
    for _, rows in table.groupby(list(PROTOCOL), dropna=False, sort=False) if len(table) else ():
        rank = _measured_rank(rows)
        if rank is None or rank in fd_columns(rows.columns):
            found.append((rows, rank))
        else:
            for _, part in rows.groupby("model_sha256", sort=False):
                flows = ["flow_ends"] if _measured_rank(part) == "solver_rmse" else ["model_sha256"]
                parts = part.groupby(flows, dropna=False, sort=False)
                found += [(each, _measured_rank(each)) for _, each in parts]
    return found


def _measured_rank(rows: pd.DataFrame) -> str | None:
    """The column that some rows of one protocol are ranked by; None if none of `rank_columns` was measured."""
    return next((name for name in rank_columns(rows.columns) if rows[name].notna().any()), None)
