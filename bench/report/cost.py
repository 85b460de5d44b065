"""What a row of the table costs: from the raw times of its cells, however many of them were timed."""

from typing import NamedTuple

import numpy as np

from bench.bootstrap import median_interval
from bench.report.columns import Row, known
from bench.report.group import Floats, Group, mean, median

_MEASURED_ONCE = (
    *("latency_1_s_median", "best_batch", "best_throughput_img_per_s", "energy_j_per_image"),
    *("gflop_per_evaluation", "arithmetic_fraction", "threads"),
)
"""What stands in the record of a setting's first seed, as it is."""


class Times(NamedTuple):
    """Raw times of calls on so many images each.

    Attributes:
        batch: images of a call; None if no call was timed.
        latency: seconds of whole calls.
        network: seconds inside the network; none where the whole call was replayed from a graph.
        outside: seconds outside of it, of the cells that have a time inside for every call.
    """

    batch: int | None
    latency: Floats
    network: Floats
    outside: Floats


def times(cells: Group) -> Times:
    """The times of some cells pooled: of all that were timed with as many images a call as the first of them."""
    recorded = zip(*(cells.values(name) for name in ("timed_batch", "latency_s", "network_s")), strict=True)
    timed = [(batch, _seconds(total), _seconds(inside)) for batch, total, inside in recorded if known(batch)]
    batch = int(timed[0][0]) if timed else None
    pairs = [(total, inside) for size, total, inside in timed if size == batch]
    outside = [total - inside for total, inside in pairs if len(total) == len(inside)]
    return Times(batch, _pooled([a for a, _ in pairs]), _pooled([b for _, b in pairs]), _pooled(outside))


def cost(cells: Group, nfe: float) -> Row:
    """The cost columns of a row, NaN or None where nothing was measured.

    Args:
        cells: that become the row.
        nfe: network evaluations an image.
    """
    batch, latency, network, outside = times(cells)
    images_a_call = np.nan if batch is None else batch
    q1, half, q3 = np.quantile(latency, (0.25, 0.5, 0.75)).tolist() if len(latency) else (np.nan,) * 3
    low, high = median_interval(latency.tolist()) if len(latency) else (np.nan, np.nan)
    network_median, overhead_median = median(network), median(outside)
    row = {
        "timed_batch": images_a_call,
        "latency_s_median": half,
        "latency_s_q1": q1,
        "latency_s_q3": q3,
        "latency_s_ci_low": low,
        "latency_s_ci_high": high,
        "timed_calls": len(latency),
        "s_per_image_median": half / images_a_call,
        "throughput_img_per_s": images_a_call / half,
        "evaluations_per_s": nfe * images_a_call / half,
        "eval_ms_median": 1000.0 * network_median / nfe if nfe else np.nan,
        "network_s_median": network_median,
        "overhead_s_median": overhead_median,
        "overhead_fraction": overhead_median / half,
        "first_call_s": median(cells.numbers("first_call_s")),
        "peak_mem_mib": max(cells.numbers("peak_mem_mib"), default=np.nan),
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


def _pooled(parts: list[Floats]) -> Floats:
    return np.concatenate(parts) if parts else np.empty(0)
