"""How N steps are placed on a schedule: the discretisation, independent of the solver that walks it.

- `base`: what a grid is, and the registry of grids;
- `by_time`: placed by time or index: trailing, leading, linspace, quad, power, vp-time;
- `by_noise`: placed by sigma / alpha: karras, logsnr;
- `listed`: explicit lists of levels.
"""

from models.grids.base import GRIDS, Grid, TooManySteps
from models.grids.by_noise import Karras, LogSNR
from models.grids.by_time import InVPTime, Leading, Linspace, Native, Power, Quad, Trailing
from models.grids.listed import Explicit

__all__ = [
    "GRIDS",
    "Explicit",
    "Grid",
    "InVPTime",
    "Karras",
    "Leading",
    "Linspace",
    "LogSNR",
    "Native",
    "Power",
    "Quad",
    "TooManySteps",
    "Trailing",
]
