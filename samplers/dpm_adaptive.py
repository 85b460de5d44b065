"""DPM-Solver-12 and DPM-Solver-23 with adaptive steps. Lu et al.: DPM-Solver: A Fast ODE Solver for Diffusion
Probabilistic Model Sampling in Around 10 Steps (arXiv 2206.00927), appendix; as k-diffusion's `sample_dpm_adaptive`.

The methods of order 1 and 2, or 2 and 3, share their evaluations, and from their difference a PID controller finds the
next step in log-SNR. As k-diffusion has it: the difference is that of x / alpha, of which a part of its size (`rtol`)
or `atol` is allowed; a step that is rejected costs its evaluations; the better of the two goes on. The paper's
controller is the integral alone, with other factors. There one error norm holds for a batch; here each image has its
own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt, Le

from models.denoiser import Denoiser
from models.schedule import Level
from samplers.base import AdaptiveSampler
from samplers.registry import register
from samplers.runge_kutta import Row, Steps, exponential, take
from samplers.tableaus import HALF_SLOPE, LINE_TO_THIRD

if TYPE_CHECKING:
    from torch import Tensor

_Share = Annotated[float, Ge(0), Le(1)]


@register("dpm-adaptive")
@dataclass(frozen=True)
class DPMAdaptive(AdaptiveSampler):
    """Adaptive DPM-Solver, error control per image.

    Attributes:
        solver_order: of the better method, 2 or 3, and evaluations a step.
        rtol, atol: relative and absolute error allowed a step, in the scaled state x / alpha.
        h_init: the first step in log-SNR.
        pcoeff, icoeff, dcoeff: of the controller.
        accept_safety: a step is accepted unless the next one would be shorter than this part of it.
    """

    solver_order: Literal[2, 3] = 3
    rtol: Annotated[float, Gt(0)] = 0.05
    atol: Annotated[float, Gt(0)] = 0.0078
    h_init: Annotated[float, Gt(0)] = 0.05
    pcoeff: _Share = 0.0
    icoeff: _Share = 1.0
    dcoeff: _Share = 0.0
    accept_safety: Annotated[float, Gt(0), Le(1)] = 0.81

    paper = "arXiv:2206.00927"

    def solve(self, model: Denoiser, x: Tensor, t: Level, end: Level) -> Tensor:
        h, errors = self.h_init, list[float]()  # inverse errors: of this step, of the last accepted and the one before
        low_before = x / t.alpha
        while t != end:
            s = end if t.logsnr + h >= end.logsnr else model.schedule.at_ratio(math.exp(-t.logsnr - h))
            low, high = take(model, x, self._steps(model, t, s))
            scaled = low / s.alpha
            allowed = (self.rtol * scaled.abs().maximum(low_before.abs())).clamp(min=self.atol)
            error = float(((low - high) / s.alpha / allowed).square().mean().sqrt())
            if not (math.isfinite(error) and s.logsnr > t.logsnr):
                raise RuntimeError(
                    f"the adaptive solver failed: an error of {error:.3g} in a step of {h:.3g} in log-SNR"
                )
            errors = [1.0 / (error + 1e-8), *errors[1:]] if errors else [1.0 / (error + 1e-8)] * 3
            factor = 1.0 + math.atan(math.prod(e**b for e, b in zip(errors, self._powers, strict=True)) - 1.0)
            if factor >= self.accept_safety:
                t, x, low_before, errors = s, high, scaled, [errors[0], errors[0], errors[1]]
            h *= factor
        return x

    @property
    def _powers(self) -> tuple[float, float, float]:
        p, i, d = self.pcoeff, self.icoeff, self.dcoeff
        return (p + i + d) / self.solver_order, -(p + 2.0 * d) / self.solver_order, d / self.solver_order

    def _steps(self, model: Denoiser, t: Level, s: Level) -> Steps:
        """A step with two ends: that of the lower order, then that of the higher."""
        inner = [
            model.schedule.at_ratio(math.exp(-t.logsnr - (s.logsnr - t.logsnr) * part / self.solver_order))
            for part in range(1, self.solver_order)
        ]
        made = exponential.__wrapped__  # no other image has these steps
        if self.solver_order == 2:
            better: Steps = made(HALF_SLOPE, -1.0, t, *inner, s)
            ratio = s.alpha / t.alpha
            low: Row = ratio, (s.sigma - ratio * t.sigma,)
        else:
            better = made(LINE_TO_THIRD, -1.0, t, *inner, s)
            low = made(HALF_SLOPE, -1.0, t, inner[0], s).rows[-1]
        return better._replace(rows=(*better.rows[:-1], low, better.rows[-1]))
