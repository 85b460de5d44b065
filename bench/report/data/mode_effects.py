"""What a mode costs and saves: the same sampler on the same grid at the same steps, in two modes.

The cells of a seed start from the same noise in every mode, so qualities are compared in pairs (see `gaps`), or where
records do not keep what that takes, such as KID, seed by seed: the mean of the differences then has the standard error
s / sqrt(n) and Student's t distribution with n - 1 degrees of freedom.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.report.data.columns import KEYS, Row, known
from bench.report.data.distances import Quality, of_key
from bench.report.data.gaps import paired_error, pairs_of
from bench.report.data.group import Group, columns_of, deviation
from bench.report.data.row_cost import PooledTimes, times
from bench.report.data.significance import LEVEL, half_width, standard_error, t_probability
from bench.timing.bootstrap import ENOUGH, ratio_of_medians


class Difference(NamedTuple):
    """Of a quality in a mode from that in the first mode, over the seeds that have both.

    Attributes:
        quality: which.
        mean: over the seeds; NaN if there is none.
        ci: half the width of its 95 % interval; NaN if there is none.
        p: of the paired t-test, 1 if no seed differs; None where there is no interval otherwise.
        seeds: how many.
        first: the mean in the first mode, of the same seeds.
    """

    quality: Quality
    mean: float
    ci: float
    p: float | None
    seeds: int
    first: float

    @property
    def alike(self) -> bool:
        """Whether it was tested and cannot be told from 0."""
        return self.p is not None and self.p > LEVEL


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


def mode_costs(rows: Sequence[Row], cells: pd.DataFrame, rank: str | None, firsts: Mapping[str, str]) -> list[ModeCost]:
    """What the rows in other modes than the first cost and save, by setting, in the order of the rows.

    Args:
        rows: of one section.
        cells: the records that they are made from.
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
    found = _Cells(cells, [f"{quality.key}{end}" for quality in qualities for end in ("", "_left_out")])
    return [_cost(row, first, found, qualities) for row, first in pairs]


def _pairs(alike: Sequence[Row], firsts: Mapping[str, str]) -> list[tuple[Row, Row]]:
    """Each row in another mode with that in the first mode, which there may be none of."""
    mode = firsts[str(alike[0]["run"]).partition(" + ")[0]]
    first = next((row for row in alike if row["mode"] == mode), None)
    return [] if first is None else [(row, first) for row in alike if row is not first]


class _Cells:
    """The cells of rows, by run and id: ids alone may come twice, where runs are repeated."""

    def __init__(self, cells: pd.DataFrame, qualities: Sequence[str]) -> None:
        names = ("run", "id", "seed", "timed_batch", "latency_s", "network_s", "timing_calls", *qualities)
        self._columns = columns_of(cells[[name for name in names if name in cells.columns]])
        pairs = zip(self._columns["run"], self._columns["id"], strict=True)
        self._places = {pair: n for n, pair in enumerate(pairs)}

    def of(self, row: Row) -> Group:
        runs = str(row["run"]).split(" + ")
        places = [self._places[run, cell] for cell in row["cells"] for run in runs if (run, cell) in self._places]
        return Group(self._columns, places)


def _cost(row: Row, first: Row, cells: _Cells, qualities: Sequence[Quality]) -> ModeCost:
    ours, theirs = cells.of(row), cells.of(first)
    differences = [_difference(ours, theirs, quality) for quality in qualities]
    return ModeCost(row, first, *_speedup(times(ours), times(theirs)), [each for each in differences if each.seeds])


def _speedup(ours: PooledTimes, theirs: PooledTimes) -> tuple[float, float, float]:
    if ours.batch is None or theirs.batch is None:
        return math.nan, math.nan, math.nan
    scale = ours.batch / theirs.batch
    ratio = scale * float(np.median(theirs.latency) / np.median(ours.latency))
    if min(len(ours.rounds), len(theirs.rounds)) < ENOUGH:
        return ratio, math.nan, math.nan
    _, low, high = ratio_of_medians(theirs.rounds.tolist(), ours.rounds.tolist())
    return ratio, scale * low, scale * high


def _difference(ours: Group, theirs: Group, quality: Quality) -> Difference:
    """Paired by seed."""
    here, there = _by_seed(ours, quality), _by_seed(theirs, quality)
    seeds = [seed for seed in here if seed in there]
    gaps = np.array([here[seed] - there[seed] for seed in seeds], dtype=np.float64)
    first = float(np.mean([there[seed] for seed in seeds])) if seeds else math.nan
    mean = float(gaps.mean()) if seeds else math.nan
    pairs, others = pairs_of(ours, quality), pairs_of(theirs, quality)
    if seeds and {*seeds} <= pairs.keys() & others.keys():
        error = paired_error({seed: pairs[seed] for seed in seeds}, {seed: others[seed] for seed in seeds})
        same = error is None
    else:
        error = standard_error(deviation(gaps), len(seeds), jackknife=False)
        same = len(seeds) > 1 and not gaps.any()  # as modes do that compute the same
    if error is None:
        return Difference(quality, mean, math.nan, 1.0 if same else None, len(seeds), first)
    return Difference(quality, mean, half_width(error), t_probability(mean, error), len(seeds), first)


def _by_seed(cells: Group, quality: Quality) -> dict[Any, float]:
    pairs = zip(cells.values("seed"), cells.values(quality.key), strict=True)
    return {seed: float(value) for seed, value in pairs if known(value)}
