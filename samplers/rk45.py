"""The black-box ODE sampler: adaptive Runge-Kutta of order 5(4) (Dormand and Prince, 1980) on the probability flow.
Song et al.: Score-Based Generative Modeling through Stochastic Differential Equations (arXiv 2011.13456), section 4.3.

As there, the solver is scipy's, which runs on the CPU: compare its evaluations, and take its seconds for what they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Gt

from models.denoiser import Denoiser
from models.schedule import Level
from samplers.base import AdaptiveSampler
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("rk45")
@dataclass(frozen=True)
class RK45(AdaptiveSampler):
    """Adaptive Runge-Kutta 5(4), error control per image.

    Attributes:
        rtol, atol: relative and absolute error allowed a step, in the scaled state x / alpha; the paper's 1e-5 takes
            about twice the evaluations.
    """

    rtol: Annotated[float, Gt(0)] = 1e-3
    atol: Annotated[float, Gt(0)] = 1e-3

    paper = "arXiv:2011.13456"

    def solve(self, model: Denoiser, x: Tensor, t: Level, s: Level) -> Tensor:
        """The probability flow d(x / alpha) / d lambda = -rho eps from t to s, for one image."""
        import torch
        from scipy.integrate import solve_ivp  # half a second of import: only where it is used

        def slope(logsnr: float, flat: np.ndarray) -> np.ndarray:
            at = model.schedule.at_ratio(math.exp(-logsnr))
            state = torch.from_numpy(at.alpha * flat).to(x).reshape(x.shape)
            return -at.ratio * model(state, at).eps.flatten().double().cpu().numpy()

        start = x.flatten().double().cpu().numpy() / t.alpha
        found = solve_ivp(slope, (t.logsnr, s.logsnr), start, method="RK45", rtol=self.rtol, atol=self.atol)
        if not found.success:
            raise RuntimeError(f"the adaptive solver failed: {found.message}")
        return torch.from_numpy(s.alpha * found.y[:, -1]).to(x).reshape(x.shape)
