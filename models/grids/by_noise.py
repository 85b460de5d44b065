"""Grids that are placed by how much noise a level has: by sigma / alpha, or log(alpha / sigma)."""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt

from models.grids.base import GRIDS, Grid, check_range, sigma_range
from models.grids.by_time import Between
from models.schedule import Schedule


@GRIDS.register("karras", "edm")
@dataclass(frozen=True)
class Karras(Grid):
    """EDM's grid (arXiv 2206.00364, eq. 5): sigma / alpha evenly spaced in its rho-th root.

    Attributes:
        rho: 7 in the paper; larger puts more steps at low noise.
        sigma_min: lowest sigma / alpha; None: the schedule's own.
        sigma_max: highest sigma / alpha; None: the schedule's own.
    """

    rho: Annotated[float, Ge(1)] = 7.0
    sigma_min: Annotated[float, Gt(0)] | None = None
    sigma_max: Annotated[float, Gt(0)] | None = None

    def times(self, schedule: Schedule, count: int) -> list[float]:
        low, high = sigma_range(schedule, self.sigma_min, self.sigma_max)
        roots = np.linspace(high ** (1 / self.rho), low ** (1 / self.rho), count)
        return [min(schedule.t_at(-self.rho * math.log(root)), 1.0) for root in roots]


@GRIDS.register("logsnr")
@dataclass(frozen=True)
class LogSNR(Between):
    """Even in lambda = log(alpha / sigma) from t_start to t_end (DPM-Solver, arXiv 2206.00927)."""

    def times(self, schedule: Schedule, count: int) -> list[float]:
        low, high = (schedule.level(t).logsnr for t in self.ends(schedule))
        check_range("lambda(t_start)", low, "lambda(t_end)", high)
        return [min(schedule.t_at(float(logsnr)), 1.0) for logsnr in np.linspace(low, high, count)]
