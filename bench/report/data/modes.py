"""What a mode costs and saves: the same sampler on the same grid at the same steps, in two modes; and its table.

The cells of a seed start from the same noise in every mode, so qualities are compared in pairs (`gaps.paired_gap`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.report.data.columns import KEYS, Row, guidance_column, invalid, milliseconds
from bench.report.data.distances import Quality, of_key
from bench.report.data.gaps import holm, paired_gap
from bench.report.data.rows import Group, PooledTimes, columns_of, pairs_of, times
from bench.report.data.significance import LEVEL, half_width
from bench.report.data.text import (
    ALIKE,
    DOUBTFUL,
    NOTHING,
    Column,
    known,
    marked,
    numbers,
    significant,
    words,
)
from bench.timing.bootstrap import ENOUGH, ratio_of_medians

TITLE = "What the modes cost and save"


class Difference(NamedTuple):
    """Of a quality in a mode from that in the first mode, over the seeds that have both.

    Attributes:
        quality: which.
        mean: over the seeds; NaN if there is none.
        ci: half the width of its 95 % interval; NaN if there is none.
        p, p_holm: of the paired t-test, alone and by Holm's procedure for all modes of a setting; 1 if no seed differs,
            None where there is no interval otherwise.
        seeds: how many.
        first: the mean in the first mode, of the same seeds.
    """

    quality: Quality
    mean: float
    ci: float
    p: float | None
    seeds: int
    first: float
    p_holm: float | None = None

    @property
    def alike(self) -> bool:
        """Whether it was tested and cannot be told from 0."""
        return self.p_holm is not None and self.p_holm > LEVEL


@dataclass(frozen=True)
class ModeCost:
    """A row in another mode beside that in the first.

    Attributes:
        row: in the other mode.
        first: in the first mode of its study.
        speedup: the first mode's median time an image over the other's; NaN if one was not timed.
        low, high: the ends of its 95 % bootstrap interval; NaN if one has fewer rounds than an interval needs.
        differences: of the distance that rows are ranked by and of KID, as far as they were measured.
    """

    row: Row
    first: Row
    speedup: float
    low: float
    high: float
    differences: list[Difference]

    @property
    def batches_differ(self) -> bool:
        """Whether the two were timed with different numbers of images a call."""
        sizes = (self.row["timed_batch"], self.first["timed_batch"])
        return all(map(known, sizes)) and sizes[0] != sizes[1]

    @property
    def mark(self) -> str:
        """That of times that do not hold up."""
        return DOUBTFUL if known(self.speedup) and (invalid(self.row) or invalid(self.first)) else ""

    def difference(self, key: str | None) -> Difference | None:
        """That of a quality, if it was measured."""
        return next((each for each in self.differences if each.quality.key == key), None)


def mode_costs(rows: Sequence[Row], cells: pd.DataFrame, rank: str | None, firsts: Mapping[str, str]) -> list[ModeCost]:
    """What the rows in other modes than the first cost and save, by setting, in the order of the rows.

    Args:
        rows, cells: of one section, and the records that they are made from.
        rank: the column that the rows are ranked by, if any.
        firsts: the first mode of the study, by the name of the run.
    """
    settings: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        settings.setdefault(tuple(str(row[name]) for name in ("run", *KEYS) if name != "mode"), []).append(row)
    pairs = [(row, first) for alike in settings.values() for row, first in _pairs(alike, firsts)]
    if not pairs:
        return []
    wanted = dict.fromkeys([*([] if rank is None else [rank]), "kid_mean"])
    qualities = [of_key(key) for key in wanted if key in cells.columns]
    found = Cells(cells, [f"{quality.key}{end}" for quality in qualities for end in ("", "_left_out")])
    return _corrected([_cost(row, first, found, qualities) for row, first in pairs])


def _corrected(costs: list[ModeCost]) -> list[ModeCost]:
    """With the p values by Holm's procedure, over the modes of a setting."""
    tests: dict[tuple[int, Quality], list[tuple[ModeCost, int]]] = {}
    for cost in costs:
        for n, each in enumerate(cost.differences):
            tests.setdefault((id(cost.first), each.quality), []).append((cost, n))
    for places in tests.values():
        for (cost, n), p in zip(places, holm([cost.differences[n].p for cost, n in places]), strict=True):
            cost.differences[n] = cost.differences[n]._replace(p_holm=p)
    return costs


def _pairs(alike: Sequence[Row], firsts: Mapping[str, str]) -> list[tuple[Row, Row]]:
    """Each row in another mode with that in the first mode, which there may be none of."""
    mode = firsts[str(alike[0]["run"]).partition(" + ")[0]]
    first = next((row for row in alike if row["mode"] == mode), None)
    return [] if first is None else [(row, first) for row in alike if row is not first]


class Cells:
    """The cells of rows, by run and id: ids alone may come twice, where runs are repeated."""

    def __init__(self, cells: pd.DataFrame, qualities: Sequence[str]) -> None:
        names = ("run", "id", "seed", "timed_batch", "latency_s", "network_s", "timing_calls", *qualities)
        self._columns = columns_of(cells[[name for name in names if name in cells.columns]])
        self._places = {pair: n for n, pair in enumerate(zip(self._columns["run"], self._columns["id"], strict=True))}

    def of(self, row: Row) -> Group:
        """The cells of a row."""
        runs = str(row["run"]).split(" + ")
        places = [self._places[run, cell] for cell in row["cells"] for run in runs if (run, cell) in self._places]
        return Group(self._columns, places)


def _cost(row: Row, first: Row, cells: Cells, qualities: Sequence[Quality]) -> ModeCost:
    ours, theirs = cells.of(row), cells.of(first)
    differences = [_difference(ours, theirs, quality) for quality in qualities]
    return ModeCost(row, first, *time_ratio(times(ours), times(theirs)), [each for each in differences if each.seeds])


def time_ratio(ours: PooledTimes, theirs: PooledTimes) -> tuple[float, float, float]:
    """Their median time an image over ours, and the ends of its 95 % bootstrap interval; NaN where there is none."""
    if ours.batch is None or theirs.batch is None:
        return math.nan, math.nan, math.nan
    scale = ours.batch / theirs.batch
    ratio = scale * float(np.median(theirs.latency) / np.median(ours.latency))
    if min(len(ours.rounds), len(theirs.rounds)) < ENOUGH:
        return ratio, math.nan, math.nan
    _, low, high = ratio_of_medians(theirs.rounds.tolist(), ours.rounds.tolist())
    return ratio, scale * low, scale * high


def _difference(ours: Group, theirs: Group, quality: Quality) -> Difference:
    here, there = _by_seed(ours, quality), _by_seed(theirs, quality)
    firsts = [there[seed][0] for seed in here if seed in there]
    if not firsts:
        return Difference(quality, math.nan, math.nan, None, 0, math.nan)
    found = paired_gap(here, there)
    return Difference(quality, found.value, half_width(found.error), found.p, len(firsts), float(np.mean(firsts)))


def _by_seed(cells: Group, quality: Quality) -> dict[Any, list[float]]:
    values = zip(cells.values("seed"), cells.values(quality.key), strict=True)
    return {seed: [float(value)] for seed, value in values if known(value)} | pairs_of(cells, quality)


def mode_columns(found: Sequence[ModeCost]) -> list[Column]:
    """The table: a line for each setting and mode but the first, in the order of the rows."""
    rows = [each.row for each in found]
    names = ("sampler", "grid", *(["model"] if len({row["model"] for row in rows}) > 1 else []), "mode")
    return [
        *(words(name.capitalize(), [row[name] for row in rows]) for name in names),
        *guidance_column(rows),
        numbers("Steps", [f"{row['steps']:,}" for row in rows]),
        milliseconds(rows),
        numbers("Speed-up", [_speedup_text(each) for each in found], [_speedup_text(each, True) for each in found]),
        *(_difference_column(quality, found) for quality in _qualities(found)),
    ]


def _speedup_text(each: ModeCost, brief: bool = False) -> str:
    if not known(each.speedup):
        return NOTHING
    if brief or not known(each.low):
        return f"{significant(each.speedup)}×{each.mark}"
    interval = f"({significant(each.low)} to {significant(each.high)})"
    return f"{significant(each.speedup)}× {interval}{each.mark and f' {each.mark}'}"


def mode_summary(found: Sequence[ModeCost]) -> list[Column]:
    """Its short form: of each mode over how many settings, and the median, least and greatest of each column."""
    modes: dict[str, list[ModeCost]] = {}
    for each in found:
        modes.setdefault(str(each.row["mode"]), []).append(each)
    groups = list(modes.values())
    shown = [
        words("Mode", list(modes)),
        numbers("Settings", [f"{len(group):,}" for group in groups]),
        numbers("Speed-up", [_range([each.speedup for each in group], significant) for group in groups]),
    ]
    for quality in _qualities(found):
        gaps = [[gap.mean for each in group if (gap := each.difference(quality.key))] for group in groups]
        texts = [_range(values, quality.signed) for values in gaps]
        shown.append(numbers(f"Δ {quality.name}", texts))
    return shown


def mode_notes(found: Sequence[ModeCost]) -> list[str]:
    """The sentences under the table."""
    first = " or ".join(dict.fromkeys(each.first["mode"] for each in found))
    lines = [f"Speed-up: time an image in {first} over that in the row's mode, with its 95 % bootstrap interval."]
    if any(each.batches_differ for each in found):
        sizes = dict.fromkeys(
            (str(row["mode"]), int(row["timed_batch"]))
            for each in found
            for row in ((each.first, each.row) if each.batches_differ else ())
        )
        said = ", ".join(f"{mode} {size:,}" for mode, size in sizes)
        lines.append(f"Some modes were timed in other batches than the first (images a call: {said}).")
    if any(each.mark for each in found):
        lines.append(f"{DOUBTFUL}: of times that do not hold up.")
    differences = [each for cost in found for each in cost.differences]
    if not differences:
        return lines
    lines.append(
        f"Δ: difference of the row's mode from {first}, of the same seeds and so from the same noise; ±: half the 95 % "
        "interval of its mean (paired, Student's t)."
    )
    if any(each.alike for each in differences):
        lines.append(f"{ALIKE}: cannot be told from 0 (p > 0.05, by Holm's procedure for the modes of a setting).")
    if any(each.seeds == 1 and each.p is None for each in differences):
        lines.append("Of one seed, a difference has no interval and is not tested.")
    if any(each.seeds > 1 and each.p is None for each in differences):
        lines.append("A difference that is the same in all seeds has no interval and is not tested.")
    return lines


def frame(found: Sequence[ModeCost]) -> pd.DataFrame:
    """All that is known of each pair, a row each."""
    rows = []
    for each in found:
        row = {name: each.row[name] for name in (*KEYS, "run", "seeds")} | {"first_mode": each.first["mode"]}
        seconds = "s_per_image_median"
        row |= {seconds: each.row[seconds], f"{seconds}_first": each.first[seconds]}
        row |= {"speedup": each.speedup, "speedup_ci_low": each.low, "speedup_ci_high": each.high}
        for gap in each.differences:
            values = {"first": gap.first, "difference": gap.mean, "difference_ci": gap.ci, "difference_p": gap.p}
            values |= {"difference_p_holm": gap.p_holm, "difference_seeds": gap.seeds}
            row |= {f"{gap.quality.key}_{end}": value for end, value in values.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def _qualities(found: Sequence[ModeCost]) -> list[Quality]:
    return list(dict.fromkeys(each.quality for cost in found for each in cost.differences))


def _difference_column(quality: Quality, found: Sequence[ModeCost]) -> Column:
    gaps = [each.difference(quality.key) for each in found]
    means = [NOTHING if gap is None else quality.signed(gap.mean, gap.ci) for gap in gaps]
    halves = ["" if gap is None else quality.half(gap.ci) for gap in gaps]
    return marked(f"Δ {quality.name}", means, halves, [ALIKE if gap and gap.alike else "" for gap in gaps])


def _range(values: Sequence[float], text: Callable[[float], str]) -> str:
    """The median of some values, and how far they reach."""
    measured = [value for value in values if known(value)]
    if not measured:
        return NOTHING
    least, most = text(min(measured)), text(max(measured))
    return text(median(measured)) + (f" ({least} to {most})" if least != most else "")
