"""Standard errors and 95 % confidence intervals of single rows.

The mean over n seeds has the standard error s / sqrt(n) and Student's t distribution with n - 1 degrees of freedom.
That of a single seed's Frechet distance, class accuracy, CLIP score or PSNR is the delete-a-tenth jackknife's, with 9
degrees of freedom (Efron, The Jackknife, the Bootstrap and Other Resampling Plans, 1982); an extrapolated distance
joins to it what may be left of the bias (`bench.quality.frechet.extrapolate`). Nothing else that a single seed has is a
standard error. Nor is a deviation of 0, or one that a single image makes: it gives no interval, and is not tested.
"""

import math
from functools import cache
from typing import NamedTuple

from bench.report.data.columns import Row
from bench.report.data.distances import Quality
from bench.report.data.text import known

LEVEL = 0.05
"""Two rows differ if the probability of a difference as large by chance is at most this; intervals cover the rest."""

JACKKNIFE_BLOCKS = 10
"""Of the images of a record, as in `bench.quality.statistics`, which needs torch, and the report does not."""


class StandardError(NamedTuple):
    """Of a value, with the degrees of freedom that it was estimated with."""

    value: float
    freedom: float


def standard_error(deviation: float, seeds: int, jackknife: bool, step: float = 0.0) -> StandardError | None:
    """The standard error of a mean; None if its deviation tells none.

    Args:
        deviation: over seeds (ddof 1) where they are several, else what the record says; NaN if unknown.
        seeds: how many.
        jackknife: whether a record's own deviation is a standard error: see `Quality`.
        step: the least that two values can differ by: see `resolution`.
    """
    if not known(deviation) or (seeds < 2 and not jackknife) or unresolved(deviation, seeds, step):
        return None
    if seeds > 1:
        return StandardError(deviation / math.sqrt(seeds), seeds - 1)
    return StandardError(deviation, JACKKNIFE_BLOCKS - 1)


def unresolved(deviation: float, seeds: int, step: float) -> bool:
    """Whether values have no spread, or only that of one seed which differs from all others by one step."""
    return deviation == 0 or (seeds > 1 and deviation <= (1 + 1e-9) * step / math.sqrt(seeds))


def resolution(row: Row, quality: Quality) -> float:
    """The least that two values of a quality can differ by: of a share of images one of them, else 0."""
    images = None if quality.counts is None else row.get(quality.counts)
    return 1.0 / images if images is not None and known(images) and images > 0 else 0.0


@cache
def t_quantile(freedom: float) -> float:
    """Of Student's t distribution: standard errors on either side that a 95 % interval has."""
    from scipy.special import stdtrit  # a third of a second, which what imports the report should not wait for

    return float(stdtrit(freedom, 1 - LEVEL / 2))


def half_width(error: StandardError | None) -> float:
    """Half the width of the 95 % confidence interval; NaN if there is no standard error."""
    return math.nan if error is None else t_quantile(error.freedom) * error.value


def t_probability(value: float, error: StandardError) -> float:
    """The two-sided p value of Student's t-test of whether a mean is 0."""
    return 2 * t_tail(abs(value), error)


def t_tail(value: float, error: StandardError) -> float:
    """The one-sided p value: of a mean as far above 0 as this if it is 0 or less."""
    from scipy.special import stdtr

    return float(stdtr(error.freedom, -value / error.value))


def row_error(row: Row, quality: Quality) -> StandardError | None:
    """Of a row's mean; None if it has no interval."""
    # without one although there is a deviation: some seed has no value
    if not known(row.get(quality.key)) or not known(row.get(quality.ci)):
        return None
    return standard_error(row[quality.std], int(row["seeds"]), quality.jackknife, resolution(row, quality))


def at_floor(row: Row, quality: Quality) -> bool:
    """Whether a row's value is at or below what can be told from the truth."""
    value, floor = row.get(quality.key), None if quality.floor is None else row.get(quality.floor)
    return known(floor) and known(value) and bool(value <= quality.floors * floor)


def both_at_floor(a: Row, b: Row, quality: Quality) -> bool:
    """Whether two rows are as good as can be measured, and so do not differ."""
    return at_floor(a, quality) and at_floor(b, quality)


def p_text(p: float) -> str:
    """A p value as text: p = 0.032, or p < 0.001."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
