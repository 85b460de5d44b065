"""How N steps are placed on a schedule: the discretisation, independent of the solver that walks it.

- `base`: what a grid is, and the registry of grids;
- `by_time`: placed by time or index: trailing, leading, linspace, quad, power, sgm-uniform, beta, vp-time;
- `by_noise`: placed by sigma / alpha: karras, logsnr, polyexponential, laplace, kl-optimal;
- `by_flow_time`: placed by sigma / (alpha + sigma): shift, linear-quadratic;
- `published`: tables that were optimised for published models: ays, oss;
- `listed`: explicit lists of levels;
- `fitted`: what a grid is that is fitted to a model first; `fit_grid`: the one that suits a sampler best; `gits`,
  `ays_fit`: by what steps between many levels cost.
"""

from models.grids.ays_fit import AYSFit
from models.grids.base import GRIDS, Grid, TooManySteps
from models.grids.by_flow_time import LinearQuadratic, Shift
from models.grids.by_noise import Karras, KLOptimal, Laplace, LogSNR, Polyexponential
from models.grids.by_time import Beta, InVPTime, Leading, Linspace, Native, Power, Quad, SGMUniform, Trailing
from models.grids.fit_grid import FitGrid
from models.grids.fitted import FittedGrid
from models.grids.gits import GITS
from models.grids.listed import Explicit
from models.grids.published import AlignYourSteps, OptimalSteps

__all__ = [
    "GITS",
    "GRIDS",
    "AYSFit",
    "AlignYourSteps",
    "Beta",
    "Explicit",
    "FitGrid",
    "FittedGrid",
    "Grid",
    "InVPTime",
    "KLOptimal",
    "Karras",
    "Laplace",
    "Leading",
    "LinearQuadratic",
    "Linspace",
    "LogSNR",
    "Native",
    "OptimalSteps",
    "Polyexponential",
    "Power",
    "Quad",
    "SGMUniform",
    "Shift",
    "TooManySteps",
    "Trailing",
]
