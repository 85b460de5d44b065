"""Grids that are placed by how much noise a level has: by sigma / alpha, or log(alpha / sigma)."""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt

from models.grids.base import GRIDS, Grid, TooManySteps, check_range, sigma_range
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


@GRIDS.register("logsnr", "exponential")
@dataclass(frozen=True)
class LogSNR(Between):
    """Even in lambda = log(alpha / sigma) from t_start to t_end (DPM-Solver, arXiv 2206.00927).

    That is even in log(sigma / alpha): k-diffusion's `get_sigmas_exponential`.
    """

    def times(self, schedule: Schedule, count: int) -> list[float]:
        low, high = (schedule.level(t).logsnr for t in self.ends(schedule))
        check_range("lambda(t_start)", low, "lambda(t_end)", high)
        return [min(schedule.t_at(float(logsnr)), 1.0) for logsnr in np.linspace(low, high, count)]


@dataclass(frozen=True)
class _InSigma(Grid):
    """A grid from one sigma / alpha to another, both included.

    Attributes:
        sigma_min: lowest sigma / alpha; None: the schedule's own.
        sigma_max: highest sigma / alpha; None: the schedule's own.
    """

    sigma_min: Annotated[float, Gt(0)] | None = None
    sigma_max: Annotated[float, Gt(0)] | None = None

    def _between(self, schedule: Schedule, logarithms: np.ndarray, low: float, high: float) -> list[float]:
        """The times of logarithms of sigma / alpha, whose ends are `high` and `low` to the last digit."""
        inner = [float(each) for each in logarithms[1:-1]]
        ends = [math.log(high), *inner, *([math.log(low)] if len(logarithms) > 1 else [])]
        return [min(schedule.t_at(-each), 1.0) for each in ends]


@GRIDS.register("polyexponential")
@dataclass(frozen=True)
class Polyexponential(_InSigma):
    """log(sigma / alpha) falls as the rho-th power of a line: k-diffusion's `get_sigmas_polyexponential`.

    Attributes:
        rho: larger puts more steps at low noise; 1 is even in log(sigma / alpha), `logsnr`.
    """

    rho: Annotated[float, Gt(0)] = 1.0

    def times(self, schedule: Schedule, count: int) -> list[float]:
        low, high = sigma_range(schedule, self.sigma_min, self.sigma_max)
        ramp = np.linspace(1.0, 0.0, count) ** self.rho
        return self._between(schedule, math.log(low) + ramp * math.log(high / low), low, high)


@GRIDS.register("laplace")
@dataclass(frozen=True)
class Laplace(_InSigma):
    """Quantiles of a Laplace law of log(sigma / alpha): the noise levels of training of arXiv 2407.03297, section 3.2.

    The first and last are sigma_max and sigma_min, to which ComfyUI's `get_sigmas_laplace` clamps what lies beyond; it
    adds 1e-5 to the argument of the logarithm besides, and knows no step to the data.

    Attributes:
        mu: the mean.
        beta: the scale; smaller puts more steps around mu.
    """

    mu: float = 0.0
    beta: Annotated[float, Gt(0)] = 0.5

    def times(self, schedule: Schedule, count: int) -> list[float]:
        low, high = sigma_range(schedule, self.sigma_min, self.sigma_max)
        place = np.linspace(0.0, 1.0, count)[1:-1]
        inner = self.mu + self.beta * np.sign(0.5 - place) * -np.log1p(-2.0 * np.abs(0.5 - place))
        if len(inner) and not math.log(low) < inner[-1] <= inner[0] < math.log(high):
            raise TooManySteps(
                f"{count} noisy levels of a Laplace law with mu={self.mu:g} and beta={self.beta:g} lie at sigma / alpha"
                f" = {math.exp(min(inner[0], 700.0)):.4g} to {math.exp(inner[-1]):.4g}, not within {high:.4g} to "
                f"{low:.4g}; take fewer steps, a smaller beta, or another mu"
            )
        return self._between(schedule, np.array([0.0, *inner, 0.0][:count]), low, high)


@GRIDS.register("kl-optimal")
@dataclass(frozen=True)
class KLOptimal(_InSigma):
    """arctan(sigma / alpha) evenly spaced: optimal for data of unit variance (arXiv 2404.14507, theorem 3.1)."""

    def times(self, schedule: Schedule, count: int) -> list[float]:
        low, high = sigma_range(schedule, self.sigma_min, self.sigma_max)
        angles = np.linspace(math.atan(high), math.atan(low), count)
        return self._between(schedule, np.log(np.tan(angles)), low, high)
