"""The answer of a study in one sentence: the fastest setting that is still good enough, or, where nothing was timed,
the one of fewest evaluations.
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from bench.model_record import Floors
from bench.report.data.columns import Row, known, percent, scientific, setting, significant
from bench.report.data.distances import of_key
from bench.report.data.gaps import good_enough
from bench.report.data.significance import at_floor
from bench.report.data.timing_warnings import invalid

_TIMES = 11.0
"""From 1,000 % worse on, how many times as high is said."""

Cost = Literal["s_per_image_median", "nfe"]
"""The columns that settings are chosen by: time, or evaluations where nothing was timed."""


class _Words(NamedTuple):
    """Of a cost: one of it, who has least, who has less, and what a figure calls the answer."""

    one: str
    best: str
    least: str
    cheaper: str
    ring: str


_WORDS: dict[Cost, _Words] = {
    "s_per_image_median": _Words("a time", "fastest setting", "fastest of", "is faster than", "fastest good enough"),
    "nfe": _Words(
        "a number of evaluations",
        "setting of fewest evaluations",
        "one of fewest evaluations among",
        "takes fewer evaluations than",
        "fewest evaluations, good enough",
    ),
}


@dataclass(frozen=True)
class Answer:
    """What a study found out on one protocol and one device.

    Attributes:
        sentence: the answer, or why there is none.
        baseline: the row compared with; None if it was not measured.
        winner: the setting of least cost whose distance is within the tolerance; None if none is both that and cheaper
            than the baseline.
        speedup: the baseline's cost over the winner's.
        tolerance: how much worse than the baseline is good enough, as a fraction of the baseline's distance.
        cost: what it is about.
    """

    sentence: str
    baseline: Row | None
    winner: Row | None
    speedup: float | None
    tolerance: float
    cost: Cost = "s_per_image_median"

    @property
    def words(self) -> str:
        """What a figure calls the winner."""
        return _WORDS[self.cost].ring


def answer(rows: list[Row], fd: str | None, tolerance: float, gap: str, floors: Floors | None = None) -> Answer:
    """The answer among rows whose quality and times are comparable.

    Args:
        rows: of one protocol and one clock.
        fd: the distance that they are ranked by; None if none was measured.
        tolerance: see `Answer`.
        gap: what to say of the baseline if it is not among the rows.
        floors: what the distance is to be seen beside, if that was measured.
    """
    cost: Cost = "s_per_image_median" if any(known(row["s_per_image_median"]) for row in rows) else "nfe"
    found = replace(_answer(rows, fd, tolerance, gap, cost), cost=cost)
    return replace(found, sentence=f"{found.sentence}{_near_noise(found.baseline, fd, floors)}")


def _near_noise(baseline: Row | None, fd: str | None, floors: Floors | None) -> str:
    """A warning if the baseline is nearer to noise than to real images, by the root of the distance, a square."""
    if baseline is None or fd is None or floors is None or floors.column != fd or not known(baseline[fd]):
        return ""
    value, noise, real = (max(each or 0.0, 0.0) ** 0.5 for each in (baseline[fd], floors.noise, floors.real))
    if value < 0.5 * (noise + real):
        return ""
    where = "farther from real images than" if value > noise else "nearer to"
    beside = "" if floors.real is None else f"; two halves of the real images {scientific(floors.real)}"
    return (
        f" Beware: the baseline is {where} pure noise ({scientific(floors.noise)}{beside}), so that whatever is as "
        "good as it may be no good at all: check-model tells whether the model is what its card says."
    )


def _answer(rows: list[Row], fd: str | None, tolerance: float, gap: str, cost: Cost) -> Answer:
    """The answer, whatever the baseline is worth."""
    baseline = next((row for row in rows if row["baseline"]), None)
    if baseline is None:
        return Answer(f"No answer: {gap}.", None, None, None, tolerance)
    reason = _incomplete(baseline, fd, cost)
    measured = [row for row in rows if not row["baseline"] and fd and known(row[fd]) and known(row[cost])]
    if reason is None and not measured:
        alone = all(row["baseline"] for row in rows)
        reason = (
            "only the baseline was measured" if alone else f"no other setting has both {_WORDS[cost].one} and a {fd}"
        )
    if reason is not None or fd is None:
        return Answer(f"No answer: {reason}.", baseline, None, None, tolerance)
    limit = baseline[fd] + tolerance * abs(baseline[fd])
    good = [row for row in measured if row[fd] <= limit]
    if not good:
        closest = min(measured, key=lambda row: float(row[fd]))
        return Answer(_none_good(closest, baseline, fd, tolerance, cost), baseline, None, None, tolerance)
    # of evaluations several have as many
    best = min(good, key=lambda row: (float(row[cost]), float(row[fd])))
    speedup = baseline[cost] / best[cost]
    if speedup <= 1:
        return Answer(_none_cheaper(best, baseline, fd, tolerance, cost), baseline, None, None, tolerance)
    return Answer(_found(best, baseline, fd, tolerance, cost), baseline, best, speedup, tolerance)


def _incomplete(baseline: Row, fd: str | None, cost: Cost) -> str | None:
    if fd is None:
        return "no distance was measured"
    if not known(baseline[fd]):
        return f"the baseline ({setting(baseline)}) has no {fd}"
    if not known(baseline[cost]):
        return f"the baseline ({setting(baseline)}) has no {_WORDS[cost].one.removeprefix('a ')}"
    return None


def _found(winner: Row, baseline: Row, fd: str, tolerance: float, cost: Cost) -> str:
    gain = f"{_gain(winner, baseline, cost)}{_claim(winner, baseline, fd, tolerance)}"
    return (
        f"{setting(winner)} ({winner['nfe']:g} evaluations) is the {_WORDS[cost].best} whose {fd} "
        f"({scientific(winner[fd])}) is within {percent(tolerance)} of the baseline's "
        f"({scientific(baseline[fd])}, {setting(baseline)}): {gain}."
    )


def _none_cheaper(best: Row, baseline: Row, fd: str, tolerance: float, cost: Cost) -> str:
    words = _WORDS[cost]
    return (
        f"No setting whose {fd} is within {percent(tolerance)} of the baseline's "
        f"({scientific(baseline[fd])}, {setting(baseline)}) {words.cheaper} it: the {words.least} them is "
        f"{setting(best)}, {_gain(best, baseline, cost)}."
    )


def _none_good(closest: Row, baseline: Row, fd: str, tolerance: float, cost: Cost) -> str:
    found = f"{_gain(closest, baseline, cost)}{_claim(closest, baseline, fd, tolerance)}"
    excess = f", {_worse(closest[fd] / baseline[fd])}" if baseline[fd] > 0 else ""  # below 0 there is no ratio
    return (
        f"No setting is within {percent(tolerance)} of the baseline's {fd} "
        f"({scientific(baseline[fd])}, {setting(baseline)}): the closest is {setting(closest)} "
        f"({scientific(closest[fd])}{excess}), {found}."
    )


def _worse(ratio: float) -> str:
    """How much larger a distance is: in per cent as far as those are told at a glance."""
    return f"{percent(ratio - 1)} worse" if ratio < _TIMES else f"{significant(ratio)} times as high"


def _gain(row: Row, baseline: Row, cost: Cost) -> str:
    """How much less a row costs than the baseline, or more."""
    return _faster(row, baseline) if cost == "s_per_image_median" else _fewer(row, baseline)


def _fewer(row: Row, baseline: Row) -> str:
    ours, theirs = row["nfe"], baseline["nfe"]
    words = f"evaluations ({ours:,g} against {theirs:,g} an image; nothing was timed)"
    if ours <= theirs:
        return f"{significant(theirs / ours, 2)} times fewer {words}"
    return f"{significant(ours / theirs, 2)} times more {words}"


def _faster(row: Row, baseline: Row) -> str:
    ours, theirs = row["s_per_image_median"], baseline["s_per_image_median"]
    doubt = ", times that do not hold up" if invalid(row) or invalid(baseline) else ""
    times = f"({significant(1000 * ours)} against {significant(1000 * theirs)} ms an image{doubt})"
    if ours <= theirs:
        return f"{significant(theirs / ours, 2)} times faster {times}"
    return f"{significant(ours / theirs, 2)} times slower {times}"


def _claim(row: Row, baseline: Row, fd: str, tolerance: float) -> str:
    """Whether what the sentence says of the tolerance is shown, and what would decide it."""
    quality = of_key(fd)
    if at_floor(row, quality) and at_floor(baseline, quality):
        return "; both distances are as small as can be measured"
    claim = good_enough(row, baseline, quality, tolerance)
    if claim is None:
        return ""
    if claim.shown is not None:
        return f"; that it is{'' if claim.shown else ' not'} is shown (95 %, one-sided)"
    wanted = "" if claim.images is None else f": some {_rounded_up(claim.images):,} images would probably decide it"
    images = f" with {int(row['images']):,} images" if known(row.get("images")) else ""
    return f"; whether it is cannot be told{images}{wanted}"


def _rounded_up(count: int) -> int:
    """To two digits."""
    unit = int(10 ** max(len(str(count)) - 2, 0))
    return -(-count // unit) * unit
