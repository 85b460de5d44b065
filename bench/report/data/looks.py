"""What a run whose images grow has decided: who is still compared, who was left out at how many images and why, and
whether the answer, the fastest setting that is good enough, is known.

All settings have the same images at a look. A setting is left out once it is shown that its distance is more than
(1 + tolerance) times the baseline's, or once one that is shown to be good enough (the baseline is one) costs no more
than it does, or so little more that the difference is worth no images; unless it is shown to be better than that. The
answer is decided when nobody is left who costs less than the cheapest that is shown to be good enough. Distances are
those that are expected at the most images (`bench.report.data.gaps.at_images`), for which the question is put; gaps are
of pairs, one-sided.

Looking several times is paid for. Of the 5 % that the answer may be wrong, a look may spend the share that its new
images are of the most (alpha spending in proportion to information: K. K. G. Lan and D. L. DeMets, Biometrika 70, 1983;
K. Kim and D. L. DeMets, Biometrika 74, 1987), and the shares add up whatever looks have in common (Bonferroni). Half of
it is for taking a setting for good enough that is not: any that is left may be, so the p values of a look are corrected
for all of them that cost less than the baseline (Holm). The other half is for leaving out the one setting that the
answer truly is; for any other that is left out it is the chance that this is wrong. Who is left depends on the same
data, so that the correction for those alone is not proven; `tests/benchmarks/decisions.py` counts how often runs are
wrong. It holds for looks that were planned: more images after seeing these spend anew.

Times are those that settings have on a steady machine: their evaluations at the median time that one takes in all rows
of the network, and the sampler's own time beside it as it was measured. What a restless machine did to one of them, by
which times of as many evaluations differ, decides nothing.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from bench.report.data.answer import Cost, cost_of
from bench.report.data.columns import KEYS, NEWER_KEYS, Row, key_of, network, rows_of, with_columns
from bench.report.data.distances import Quality, of_key
from bench.report.data.fronts import protocols
from bench.report.data.gaps import at_images, gap, holm
from bench.report.data.rows import aggregate
from bench.report.data.runs import NEEDED, load
from bench.report.data.significance import LEVEL, both_at_floor
from bench.report.data.text import known, known_text, percent

Setting = tuple[Any, ...]
"""What tells rows apart, however many images they have."""


class LeftOut(NamedTuple):
    """A setting that is compared no more.

    Attributes:
        row, baseline: it and the baseline with as many images; None: a cell of it failed, or there is no baseline.
        rank: the column that they are compared by.
        reason: why.
        other: a setting that is as good and costs no more, if that is why.
        compared: whether it was; else it could not be.
    """

    row: Row
    baseline: Row | None
    rank: str | None
    reason: str
    other: Row | None = None
    compared: bool = True


@dataclass
class Decisions:
    """What a run has decided so far.

    Attributes:
        looks: the numbers of images of all looks.
        done: how many of them are complete.
        tolerance: how much worse than the baseline is good enough, as a fraction of the baseline's distance.
        cost: what settings are chosen by.
        left: the settings that the next look has: the baseline first, if there is one.
        out: those that it has not.
        winner: the fastest that is shown to be good enough; None if none but the baseline is.
        decided: whether nobody can take its place any more.
        rows: of the last look that is complete, by setting.
        rank: the column that these are compared by; None: nothing can be compared.
        everyone: the number of images of the last look that all settings have had.
    """

    looks: Sequence[int]
    tolerance: float
    cost: Cost
    done: int = 0
    left: list[Setting] = field(default_factory=list)
    out: dict[Setting, LeftOut] = field(default_factory=dict)
    winner: Setting | None = None
    decided: bool = False
    rows: dict[Setting, Row] = field(default_factory=dict)
    rank: str | None = None
    everyone: int = 0

    @property
    def images(self) -> int:
        """Of the last look that is complete; of the first if none is."""
        return self.looks[max(self.done - 1, 0)]

    @property
    def left_early(self) -> list[LeftOut]:
        """Who was left out with fewer images than all settings have, the one of fewest images first."""
        early = self.out.values() if self.everyone < self.images else ()
        return sorted(early, key=lambda each: int(each.row["images"]))

    @property
    def baseline(self) -> Row | None:
        """With as many images as the last complete look has."""
        return next((row for row in self.rows.values() if row["baseline"]), None)


def decided(path: Path, most: int | None = None) -> Decisions:
    """What the run in a folder, whose images grow, has decided in its first looks; None: in all of them."""
    run, cells = load(path, path.name)
    cells = with_columns(cells, NEEDED)
    return follow(cells, aggregate(cells), run.looks, run.tolerance, run.planned, most, timed=run.timed)


def follow(
    cells: pd.DataFrame,
    table: pd.DataFrame,
    looks: Sequence[int],
    tolerance: float,
    planned: int = 0,
    most: int | None = None,
    *,
    timed: bool = False,
) -> Decisions:
    """What a run has decided, from its records alone.

    Args:
        cells: its records, failed ones too, with all of `KEYS`.
        table: their rows.
        looks: its numbers of images, in order.
        tolerance: of its study.
        planned: cells that the first look has; fewer records are no complete look.
        most: looks that are taken; None: all.
        timed: whether its study times settings: while some have times and others not yet, no look is complete.
    """
    records: dict[tuple[int, Setting], list[str]] = {}
    for record in rows_of(cells[[*KEYS, *(name for name in NEWER_KEYS if name in cells), "status"]]):
        records.setdefault((int(record["images"]), key_of(record)), []).append(record["status"])
    first = {key: len(found) for (images, key), found in records.items() if images == looks[0]}
    decisions = Decisions(looks, tolerance, cost_of(rows_of(table)), left=list(first))
    whole = [images for images in looks if all(len(records.get((images, key), ())) >= first[key] for key in first)]
    decisions.everyone = max(whole, default=looks[0])
    good, steady, by_look = set[Setting](), dict[Setting, float](), dict(list(table.groupby("images")))
    for number, images in enumerate(looks[:most] if sum(first.values()) >= planned else ()):
        if any(len(records.get((images, key), ())) < first[key] for key in decisions.left):
            break
        rows, rank = _ranked(by_look.get(images))
        if timed and number == 0 and decisions.cost != "nfe" and any(map(_awaits_timing, rows.values())):
            break
        steady = steady or steady_times(rows)
        rows = {key: row | {"s_per_image_median": steady.get(key, math.nan)} for key, row in rows.items()}
        decisions.done, decisions.rank = number + 1, rank
        decisions.rows = {key: rows[key] for key in decisions.left if key in rows}
        _look(decisions, good, (images - (looks[number - 1] if number else 0)) / looks[-1])
        if decisions.decided:
            break
    return decisions


def _awaits_timing(row: Row) -> bool:
    """Whether a setting has no time yet: one whose timing failed says so."""
    return not known(row["s_per_image_median"]) and not known_text(row.get("timing_note"))


def steady_times(rows: Mapping[Setting, Row]) -> dict[Setting, float]:
    """Seconds an image of settings on a steady machine; as measured where the network's part is not known."""
    networks: dict[tuple[Any, ...], list[float]] = {}
    for row in rows.values():
        if known(row["network_s_median"]):
            networks.setdefault(_network(row), []).append(row["network_s_median"] / row["timed_batch"] / row["nfe"])
    found = dict[Setting, float]()
    for key, row in rows.items():
        found[key] = float(row["s_per_image_median"])
        if known(row["network_s_median"]) and known(row["overhead_s_median"]):
            own = max(0.0, row["overhead_s_median"]) / row["timed_batch"]
            found[key] = row["nfe"] * statistics.median(networks[_network(row)]) + own
    return found


def _network(row: Row) -> tuple[Any, ...]:
    """What evaluations alike in take as long."""
    return *network(row), row["timed_batch"], row["device_name"]


def _ranked(table: pd.DataFrame | None) -> tuple[dict[Setting, Row], str | None]:
    """The rows of a look, and the column that those are ranked by among which the baseline is."""
    found: dict[Setting, Row] = {}
    by = None
    for rows, rank in protocols(table) if table is not None else ():
        here = rows_of(rows)
        if any(row["baseline"] for row in here):
            by = rank
        found |= {key_of(row): row for row in here}
    return found, by


def _look(decisions: Decisions, good: set[Setting], share: float) -> None:
    """Take one look: who is good enough, and who is left out."""
    rows, baseline, rank = decisions.rows, decisions.baseline, decisions.rank
    if baseline is None or rank is None:
        why = "there is no baseline to compare it with" if baseline is None else "no distance was measured"
        _leave_out(decisions, dict.fromkeys(decisions.left, why), baseline, compared=False)
        decisions.decided = True
        return
    _leave_out(decisions, _unusable(decisions, rank), baseline, compared=False)
    first, cost, level = key_of(baseline), decisions.cost, share * LEVEL / 2
    found = _Beside(rows, baseline, of_key(rank), decisions.tolerance, decisions.looks[-1])
    faster = [key for key in decisions.left if rows[key][cost] < baseline[cost]]
    chances = holm([found.chance(key, above=False) for key in faster])
    good |= {key for key, p in zip(faster, chances, strict=True) if p is not None and p <= level}
    here = [key for key in faster if key in good]
    decisions.winner = min(here, key=lambda key: (rows[key][cost], rows[key][rank]), default=None)
    best = first if decisions.winner is None else decisions.winner
    reasons, others = dict[Setting, str](), dict[Setting, Row]()
    for key in (each for each in decisions.left if each not in (first, best)):
        bad = found.chance(key, above=True) if key in faster else None
        if bad is not None and bad <= level:
            reasons[key] = f"shown not to be within {percent(decisions.tolerance)}"
        elif (other := found.beaten_by(key, [best, first, *here], cost, level)) is not None:
            reasons[key], others[key] = _BEATEN[cost], rows[other]
    _leave_out(decisions, reasons, baseline, others)
    decisions.decided = not any(rows[key][cost] < LESS * rows[best][cost] for key in decisions.left)


LESS = 0.95
"""Of a cost: what costs less than this is worth more images. Times of as many evaluations differ by less than that."""

_BEATEN: dict[Cost, str] = {
    "s_per_image_median": "no faster and no better than one that is good enough",
    "nfe": "no cheaper and no better than one that is good enough",
}


def _unusable(decisions: Decisions, rank: str) -> dict[Setting, str]:
    """Settings that cannot be compared with the baseline, with the reason."""
    reasons, baseline = dict[Setting, str](), decisions.baseline
    assert baseline is not None
    for key in decisions.left:
        row = decisions.rows.get(key)
        if row is None:
            reasons[key] = "a cell of it failed"
        elif row["baseline"]:
            continue
        elif not known(row.get(rank)):
            reasons[key] = f"has no {rank}"
        elif not known(row[decisions.cost]) or not known(baseline[decisions.cost]):
            reasons[key] = "was not timed" if known(baseline[decisions.cost]) else "the baseline was not timed"
        elif any(row.get(name) != baseline.get(name) for name in of_key(rank).within):
            reasons[key] = "has another truth than the baseline"
    return reasons


def _leave_out(
    decisions: Decisions,
    reasons: Mapping[Setting, str],
    baseline: Row | None,
    others: Mapping[Setting, Row] | None = None,
    *,
    compared: bool = True,
) -> None:
    for key, reason in reasons.items():
        names = (name for name in (*KEYS, *NEWER_KEYS) if name != "images")
        row = decisions.rows.get(key) or dict(zip(names, key, strict=True), images=decisions.images)
        decisions.out[key] = LeftOut(row, baseline, decisions.rank, reason, (others or {}).get(key), compared)
    decisions.left = [key for key in decisions.left if key not in reasons]


class _Beside(NamedTuple):
    """The rows of a look beside its baseline."""

    rows: Mapping[Setting, Row]
    baseline: Row
    quality: Quality
    tolerance: float
    images: int

    def chance(self, key: Setting, *, above: bool) -> float | None:
        """The p value of a setting's distance to be beyond what is good enough, or within it."""
        row = self.rows[key]
        if row["images"] == self.images and both_at_floor(row, self.baseline, self.quality):
            return float(above)  # as good as can be measured
        factor = 1.0 + math.copysign(self.tolerance, at_images(self.baseline, self.quality, self.images))
        return gap(row, self.baseline, self.quality, factor, self.images).chance(above=above)

    def beaten_by(self, key: Setting, good: Sequence[Setting], cost: Cost, level: float) -> Setting | None:
        """The first of some that costs hardly more than a setting does, and that it is not shown to be better than."""
        costs = {other: self.rows[other][cost] for other in good if other != key}
        alike = [other for other, each in costs.items() if self.rows[key][cost] >= LESS * each]
        return next((other for other in alike if not self.is_better(key, other, level)), None)

    def is_better(self, key: Setting, other: Setting, level: float) -> bool:
        """Whether a setting's distance is shown to be less than another's."""
        chance = gap(self.rows[key], self.rows[other], self.quality, images=self.images).chance(above=False)
        return chance is not None and chance <= level
