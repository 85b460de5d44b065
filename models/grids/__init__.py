"""How N steps are placed on a schedule: the discretisation, independent of the solver that walks it.

- `base`: what a grid is, and the registry of grids;
- `by_time`: placed by time or index: trailing, leading, linspace, quad, power, sgm-uniform, beta, vp-time;
- `by_noise`: placed by sigma / alpha: karras, logsnr, polyexponential, laplace, kl-optimal;
- `by_flow_time`: placed by sigma / (alpha + sigma): shift, linear-quadratic;
- `published`: tables that were optimised for published models: ays, oss;
- `listed`: explicit lists of levels.
"""

from models.grids.base import GRIDS, Grid, TooManySteps
from models.grids.by_flow_time import LinearQuadratic, Shift
from models.grids.by_noise import Karras, KLOptimal, Laplace, LogSNR, Polyexponential
from models.grids.by_time import Beta, InVPTime, Leading, Linspace, Native, Power, Quad, SGMUniform, Trailing
from models.grids.listed import Explicit
from models.grids.published import AlignYourSteps, OptimalSteps

__all__ = [
    "GRIDS",
    "AlignYourSteps",
    "Beta",
    "Explicit",
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
