"""What a row of the table costs: from the raw times of its cells, however many of them were timed."""

from typing import NamedTuple

import numpy as np

from bench.report.data.columns import Row, known
from bench.report.data.group import Floats, Group, mean, median
from bench.timing.bootstrap import median_interval, round_medians

_MEASURED_ONCE = (
    *("latency_1_s_median", "best_batch", "best_throughput_img_per_s", "energy_j_per_image"),
    *("gflop_per_evaluation", "arithmetic_fraction", "threads"),
)
"""What stands in the record of a setting's first seed, as it is."""


class PooledTimes(NamedTuple):
    """Raw times of calls on so many images each.

    Attributes:
        batch: images of a call; None if no call was timed.
        latency: seconds of whole calls.
        network: seconds inside the network; none where the whole call was replayed from a graph.
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
    timed = [(_seconds(total), _seconds(inside), calls) for size, total, inside, calls in recorded if size == batch]
    return PooledTimes(
        batch,
        _pooled([total for total, _, _ in timed]),
        _pooled([inside for _, inside, _ in timed]),
        _pooled([total - inside for total, inside, _ in timed if len(total) == len(inside)]),
        _pooled([_rounds(total, calls) for total, _, calls in timed]),
    )


def cost(cells: Group, nfe: float) -> Row:
    """The cost columns of a row, NaN or None where nothing was measured.

    Args:
        cells: that become the row.
        nfe: network evaluations an image.
    """
    batch, latency, network, outside, rounds = times(cells)
    images_a_call = np.nan if batch is None else batch
    q1, half, q3 = np.quantile(latency, (0.25, 0.5, 0.75)).tolist() if len(latency) else (np.nan,) * 3
    low, high = median_interval(rounds.tolist()) if len(rounds) else (np.nan, np.nan)
    network_median, overhead_median = median(network), median(outside)
    row = {
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
        "first_call_s": median(cells.numbers("first_call_s")),
        "peak_mem_mib": max(cells.numbers("peak_mem_mib"), default=np.nan),
        "held_mem_mib": max(cells.numbers("held_mem_mib"), default=np.nan),
    }
    return row | _flags(cells) | {name: cells.first_known(name) for name in _MEASURED_ONCE if name in cells}


def _flags(cells: Group) -> Row:
    """Whether times hold up and why not, and how the network was started, as far as the records say it."""
    row: Row = {name: _all(cells, name) for name in ("timing_valid", "captured") if name in cells}
    if "timing_note" in cells:
        notes = [note for note in cells.values("timing_note") if isinstance(note, str)]
        row["timing_note"] = "; ".join(dict.fromkeys(notes)) or None
    if "compile_s" in cells:
        row["compile_s"] = mean(cells.numbers("compile_s"))
    return row


def _all(cells: Group, name: str) -> bool | None:
    """Whether a flag holds in all cells that have it; None if none has."""
    flags = [bool(value) for value in cells.values(name) if known(value)]
    return all(flags) if flags else None


def _seconds(value: object) -> Floats:
    return np.asarray(value, dtype=np.float64) if isinstance(value, list) else np.empty(0)


def _rounds(latency: Floats, calls: object) -> Floats:
    return np.asarray(round_medians(latency.tolist(), calls)) if isinstance(calls, list) else latency


def _pooled(parts: list[Floats]) -> Floats:
    return np.concatenate(parts) if parts else np.empty(0)
