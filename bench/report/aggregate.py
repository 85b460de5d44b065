"""From cells to rows of the table: seeds are averaged, raw times pooled, and the Pareto fronts found."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.report.columns import CLOCK, KEYS, PROTOCOL, Row, known
from bench.report.quality import Quality, fd_columns, quality_columns, rank_columns
from bench.report.significance import half_width, standard_error

Floats = NDArray[np.float64]

_CARRIED = (
    *("family", "stochastic", "device", "extractor", "reference", "reference_count", "kid_subset_size", "nfe_declared"),
    *("sigma_start", "sigma_end", "final_denoising", "model_source", "extractor_official", "solver_images"),
)


def aggregate(cells: pd.DataFrame) -> pd.DataFrame:
    """One row for all cells that differ in the seed only, in the order of their first cells; failed cells left out.

    Cells of several runs are pooled, unless a seed was measured more than once: a repetition is no new seed, so each
    run then has its own row.

    Args:
        cells: records with a `run` and a `baseline` column and all of `KEYS`.

    Returns:
        The identity columns, `run`, `seeds` (how many), `cells` (their ids), `baseline`, cost from all raw times, and
        quality: means over seeds with standard deviations (ddof 1) over seeds where there are several, else within the
        cell, as `std_over` says, and half the width of the 95 % confidence interval of the mean, `<quality>_ci`, where
        there is one (see `significance`). `pareto_nfe` and `pareto_seconds` mark the fronts.
    """
    good = cells[cells["status"] == "ok"]
    keys = list(KEYS)
    repeated = good.duplicated([*keys, "seed"], keep=False)
    clash = repeated.groupby([good[key] for key in keys], dropna=False).transform("any")
    good = good.assign(part=good["run"].where(clash.astype(bool), ""))
    quality = quality_columns(good.columns)
    groups = good.groupby([*keys, "part"], dropna=False, sort=False)
    rows = [_row(group, quality) for _, group in groups] if len(good) else []
    if not rows:
        return pd.DataFrame(columns=[*KEYS, "run", "seeds", "cells", "baseline"])
    return _with_fronts(pd.DataFrame.from_records(rows))


def _row(group: pd.DataFrame, quality: Sequence[Quality]) -> Row:
    first = group.iloc[0]
    row: Row = {key: first[key] for key in (*KEYS, *_CARRIED) if key in group.columns}
    row["run"] = " + ".join(dict.fromkeys(group["run"]))
    row["baseline"] = bool(group["baseline"].any())
    row["seeds"] = int(group["seed"].nunique())
    row["cells"] = group["id"].tolist()
    row["nfe"] = _mean(_numbers(group, "nfe"))
    row |= _cost(group, row)
    row["std_over"] = "seeds" if row["seeds"] > 1 else "subsets, splits or jackknife of the cell"
    for each in quality:
        row |= _quality(group, each, row["seeds"])
    return row


def _quality(group: pd.DataFrame, quality: Quality, seeds: int) -> Row:
    values = _numbers(group, quality.key)
    if seeds > 1:
        std = float(np.std(values, ddof=1)) if len(values) > 1 else np.nan
    else:
        std = _mean(_numbers(group, quality.std))
    # where some seed has no value, those that are left are no sample of all
    error = standard_error(std, seeds, quality.jackknife) if len(values) == seeds else None
    row: Row = {quality.key: _mean(values), quality.std: std, quality.ci: half_width(error)}
    if quality.floor is not None and quality.floor in group.columns:
        row[quality.floor] = _mean(_numbers(group, quality.floor))
    return row


def _cost(group: pd.DataFrame, row: Row) -> Row:
    """Cost columns from the raw times of a row's cells; a timed call makes `batch` images, or all if they are fewer."""
    pairs = [(_times(cell["latency_s"]), _times(cell["network_s"])) for _, cell in group.iterrows()]
    latency = np.concatenate([total for total, _ in pairs])
    network = np.concatenate([inside for _, inside in pairs])
    outside = np.concatenate([total - inside for total, inside in pairs if len(total) == len(inside)] or [np.empty(0)])
    q1, median, q3 = np.quantile(latency, (0.25, 0.5, 0.75)).tolist() if len(latency) else (np.nan,) * 3
    images_a_call = min(row["batch"], row["images"])
    network_median, overhead_median = _median(network), _median(outside)
    return {
        "latency_s_median": median,
        "latency_s_q1": q1,
        "latency_s_q3": q3,
        "timed_calls": len(latency),
        "s_per_image_median": median / images_a_call,
        "throughput_img_per_s": images_a_call / median,
        "eval_ms_median": 1000.0 * network_median / row["nfe"] if row["nfe"] else np.nan,
        "network_s_median": network_median,
        "overhead_s_median": overhead_median,
        "overhead_fraction": overhead_median / median,
        "first_call_s": _median(_numbers(group, "first_call_s")),
        "peak_mem_mib": max(_numbers(group, "peak_mem_mib"), default=np.nan),
    }


def _times(value: object) -> Floats:
    return np.asarray(value, dtype=np.float64) if isinstance(value, list) else np.empty(0)


def _numbers(group: pd.DataFrame, column: str) -> Floats:
    """The measured values of a column; none if there is no such column."""
    values = group[column].tolist() if column in group.columns else []
    return np.asarray([value for value in values if known(value)], dtype=np.float64)


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else np.nan


def _median(values: Floats) -> float:
    return float(np.median(values)) if len(values) else np.nan


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


def _with_fronts(table: pd.DataFrame) -> pd.DataFrame:
    table[["pareto_nfe", "pareto_seconds"]] = False
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
