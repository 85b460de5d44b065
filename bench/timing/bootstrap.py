"""Bootstrap intervals of medians (Efron, The Jackknife, the Bootstrap and Other Resampling Plans, 1982).

A resample's median depends on the ranks of its values only, so ranks are drawn once for each number of values and used
for all samples of that size. They cost two draws whatever the number is: the place of the k-th smallest of n values
drawn with replacement is floor(n U), where U, the k-th smallest of n uniform numbers, has the beta distribution
B(k, n + 1 - k), and the next one is the smallest of n - k uniform numbers in what is left above it. The seed is fixed:
the same times have the same interval.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 2_000
"""Their 2.5 % and 97.5 % quantiles have a standard error of 0.35 % in probability."""

ENOUGH = 5
"""Values from which on the interval can be of 95 %: see `median_interval`."""

_TAILS = (0.025, 0.975)


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the median of the distribution that values are drawn from.

    It supposes that values are independent, which calls in a row on a drifting machine are not; rounds that alternate
    between settings make them nearly so. It is never wider than the range of the values, and the range of n values
    holds the median with probability 1 - 2^(1 - n): 0 for one value, which is both ends of its own interval and says
    nothing of how far the median may be, 50 % for 2, 75 % for 3, 88 % for 4 and 94 % for 5. From fewer than `ENOUGH`
    values, then, what is returned is their range, and less than a 95 % interval.

    Args:
        values: of any unit, in any order.

    Returns:
        The lower and the upper end, in the unit of the values.

    Raises:
        ValueError: there are no values.
    """
    low, high = np.quantile(_medians(values, 0), _TAILS).tolist()
    return low, high


def round_medians(values: Sequence[float], counts: Sequence[int]) -> list[float]:
    """The median of each round, of which the intervals of times are.

    Calls of one round follow one another and share the state of the machine, so that they are no independent values:
    taken as such, fifty calls a round would make an interval as narrow as the clock allows, whatever rounds differ by.

    Args:
        values: of all rounds, one round after the other.
        counts: values in each round, one or more.

    Raises:
        ValueError: other counts than there are values.
    """
    if sum(counts) != len(values):
        raise ValueError(f"{len(values)} values in rounds of {sum(counts)}")
    ends = np.cumsum(counts)[:-1]
    return [float(np.median(part)) for part in np.split(np.asarray(values, dtype=np.float64), ends)]


def ratio_of_medians(numerator: Sequence[float], denominator: Sequence[float]) -> tuple[float, float, float]:
    """The ratio of two medians and the ends of its 95 % percentile bootstrap interval.

    The two samples are resampled apart, so that drift which hit both alike widens the interval. Of few values it means
    as little as each `median_interval` does.

    Args:
        numerator: positive values.
        denominator: positive values of the same unit, not necessarily as many.

    Returns:
        The ratio, the lower and the upper end.

    Raises:
        ValueError: one of them has no values.
    """
    low, high = np.quantile(_medians(numerator, 0) / _medians(denominator, 1), _TAILS).tolist()
    return float(np.median(numerator) / np.median(denominator)), low, high


def _medians(values: Sequence[float], stream: int) -> Floats:
    """The medians of all resamples, (RESAMPLES,); streams are independent of one another."""
    if not len(values):
        raise ValueError("there are no values; expected one or more")
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    below, above = _middle(len(ordered), stream)
    return np.asarray(0.5 * (ordered[below] + ordered[above]))


@lru_cache(maxsize=256)
def _middle(count: int, stream: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The places, among so many ordered values, of the two in the middle of each resample; one twice if it is odd."""
    random = np.random.default_rng((stream, count))
    k = (count + 1) // 2
    lower = random.beta(k, count + 1 - k, RESAMPLES)
    upper = lower if count % 2 else lower + (1 - lower) * random.beta(1, count - k, RESAMPLES)
    # rounding can give 1, which is beyond the last place
    below, above = (np.minimum(count * each, count - 1).astype(np.intp) for each in (lower, upper))
    return below, above
