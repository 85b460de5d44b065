"""How far two rows are apart, and how sure that is: from the same images in pairs, where their records allow it.

All samplers of a study start from the same noise. Where two solve the same flow they share its luck, and what they
differ by varies far less than each of them does; where one draws noise on its way they share almost nothing, and gain
nothing. So the difference is taken before its error is: for each seed,
d = a - b and, without a block k of the images, d_k = a_k - b_k (image i is in block i mod 10). Their delete-a-block
jackknife (Tukey; Efron, The Jackknife, the Bootstrap and Other Resampling Plans, 1982) has the variance

    v = 9/10 sum_k (d_k - mean d_k)^2

with 9 degrees of freedom. Seeds are further images of the same kind: from S of them v is pooled with what the d of the
seeds themselves differ by, sum_s 9 v_s + (d_s - mean d)^2 over 10 S - 1 degrees of freedom, and the mean difference has
a variance of that over S. Nothing is assumed of how the two are correlated: of independent rows the interval is right,
too, with fewer degrees of freedom than there could be.

Rows of other seeds or another number of images, and qualities of which records do not keep what they are without a
block, are compared as independent samples by Welch's t-test.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bench.report.data.columns import Row
from bench.report.data.distances import Quality
from bench.report.data.rows import PAIRS
from bench.report.data.significance import (
    JACKKNIFE_BLOCKS,
    LEVEL,
    StandardError,
    both_at_floor,
    row_error,
    t_probability,
    t_tail,
)
from bench.report.data.text import known

Pairs = Mapping[Any, Sequence[float]]
"""By seed, the value and, where records keep them, those without a block of images each."""

TESTED = "p > 0.05 over their number, in pairs of the same images or by Welch's t-test; 95 % sure to hold the best"
"""What `told_apart` does, for whoever reads it."""

_ROUND_OFF = 1e-9
"""Of a value, up to which another is the same."""

_POWER = 0.8
"""Of "would probably decide it"."""


class Gap(NamedTuple):
    """What one row is beyond another.

    Attributes:
        value: the first minus the second, of the means over seeds.
        error: its standard error; None if nothing tells it, or if the rows are the same image by image.
        paired: whether it is from pairs.
    """

    value: float
    error: StandardError | None
    paired: bool

    @property
    def p(self) -> float | None:
        """Of the two-sided t-test of whether it is 0; 1 if the rows are the same; None if that cannot be tested."""
        if self.error is None:
            return 1.0 if self.paired and self.value == 0 else None
        return t_probability(self.value, self.error)

    def chance(self, *, above: bool) -> float | None:
        """Of a gap as far above 0 as this, or as far below, if there is none; None if that cannot be tested."""
        if self.error is not None:
            return t_tail(self.value if above else -self.value, self.error)
        return float(self.value <= 0 if above else self.value >= 0) if self.paired else None

    @property
    def test(self) -> str:
        """What that is called."""
        return "paired t-test" if self.paired else "Welch's t-test"


def gap(a: Row, b: Row, quality: Quality, factor: float = 1.0, images: int | None = None) -> Gap:
    """How far row a is beyond `factor` times row b in a quality that both have.

    Args:
        a, b: the rows.
        quality: what is compared.
        factor: of the second.
        images: the number that the gap is wanted for, where that is not the rows' own: see `at_images`.
    """
    value = at_images(a, quality, images) - factor * at_images(b, quality, images)
    here, there = ((row.get(PAIRS) or {}).get(quality.key) for row in (a, b))
    alike = all(a.get(name) == b.get(name) for name in ("images", *quality.within))
    if here and there and here.keys() == there.keys() and alike:
        return paired_gap(here, there, factor, value)
    return Gap(value, _independent(row_error(a, quality), row_error(b, quality), factor), paired=False)


def paired_gap(here: Pairs, there: Pairs, factor: float = 1.0, value: float | None = None) -> Gap:
    """How far values are beyond `factor` times others, over the seeds that both have, one or more.

    Where some seed has no values that lack a block, seeds alone are the pairs, with S - 1 degrees of freedom, and one
    has no error.

    Args:
        here, there: by seed.
        factor: of the second.
        value: the gap, where it is wanted for another number of images; None: the mean over the seeds.
    """
    seeds = [seed for seed in here if seed in there]
    length = min(len(side[seed]) for seed in seeds for side in (here, there))
    here, there = ({seed: side[seed][:length] for seed in seeds} for side in (here, there))
    values = [[side[seed][0] for seed in seeds] for side in (here, there)]
    if value is None:
        value = math.fsum(one - factor * other for one, other in zip(*values, strict=True)) / len(seeds)
    if len(seeds) == length == 1:
        return Gap(value, None, paired=False)
    error = paired_error(here, there, factor)
    same = _ROUND_OFF * max(abs(each) for side in values for each in side)
    if abs(value) <= same and (error is None or error.value <= same):
        return Gap(0.0, None, paired=True)
    return Gap(value, error, paired=True)


def at_images(row: Row, quality: Quality, images: int | None) -> float:
    """The value that a row's quality is expected to have at another number of images.

    A Frechet distance of N images is too large by about c / N, which is the same share of all distances only by chance:
    "within 10 %" would mean something else at each N. Without a tenth of the images it is too large by c / 0.9 N, so
    that c / N = 9 (mean d_k - d) (Quenouille's estimate, which the jackknife started from). The scatter of the result
    is taken to be that of the value.

    Args:
        row: with a value.
        quality: its column.
        images: of a seed; None: as many as the row has, whose value is given as it is.
    """
    value, pairs = float(row[quality.key]), (row.get(PAIRS) or {}).get(quality.key)
    if images is None or not pairs:
        return value
    bias = (JACKKNIFE_BLOCKS - 1) * statistics.fmean(statistics.fmean(each[1:]) - each[0] for each in pairs.values())
    return value - bias * (1.0 - float(row["images"]) / images)


def paired_error(here: Pairs, there: Pairs, factor: float = 1.0) -> StandardError | None:
    """The standard error of a mean difference of the same images; None if it is the same in all of them.

    Args:
        here, there: of the same seeds, all with the values without a block or all with none.
        factor: of the second.
    """
    differences = [[one - factor * other for one, other in zip(here[seed], there[seed], strict=True)] for seed in here]
    between, seeds = _around_mean([each[0] for each in differences]), len(differences)
    inside = sum(_around_mean(each[1:]) for each in differences if len(each) > 1)
    blocks = JACKKNIFE_BLOCKS if len(differences[0]) > 1 else 1
    freedom = blocks * seeds - 1
    # of one seed (blocks - 1) / blocks times the sum, as (blocks - 1) degrees of freedom
    total = (blocks - 1) ** 2 / blocks * inside + between
    return StandardError(math.sqrt(total / freedom / seeds), freedom) if total > 0 else None


def _around_mean(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values)


def _independent(a: StandardError | None, b: StandardError | None, factor: float) -> StandardError | None:
    """Of a difference of independent means: Welch's, with Satterthwaite's degrees of freedom."""
    if a is None or b is None:
        return None
    variances = a.value**2, (factor * b.value) ** 2
    total = sum(variances)
    # in parts of the total: the square of a small variance is less than a float can be
    parts = sum((v / total) ** 2 / each.freedom for v, each in zip(variances, (a, b), strict=True))
    return StandardError(math.sqrt(total), 1 / parts)


def holm(probabilities: Sequence[float | None]) -> list[float | None]:
    """p values of several tests, as Holm's procedure corrects them (Scand. J. Statist. 6, 1979); None stays None.

    If none of the tested differences is real, one of them is at or below a level as often as that level says, at most.
    """
    order = sorted((p, n) for n, p in enumerate(probabilities) if p is not None)
    corrected, least = list[float | None](probabilities), 0.0
    for rank, (p, n) in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * p))
        corrected[n] = least
    return corrected


def told_apart(first: Row, others: Sequence[Row], quality: Quality) -> list[bool | None]:
    """Whether each of several rows differs from the one that looks best; None if it is not tested.

    The best is chosen from the same data. So this is a selection that holds the truly best (Gupta; Hsu, Multiple
    Comparisons, 1996), and no claim on all rows together: each is tested at 5 % over their number (Bonferroni), so that
    the truly best is told from whatever looks better in 5 % of cases at most. Values at or below their floors are all
    as good as can be measured: they do not differ.
    """
    at_floors = [both_at_floor(first, row, quality) for row in others]
    tested = [None if floor else gap(first, row, quality).p for row, floor in zip(others, at_floors, strict=True)]
    number = sum(p is not None for p in tested)
    apart = [None if p is None else p * number <= LEVEL for p in tested]
    return [False if floor else each for each, floor in zip(apart, at_floors, strict=True)]


class Claim(NamedTuple):
    """Whether a row is at most so many times as far as another, by a one-sided 95 % interval.

    Attributes:
        shown: True: it is; False: it is not; None: that is not decided.
        images: how many of a seed would probably (in 4 of 5 cases) decide it, be it for or against, if the gap stays
            what it is; None if nobody can tell.
    """

    shown: bool | None
    images: int | None = None


def images_of(row: Row, quality: Quality) -> int | None:
    """How many images of a seed a quality is of; None if that is not known."""
    count = row.get("solver_images" if "solver_images" in quality.within else "images")
    return int(count) if known(count) else None


def good_enough(row: Row, baseline: Row, quality: Quality, tolerance: float) -> Claim | None:
    """Whether a row's distance is at most (1 + tolerance) times the baseline's; None if that cannot be tested.

    Args:
        row, baseline: both with a distance.
        quality: a distance: less is better.
        tolerance: a share of the baseline's distance.
    """
    from scipy.special import stdtrit

    # a baseline that round-off or extrapolation takes below 0 is allowed as much above it
    factor = 1.0 + math.copysign(tolerance, baseline[quality.key])
    found = gap(row, baseline, quality, factor)
    if found.error is None:
        return Claim(found.value <= 0) if found.paired else None
    width = float(stdtrit(found.error.freedom, 1 - LEVEL)) * found.error.value
    if abs(found.value) > width:
        return Claim(found.value < 0)
    images = images_of(row, quality)
    if found.value == 0 or images is None:
        return Claim(None)
    wanted = width + float(stdtrit(found.error.freedom, _POWER)) * found.error.value
    return Claim(None, math.ceil(images * (wanted / found.value) ** 2))
