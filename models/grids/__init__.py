"""How N steps are placed on a schedule: the discretisation, independent of the solver that walks it.

- `base`: what a grid is, and the registry of grids;
- `by_time`: placed by time or index: trailing, leading, linspace, quad, power, vp-time;
- `by_noise`: placed by sigma / alpha: karras, logsnr;
- `listed`: explicit lists of levels;
- `fitted`: what a grid is that is fitted to a model first; `fit_grid`: the one that suits a sampler best; `gits`,
  `ays_fit`: by what steps between many levels cost.
"""

from models.grids.ays_fit import AYSFit
from models.grids.base import GRIDS, Grid, TooManySteps
from models.grids.by_noise import Karras, LogSNR
from models.grids.by_time import InVPTime, Leading, Linspace, Native, Power, Quad, Trailing
from models.grids.fit_grid import FitGrid
from models.grids.fitted import FittedGrid
from models.grids.gits import GITS
from models.grids.listed import Explicit

__all__ = [
    "GITS",
    "GRIDS",
    "AYSFit",
    "Explicit",
    "FitGrid",
    "FittedGrid",
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
