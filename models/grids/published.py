"""Grids that were optimised for published models, as tables of their levels.

Other numbers of steps are had as their authors say: log-linear interpolation over the steps. The last entry of a table
is where its last step begins to be the one to the data; it is only a level with `clean=false`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.common.errors import UsageError
from models.grids.base import GRIDS, Grid
from models.schedule import Schedule

_AYS: dict[str, tuple[float, ...]] = {
    "sd15": (
        *(14.6146412293, 6.4745760956, 3.8636745985, 2.6946151520, 1.8841921177, 1.3943805092, 0.9642583904),
        *(0.6523686016, 0.3977456272, 0.1515232662, 0.0291671582),
    ),
    "sdxl": (
        *(14.6146412293, 6.3184485287, 3.7681790315, 2.1811480769, 1.3405244945, 0.8620721141, 0.5550693289),
        *(0.3798540708, 0.2332364134, 0.1114188177, 0.0291671582),
    ),
    "svd": (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
}
"""sigma / alpha."""

_OSS: dict[str, tuple[float, ...]] = {
    "flux": (0.9968, 0.9886, 0.9819, 0.975, 0.966, 0.9471, 0.9158, 0.8287, 0.5512, 0.2808, 0.001),
    "wan": (
        *(1.0, 0.997, 0.995, 0.993, 0.991, 0.989, 0.987, 0.985, 0.98, 0.975, 0.973, 0.968, 0.96, 0.946, 0.927, 0.902),
        *(0.864, 0.776, 0.539, 0.208, 0.001),
    ),
    "chroma": (
        *(0.992, 0.99, 0.988, 0.985, 0.982, 0.978, 0.973, 0.968, 0.961, 0.953, 0.943, 0.931, 0.917, 0.9, 0.881, 0.858),
        *(0.832, 0.802, 0.769, 0.731, 0.69, 0.646, 0.599, 0.55, 0.501, 0.451, 0.402, 0.355, 0.311, 0.27, 0.232, 0.199),
        *(0.169, 0.143, 0.12, 0.101, 0.084, 0.07, 0.058, 0.048, 0.001),
    ),
}
"""Flow time."""


def log_linear(table: Sequence[float], count: int) -> list[float]:
    """`count` numbers whose logarithms lie evenly along those of a table, from its first to its last."""
    if count == len(table):
        return list(table)
    at = np.linspace(0.0, len(table) - 1.0, count)
    return [float(each) for each in np.exp(np.interp(at, np.arange(len(table)), np.log(table)))]


class _Table(Grid):
    """A grid from a table of as many levels as it has steps, and one more for the last step's end."""

    def _levels(self, table: Sequence[float], count: int) -> list[float]:
        """The noisy levels of a grid of so many."""
        return log_linear(table, count + 1)[:-1] if self.clean else log_linear(table, count)


def _times(schedule: Schedule, ratios: Sequence[float], named: str) -> list[float]:
    highest = schedule.level(1.0).ratio
    if ratios[0] > highest * (1.0 + 1e-4):  # tables are rounded
        raise UsageError(
            f"{named} starts at sigma / alpha = {ratios[0]:.6g}, above the schedule's noisiest level, {highest:.6g}: "
            "it was made for another schedule, so take another grid"
        )
    return [1.0 if ratio >= highest else schedule.at_ratio(ratio).t for ratio in ratios]


@GRIDS.register("ays")
@dataclass(frozen=True)
class AlignYourSteps(_Table):
    """Align Your Steps (arXiv 2404.14507): optimised for 10 steps of a stochastic solver on a published model.

    Of Stable Diffusion, the levels at indices 999, 850, ... of its betas, and its lowest one (diffusers' `AysSchedules`
    has the indices too); of the video model, its authors' numbers. Further digits are ComfyUI's.

    Attributes:
        table: Stable Diffusion 1.5, SDXL or Stable Video Diffusion; by sigma / alpha, on any schedule that reaches it.
    """

    table: Literal["sd15", "sdxl", "svd"] = "sd15"

    def times(self, schedule: Schedule, count: int) -> list[float]:
        return _times(schedule, self._levels(_AYS[self.table], count), f"ays[table={self.table}]")


@GRIDS.register("oss")
@dataclass(frozen=True)
class OptimalSteps(_Table):
    """Optimal Stepsize (arXiv 2503.21774): found by dynamic programming for a published flow model.

    The numbers are those of ComfyUI's `OptimalStepsScheduler`: for 10 steps of FLUX, 20 of Wan and 40 of Chroma.

    Attributes:
        table: the model; by flow time sigma / (alpha + sigma), on any schedule that reaches it.
    """

    table: Literal["flux", "wan", "chroma"] = "flux"

    def times(self, schedule: Schedule, count: int) -> list[float]:
        ratios = [u / (1.0 - u) if u < 1.0 else float("inf") for u in self._levels(_OSS[self.table], count)]
        return _times(schedule, ratios, f"oss[table={self.table}]")
