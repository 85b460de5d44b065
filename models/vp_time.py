"""The time of the VP schedule that spans given noise levels: a measure of noise on any schedule.

sigma(t) = sqrt(exp(beta_d t^2 / 2 + beta_min t) - 1), with the two coefficients such that sigma is sigma_max at t = 1
and sigma_min at t_min. EDM's code samples VP models so (arXiv 2206.00364, table 1), and diff-sampler places steps and
fits the polynomials of DEIS in that time on EDM's models.
"""

import math
from functools import lru_cache

from models.common.errors import UsageError
from models.schedule import ContinuousVP, Schedule


class VPTime(ContinuousVP):
    """The VP schedule with sigma / alpha = sigma_max at t = 1 and sigma_min at t_min, to be used from t_min to 1.

    Raises:
        UsageError: no such schedule: the noise would fall with t.
    """

    def __init__(self, sigma_min: float, sigma_max: float, t_min: float = 1e-3) -> None:
        if not (0.0 < sigma_min < sigma_max < math.inf and 0.0 < t_min < 1.0):
            raise UsageError(
                "VP time runs between finite noise levels: expected 0 < sigma_min < sigma_max and 0 < t_end < 1, "
                f"got {sigma_min!r}, {sigma_max!r} and {t_min!r}; set them on the grid"
            )
        # the integral of beta from 0 to t is log(1 + sigma^2)
        low, high = math.log1p(sigma_min**2), math.log1p(sigma_max**2)
        beta_d = 2.0 * (low / t_min - high) / (t_min - 1.0)
        self.t_min = t_min
        self.beta_min = high - 0.5 * beta_d  # of EDM's range a little below 0; beta is positive from t_min on
        self.beta_max = self.beta_min + beta_d
        if self.beta_max <= 0.0:
            raise UsageError(
                f"no VP schedule has sigma / alpha = {sigma_max:g} at t = 1 and {sigma_min:g} at t = {t_min:g}; "
                "give a lower sigma_min, a higher sigma_max, or a higher t_end"
            )


@lru_cache(64)
def vp_time_of(schedule: Schedule) -> VPTime:
    """The VP time that spans a schedule's own noise levels."""
    return VPTime(schedule.level(schedule.t_min).ratio, schedule.level(schedule.t_max).ratio)
