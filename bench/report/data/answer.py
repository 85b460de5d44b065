"""The answer of a study in one sentence: the fastest setting that is still good enough, or, where nothing was timed,
the one of fewest evaluations.
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from bench.model_record import Floors
from bench.report.data.columns import Row, invalid, setting
from bench.report.data.distances import of_key
from bench.report.data.fits import fit_words
from bench.report.data.gaps import good_enough, images_of
from bench.report.data.significance import both_at_floor
from bench.report.data.text import known, percent, scientific, significant
from models.common.words import counted

_TIMES = 11.0
"""From 1,000 % worse on, how many times as high is said."""

Cost = Literal["s_per_image_median", "nfe"]
"""The columns that settings are chosen by: time, or evaluations where nothing was timed."""


class _Words(NamedTuple):
    """Of a cost: one of it, who has least, who has less, how much less or more, and what a figure calls the answer."""

    one: str
    best: str
    least: str
    cheaper: str
    less: str
    more: str
    ring: str


_WORDS: dict[Cost, _Words] = {
    "s_per_image_median": _Words(
        *("time", "fastest setting", "fastest of", "is faster than", "faster", "slower", "fastest good enough")
    ),
    "nfe": _Words(
        *("number of evaluations", "setting of fewest evaluations", "one of fewest evaluations among"),
        *("takes fewer evaluations than", "fewer evaluations", "more evaluations", "fewest evaluations, good enough"),
    ),
}


@dataclass(frozen=True)
class Answer:
    """What a study found out on one protocol and one device.

    Attributes:
        sentence: the answer, or why there is none.
        tolerance: how much worse than the baseline is good enough, as a fraction of the baseline's distance.
        baseline: the row compared with; None if it was not measured.
        winner: the setting of least cost whose distance is within the tolerance; None if none is both that and cheaper
            than the baseline.
        speedup: the baseline's cost over the winner's.
        cost: what it is about.
    """

    sentence: str
    tolerance: float
    baseline: Row | None = None
    winner: Row | None = None
    speedup: float | None = None
    cost: Cost = "s_per_image_median"

    @property
    def words(self) -> str:
        """What a figure calls the winner."""
        return _WORDS[self.cost].ring


def cost_of(rows: list[Row]) -> Cost:
    """What settings are chosen by: time, or evaluations where nothing was timed."""
    return "s_per_image_median" if any(known(row["s_per_image_median"]) for row in rows) else "nfe"


def answer(rows: list[Row], fd: str | None, tolerance: float, gap: str, floors: Floors | None = None) -> Answer:
    """The answer among rows whose quality and times are comparable.

    Args:
        rows: of one protocol and one clock.
        fd: the distance that they are ranked by; None if none was measured.
        tolerance: see `Answer`.
        gap: what to say of the baseline if it is not among the rows.
        floors: what the distance is to be seen beside, if that was measured.
    """
    cost = cost_of(rows)
    baseline = next((row for row in rows if row["baseline"]), None)
    if baseline is None:
        return Answer(f"No answer: {gap}.", tolerance, cost=cost)
    measured = [row for row in rows if not row["baseline"] and fd and known(row[fd]) and known(row[cost])]
    reason = _incomplete(baseline, fd, cost) or (None if measured else _nothing_beside(rows, fd, cost))
    if reason is not None or fd is None:
        found = Answer(f"No answer: {reason}.", tolerance, baseline, cost=cost)
    else:
        found = Comparison(baseline, fd, tolerance, cost).answer(measured)
    return replace(found, sentence=f"{found.sentence}{near_noise(baseline, fd, floors)}")


def _incomplete(baseline: Row, fd: str | None, cost: Cost) -> str | None:
    if fd is None:
        return "no distance was measured"
    lacking = next((name for key, name in ((fd, fd), (cost, _WORDS[cost].one)) if not known(baseline[key])), None)
    return lacking and f"the baseline ({setting(baseline)}) has no {lacking}"


def _nothing_beside(rows: list[Row], fd: str | None, cost: Cost) -> str:
    if all(row["baseline"] for row in rows):
        return "only the baseline was measured"
    return f"no other setting has both a {_WORDS[cost].one} and a {fd}"


def near_noise(baseline: Row, fd: str | None, floors: Floors | None) -> str:
    """A warning if the baseline is nearer to noise than to real images, by the root of the distance, a square."""
    if fd is None or floors is None or floors.column != fd or not known(baseline[fd]):
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


@dataclass(frozen=True)
class Comparison:
    """Settings beside a baseline, by a distance and a cost that all have."""

    baseline: Row
    fd: str
    tolerance: float
    cost: Cost
    times: str = ""
    """What their times are, if not what was measured, in words."""

    def answer(self, measured: list[Row]) -> Answer:
        limit = self.baseline[self.fd] + self.tolerance * abs(self.baseline[self.fd])
        good = [row for row in measured if row[self.fd] <= limit]
        if not good:
            return self._nothing(self._none_good(min(measured, key=lambda row: float(row[self.fd]))))
        # of evaluations several have as many
        best = min(good, key=lambda row: (float(row[self.cost]), float(row[self.fd])))
        speedup = self.baseline[self.cost] / best[self.cost]
        if speedup <= 1:
            return self._nothing(self._none_cheaper(best))
        return replace(self._nothing(self._found(best)), winner=best, speedup=speedup)

    def _nothing(self, sentence: str) -> Answer:
        return Answer(sentence, self.tolerance, self.baseline, cost=self.cost)

    @property
    def best(self) -> str:
        """What who costs least is called."""
        return _WORDS[self.cost].best

    @property
    def cheaper(self) -> str:
        """What is said of who costs less than another."""
        return _WORDS[self.cost].cheaper

    @property
    def baseline_words(self) -> str:
        """The baseline and its distance, in brackets."""
        return f"({scientific(self.baseline[self.fd])}, {setting(self.baseline)})"

    def _found(self, winner: Row) -> str:
        return (
            f"{setting(winner)} ({counted(winner['nfe'], 'evaluation')}) is the {self.best} whose "
            f"{self.fd} ({scientific(winner[self.fd])}) is within {percent(self.tolerance)} of the baseline's "
            f"{self.baseline_words}: {self.gain(winner)}{self._claim(winner)}."
        )

    def _none_cheaper(self, best: Row) -> str:
        words = _WORDS[self.cost]
        return (
            f"No setting whose {self.fd} is within {percent(self.tolerance)} of the baseline's {self.baseline_words} "
            f"{words.cheaper} it: the {words.least} them is {setting(best)}, {self.gain(best)}."
        )

    def _none_good(self, closest: Row) -> str:
        # below 0 there is no ratio
        excess = self.baseline[self.fd] > 0 and f", {_worse(closest[self.fd] / self.baseline[self.fd])}"
        return (
            f"No setting is within {percent(self.tolerance)} of the baseline's {self.fd} {self.baseline_words}: the "
            f"closest is {setting(closest)} ({scientific(closest[self.fd])}{excess or ''}), {self.gain(closest)}"
            f"{self._claim(closest)}."
        )

    def gain(self, row: Row) -> str:
        """How much less a row costs than the baseline, or more."""
        ours, theirs = row[self.cost], self.baseline[self.cost]
        words = _WORDS[self.cost].less if ours <= theirs else _WORDS[self.cost].more
        if self.cost == "nfe":
            what = f"{ours:,g} against {theirs:,g} an image{fit_words(row)}; nothing was timed"
        else:
            doubt = ", times that do not hold up" if invalid(row) or invalid(self.baseline) else ""
            ms = f"{significant(1000 * ours)} against {significant(1000 * theirs)} ms an image"
            what = f"{ms}{fit_words(row)}{self.times}{doubt}"
        ratio = max(ours / theirs, theirs / ours)
        if ratio < 1.05:
            return f"{'as many evaluations' if self.cost == 'nfe' else 'as fast'} to two digits ({what})"
        return f"{significant(ratio, 2)} times {words} ({what})"

    def _claim(self, row: Row) -> str:
        """Whether what the sentence says of the tolerance is shown, and what would decide it."""
        quality = of_key(self.fd)
        if both_at_floor(row, self.baseline, quality):
            return "; both distances are as small as can be measured"
        claim = good_enough(row, self.baseline, quality, self.tolerance)
        if claim is None:
            return ""
        within = f"within {percent(self.tolerance)}"
        if claim.shown is not None:
            how = "95 %, one-sided, not corrected for the choice"
            return f"; that it is {'' if claim.shown else 'not '}{within} is shown ({how})"
        seeds = " a seed" if row["seeds"] > 1 else ""
        images = f"{count:,} images{seeds}" if (count := images_of(row, quality)) is not None else "these images"
        wanted = "" if claim.images is None else f": some {rounded_up(claim.images):,}{seeds} would probably decide it"
        return f"; {images} do not tell whether it is {within}{wanted}"


def rounded_up(count: int) -> int:
    """To two digits."""
    unit = int(10 ** max(len(str(count)) - 2, 0))
    return -(-count // unit) * unit


def _worse(ratio: float) -> str:
    """How much larger a distance is: in per cent as far as those are told at a glance."""
    return f"{percent(ratio - 1)} worse" if ratio < _TIMES else f"{significant(ratio)} times as high"
