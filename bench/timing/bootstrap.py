"""Bootstrap intervals of medians (Efron, The Jackknife, the Bootstrap and Other Resampling Plans, 1982).

A resample's median depends on the ranks of its values only, so ranks are drawn once for each number of values. The
place of the k-th smallest of n values drawn with replacement is floor(n U), where U, the k-th smallest of n uniform
numbers, is of the beta distribution B(k, n + 1 - k), and the next one is the smallest of n - k uniform numbers in what
is left above it. The seed is fixed: the same times have the same interval.
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
    """The ends of the 95 % percentile bootstrap interval of the median that values are drawn from, in their unit.

    It supposes that values are independent, which calls in a row on a drifting machine are not; rounds that alternate
    between settings make them nearly so. It is never wider than the range of the values, and the range of n values
    holds the median with probability 1 - 2^(1 - n): 0 for one value, 50 % for 2, 75 % for 3, 88 % for 4 and 94 % for 5.
    From fewer than `ENOUGH` values, then, it is their range, and less than a 95 % interval. ValueError for no values.
    """
    low, high = np.quantile(_medians(values, 0), _TAILS).tolist()
    return low, high


def round_medians(values: Sequence[float], counts: Sequence[int]) -> list[float]:
    """The median of each round, of which the intervals of times are.

    Calls of one round share the state of the machine: taken as independent values, fifty of them would make an interval
    as narrow as the clock allows, whatever rounds differ by.

    Args:
        values: of all rounds, one round after the other.
        counts: values in each round, one or more; ValueError if there are others than values.
    """
    if sum(counts) != len(values):
        raise ValueError(f"{len(values)} values in rounds of {sum(counts)}")
    ends = np.cumsum(counts)[:-1]
    return [float(np.median(part)) for part in np.split(np.asarray(values, dtype=np.float64), ends)]


def ratio_of_medians(numerator: Sequence[float], denominator: Sequence[float]) -> tuple[float, float, float]:
    """The ratio of the medians of positive values, and the lower and upper end of its 95 % bootstrap interval.

    The two samples are resampled apart, so that drift which hit both alike widens the interval. Of few values it means
    as little as each `median_interval` does. ValueError if one of them has no values.
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
