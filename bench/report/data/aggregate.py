"""From cells to rows of the table: seeds are averaged, raw times pooled, and the Pareto fronts found."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.report.data.columns import CLOCK, KEYS, PROTOCOL, Row, known
from bench.report.data.distances import Quality, fd_columns, quality_columns, rank_columns
from bench.report.data.gaps import PAIRS, pairs_of
from bench.report.data.group import Columns, Group, columns_of, deviation, mean
from bench.report.data.row_cost import cost
from bench.report.data.significance import half_width, resolution, standard_error

_CARRIED = (
    *("dtype", "channels_last", "compile", "graph"),
    *("family", "stochastic", "device", "extractor", "reference", "reference_count", "kid_subset_size", "nfe_declared"),
    "reference_features",
    *("sigma_start", "sigma_end", "final_denoising", "model_source", "extractor_official", "solver_images"),
)


def aggregate(cells: pd.DataFrame) -> pd.DataFrame:
    """One row for all cells that differ in the seed only, in the order of their first cells; failed cells left out.

    Cells of several runs are pooled, unless a seed was measured more than once: a repetition is no new seed, so each
    run then has its own row.

    Args:
        cells: records with a `run` and a `baseline` column and all of `KEYS`.

    Returns:
        The identity columns, `run`, `seeds` (how many), `cells` (their ids), `baseline`, cost from all raw times (see
        `cost`), and quality: means over seeds with standard deviations (ddof 1) over seeds where there are several,
        else within the cell, as `std_over` says, and half the width of the 95 % confidence interval of the mean,
        `<quality>_ci`, where there is one (see `significance`); `PAIRS`, what differences are made from (see `gaps`).
        `pareto_nfe` and `pareto_seconds` mark the fronts.
    """
    columns = columns_of(cells[cells["status"] == "ok"])
    quality = quality_columns(columns)
    rows = [_row(Group(columns, at), quality) for at in _settings(columns)]
    if not rows:
        return pd.DataFrame(columns=[*KEYS, "run", "seeds", "cells", "baseline"])
    return with_fronts(pd.DataFrame.from_records(rows))


def _settings(columns: Columns) -> list[list[int]]:
    """The places of the cells of each row."""
    keys = list(zip(*(map(_plain, columns[name]) for name in KEYS), strict=True))
    seeds: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for key, seed in zip(keys, columns["seed"], strict=True):
        seeds[key].append(seed)
    repeated = {key for key, found in seeds.items() if len(set(found)) < len(found)}
    rows: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for n, (key, run) in enumerate(zip(keys, columns["run"], strict=True)):
        rows[(*key, run if key in repeated else "")].append(n)
    return list(rows.values())


def _plain(value: Any) -> Any:
    """A value that equals itself: every kind of missing is None."""
    return None if value is None or value != value else value


def _row(cells: Group, quality: Sequence[Quality]) -> Row:
    row: Row = {key: cells.first(key) for key in (*KEYS, *_CARRIED) if key in cells}
    row["run"] = " + ".join(dict.fromkeys(cells.values("run")))
    row["baseline"] = any(cells.values("baseline"))
    row["seeds"] = len(set(cells.values("seed")))
    row["cells"] = cells.values("id")
    row["nfe"] = mean(cells.numbers("nfe"))
    row |= cost(cells, row["nfe"])
    row["std_over"] = "seeds" if row["seeds"] > 1 else "subsets, splits or jackknife of the cell"
    for each in quality:
        row |= _quality(cells, each, row["seeds"], resolution(row, each))
    row[PAIRS] = {each.key: found for each in quality if len(found := pairs_of(cells, each)) == row["seeds"]}
    return row


def _quality(cells: Group, quality: Quality, seeds: int, step: float) -> Row:
    values = cells.numbers(quality.key)
    std = deviation(values) if seeds > 1 else mean(cells.numbers(quality.std))
    # where some seed has no value, those that are left are no sample of all
    error = standard_error(std, seeds, quality.jackknife, step) if len(values) == seeds else None
    row: Row = {quality.key: mean(values), quality.std: std, quality.ci: half_width(error)}
    if quality.floor is not None and quality.floor in cells:
        row[quality.floor] = mean(cells.numbers(quality.floor))
    return row


def pareto(cost: Sequence[float], distance: Sequence[float]) -> list[bool]:
    """Which points no other point beats: at most its cost and at most its distance, and less of one of them.

    Points with an unknown coordinate are never on the front.
    """
    points = list(zip(cost, distance, strict=True))
    order = sorted((c, d, n) for n, (c, d) in enumerate(points) if known(c) and known(d))
    front = [False] * len(points)
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
    rows are a part of their own.
    """
    found: list[tuple[pd.DataFrame, str | None]] = []
    for _, rows in table.groupby(list(PROTOCOL), dropna=False, sort=False) if len(table) else ():
        rank = measured_rank(rows)
        if rank is None or rank in fd_columns(rows.columns):
            found.append((rows, rank))
        else:
            parts = [part for _, part in rows.groupby("model_sha256", sort=False)]
            found += [(part, measured_rank(part)) for part in parts]
    return found


def measured_rank(rows: pd.DataFrame) -> str | None:
    """The column that some rows of one protocol are ranked by; None if none of `rank_columns` was measured."""
    return next((name for name in rank_columns(rows.columns) if rows[name].notna().any()), None)
