"""Whether a mean difference over images is more than chance makes of so few of them, beside so many others."""

import math

from torch import Tensor

CLEAR, LIKELY = 4.0, 3.0
"""Standard errors of a mean over many images from which on it is no chance, and from which on it is in doubt."""
FEWEST = 4
"""Images of which anything is said."""
_BESIDE = 10
"""Differences that are looked at beside one another for which that is so; of more, each has to be clearer."""


def is_above_chance(differences: Tensor, least: float, beside: int = 1) -> bool:
    """Whether the mean of differences (N,) is above 0 by at least so many standard errors.

    Of few images it takes as many more as are as rare in Student's t distribution, and of more than ten differences as
    many as keep the chance that any of them is so large (Bonferroni).

    Args:
        differences: of as many images.
        least: standard errors, `CLEAR` or `LIKELY`.
        beside: how many differences are looked at.
    """
    if len(differences) < FEWEST or not bool(differences.isfinite().all()):
        return False
    needed = max(least, t_at(len(differences) - 1, 0.5 * math.erfc(least / math.sqrt(2.0)) * _BESIDE / beside))
    error = float(differences.std()) / math.sqrt(len(differences))
    return float(differences.mean()) > needed * max(error, 1e-12)


def t_at(freedom: float, chance: float) -> float:
    """What Student's t of so many degrees of freedom exceeds with a chance, one-sided."""
    from scipy.special import stdtrit  # a third of a second, which what imports this should not wait for

    return -float(stdtrit(freedom, min(chance, 0.5)))
