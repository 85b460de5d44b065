"""From cells to rows of the table: seeds are averaged and raw times pooled."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.report.data.columns import KEYS, NEWER_KEYS, Row
from bench.report.data.distances import Quality, quality_columns
from bench.report.data.fronts import with_fronts
from bench.report.data.significance import half_width, resolution, standard_error
from bench.report.data.text import known, known_text
from bench.timing.bootstrap import median_interval, round_medians

Floats = NDArray[np.float64]
Columns = Mapping[str, Sequence[Any]]

PAIRS = "pairs"
"""The column of a row that has its `pairs_of`, by quality; never written."""

_CARRIED = (
    *("dtype", "channels_last", "compile", "graph"),
    *("family", "stochastic", "device", "extractor", "reference", "reference_count", "kid_subset_size", "nfe_declared"),
    *("reference_features", "class_accuracy_real", "clip_model", "clip_sha256", "prompts_sha256", "solver_steps"),
    *("sigma_start", "sigma_end", "final_denoising", "model_source", "extractor_official", "solver_images"),
    *("guidance_parameters", "guidance_model", "calls_declared"),
)
_MEASURED_ONCE = (
    *("latency_1_s_median", "best_batch", "best_throughput_img_per_s", "energy_j_per_image"),
    *("gflop_per_evaluation", "guidance_gflop_per_evaluation", "arithmetic_fraction", "threads"),
)
"""What stands in the record of a setting's first seed, as it is."""


def columns_of(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """A list for each column of a frame: going through lists is many times as fast as through rows."""
    return {str(name): frame[name].tolist() for name in frame.columns}


class Group:
    """Some cells: those that become one row of the table.

    Args:
        columns: of all cells.
        at: the places of these, one or more.
    """

    def __init__(self, columns: Columns, at: Sequence[int]) -> None:
        self._columns, self._at = columns, at

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def values(self, name: str) -> list[Any]:
        """A column as it is recorded; nothing if there is no such column."""
        column = self._columns.get(name)
        return [] if column is None else [column[n] for n in self._at]

    def numbers(self, name: str) -> Floats:
        """The measured values of a column; none if there is no such column."""
        return np.asarray([value for value in self.values(name) if known(value)], dtype=np.float64)

    def first_known(self, name: str) -> Any:
        """The first value of a column that is not missing; None if all are."""
        return next((value for value in self.values(name) if known_text(value)), None)

    def all_hold(self, name: str) -> bool | None:
        """Whether a flag holds in all cells that have it; None if none has."""
        flags = [bool(value) for value in self.values(name) if known(value)]
        return all(flags) if flags else None


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
        there is one (see `significance`); `PAIRS`, what differences are made from. `pareto_nfe` and `pareto_seconds`
        mark the fronts.
    """
    columns = columns_of(cells[cells["status"] == "ok"])
    quality = quality_columns(columns)
    rows = [_row(Group(columns, at), quality) for at in _settings(columns)]
    if not rows:
        return pd.DataFrame(columns=[*KEYS, "run", "seeds", "cells", "baseline"])
    return with_fronts(pd.DataFrame.from_records(rows))


def _settings(columns: Columns) -> list[list[int]]:
    """The places of the cells of each row."""
    # every kind of missing is None, which equals itself
    names = [*KEYS, *(name for name in NEWER_KEYS if name in columns)]
    keys = list(zip(*([None if v is None or v != v else v for v in columns[name]] for name in names), strict=True))
    seeds: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for key, seed in zip(keys, columns["seed"], strict=True):
        seeds[key].append(seed)
    repeated = {key for key, found in seeds.items() if len(set(found)) < len(found)}
    rows: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for n, (key, run) in enumerate(zip(keys, columns["run"], strict=True)):
        rows[(*key, run if key in repeated else "")].append(n)
    return list(rows.values())


def _row(cells: Group, quality: Sequence[Quality]) -> Row:
    row: Row = {key: cells.values(key)[0] for key in (*KEYS, *_CARRIED) if key in cells}
    row["run"] = " + ".join(dict.fromkeys(cells.values("run")))
    row["baseline"] = any(cells.values("baseline"))
    row["seeds"] = len(set(cells.values("seed")))
    row["cells"] = cells.values("id")
    row["nfe"] = _mean(cells.numbers("nfe"))
    # older records do not say how often the model was asked, which was as often as the network was evaluated
    row["calls"] = _mean(calls) if len(calls := cells.numbers("calls")) else row["nfe"]
    if "guidance_batches" in cells:
        row["guidance_batches"] = max(cells.numbers("guidance_batches"), default=np.nan)
    row |= _cost(cells, row["nfe"])
    row["std_over"] = "seeds" if row["seeds"] > 1 else "subsets, splits or jackknife of the cell"
    for each in quality:
        row |= _quality(cells, each, row["seeds"], resolution(row, each))
    if "solver_rmse" in cells or "psnr" in cells:
        row["flow_ends"] = _flow_ends(row)
    if "solver_rmse_reference" in cells:
        row["solver_rmse_reference"] = _mean(cells.numbers("solver_rmse_reference"))
    row[PAIRS] = {each.key: found for each in quality if len(found := pairs_of(cells, each)) == row["seeds"]}
    return row


def _flow_ends(row: Row) -> str:
    """What the exact flow of solver errors goes between: where a grid begins lower, or ends above the data, there is
    another one, and less to err by.
    """
    ends = row.get("sigma_start"), 0.0 if row.get("final_denoising") else row.get("sigma_end")
    return " to ".join(f"{each:.6g}" if known(each) else "inf" for each in ends)


def pairs_of(cells: Group, quality: Quality) -> dict[Any, list[float]]:
    """The value and those without a block of images each, of the seeds whose records have them."""
    columns = (cells.values(name) for name in ("seed", quality.key, f"{quality.key}_left_out"))
    found = zip(*columns, strict=False)
    return {seed: [value, *left] for seed, value, left in found if known(value) and isinstance(left, list)}


def _quality(cells: Group, quality: Quality, seeds: int, step: float) -> Row:
    values = cells.numbers(quality.key)
    std = deviation(values) if seeds > 1 else _mean(cells.numbers(quality.std))
    # where some seed has no value, those that are left are no sample of all
    error = standard_error(std, seeds, quality.jackknife, step) if len(values) == seeds else None
    row: Row = {quality.key: _mean(values), quality.std: std, quality.ci: half_width(error)}
    if quality.floor is not None and quality.floor in cells:
        row[quality.floor] = _mean(cells.numbers(quality.floor))
    return row


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else np.nan


def _median(values: Floats) -> float:
    return float(np.median(values)) if len(values) else np.nan


def deviation(values: Floats) -> float:
    """Over seeds (ddof 1), exactly 0 of equal values; NaN of fewer than two."""
    if len(values) < 2:
        return np.nan
    return float(np.std(values, ddof=1)) if np.ptp(values) else 0.0


class PooledTimes(NamedTuple):
    """Raw times of calls on so many images each.

    Attributes:
        batch: images of a call; None if no call was timed.
        latency: seconds of whole calls.
        network: seconds inside the network; none where whole calls were replayed from a graph, or evaluations overlap.
        outside: seconds outside of it, of the cells that have a time inside for every call.
        rounds: medians of whole calls by round, which intervals are of; where records tell no rounds, each call.
    """

    batch: int | None
    latency: Floats
    network: Floats
    outside: Floats
    rounds: Floats


def times(cells: Group) -> PooledTimes:
    """The times of some cells pooled: of all that were timed with as many images a call as the first of them."""
    batches = cells.values("timed_batch")
    batch = next((int(each) for each in batches if known(each)), None)
    counts = cells.values("timing_calls") or [None] * len(batches)
    recorded = zip(batches, cells.values("latency_s"), cells.values("network_s"), counts, strict=True)
    timed = [
        (_seconds(total), _inside(total, inside), calls) for size, total, inside, calls in recorded if size == batch
    ]
    return PooledTimes(
        batch,
        _pooled([total for total, _, _ in timed]),
        _pooled([inside for _, inside, _ in timed]),
        _pooled([total - inside for total, inside, _ in timed if len(total) == len(inside)]),
        _pooled([_rounds(total, calls) for total, _, calls in timed]),
    )


def _seconds(value: object) -> Floats:
    return np.asarray(value, dtype=np.float64) if isinstance(value, list) else np.empty(0)


def _inside(total: object, inside: object) -> Floats:
    """Of each call; none where evaluations overlapped, and so take longer together than a call."""
    whole, part = _seconds(total), _seconds(inside)
    overlap = len(whole) == len(part) and bool((part > whole).any())
    return np.empty(0) if overlap else part


def _rounds(latency: Floats, calls: object) -> Floats:
    return np.asarray(round_medians(latency.tolist(), calls)) if isinstance(calls, list) else latency


def _pooled(parts: list[Floats]) -> Floats:
    return np.concatenate(parts) if parts else np.empty(0)


def _cost(cells: Group, nfe: float) -> Row:
    """The cost columns of a row of so many evaluations an image, NaN or None where nothing was measured."""
    batch, latency, network, outside, rounds = times(cells)
    images_a_call = np.nan if batch is None else batch
    q1, half, q3 = np.quantile(latency, (0.25, 0.5, 0.75)).tolist() if len(latency) else (np.nan,) * 3
    low, high = median_interval(rounds.tolist()) if len(rounds) else (np.nan, np.nan)
    network_median, overhead_median = _median(network), _median(outside)
    row: Row = {
        "timed_batch": images_a_call,
        "latency_s_median": half,
        "latency_s_q1": q1,
        "latency_s_q3": q3,
        "latency_s_ci_low": low,
        "latency_s_ci_high": high,
        "timed_calls": len(latency),
        "timed_rounds": len(rounds),
        "s_per_image_median": half / images_a_call,
        "throughput_img_per_s": images_a_call / half,
        "evaluations_per_s": nfe * images_a_call / half,
        "eval_ms_median": 1000.0 * network_median / nfe if nfe else np.nan,
        "network_s_median": network_median,
        "overhead_s_median": overhead_median,
        "overhead_fraction": overhead_median / half,
        "first_call_s": _median(cells.numbers("first_call_s")),
        "peak_mem_mib": max(cells.numbers("peak_mem_mib"), default=np.nan),
        "held_mem_mib": max(cells.numbers("held_mem_mib"), default=np.nan),
    }
    row |= {name: cells.all_hold(name) for name in ("timing_valid", "captured") if name in cells}
    if "timing_note" in cells:
        notes = [note for note in cells.values("timing_note") if isinstance(note, str)]
        row["timing_note"] = "; ".join(dict.fromkeys(notes)) or None
    if "decode_batch" in cells:
        row |= _decoding(cells, half / images_a_call)
    for name in ("compile_s", "fit_images", "fit_nfe", "fit_s"):
        if name in cells:
            row[name] = _mean(cells.numbers(name))
    return row | {name: cells.first_known(name) for name in _MEASURED_ONCE if name in cells}


def _decoding(cells: Group, sampling: float) -> Row:
    """What decoding latents takes an image, and both together; of a model of images, sampling alone."""
    batches = cells.values("decode_batch")
    recorded = zip(cells.values("decode_s") or [None] * len(batches), batches, strict=True)
    decoded = _median(_pooled([_seconds(times) / batch for times, batch in recorded if known(batch)]))
    return {
        "decode_batch": max(cells.numbers("decode_batch"), default=np.nan),
        "decode_s_per_image": decoded,
        "total_seconds": sampling + (decoded if any(map(known, batches)) else 0.0),
    }
