"""Explicit Runge-Kutta methods of any tableau on the probability flow, with all stages within a step.

- Plain tableaus, in a variable: "rho" = sigma / alpha, where d(x / alpha) = eps d rho, makes them rho-RK of DEIS (Zhang
  and Chen, arXiv 2204.13902, section 3.4: `kutta3` and `rk4` are its rho3Kutta and rho4RK) and `heun2` EDM's `heun`;
  "flow" is rectified flow's time, on every schedule; "t" the schedule's own, as in Score SDE (`pf-euler`); in
  log(alpha / sigma), for x_0 or eps, they are integrating-factor (Lawson) methods.
- Exponential ones, in log(alpha / sigma), for x_0 or eps: `exp-midpoint` is DPM-Solver-2 with r_1 = 1/2 (2S of
  DPM-Solver++ for x_0), `res-2s` and `res-3s` those of the refined exponential solver (Zhang et al., arXiv 2308.02157),
  the others the classics of exponential time differencing (`samplers.tableaus` says which).

The step to the clean level, where no stage can be evaluated, is x_0 itself: DDIM's, one evaluation. Unlike those of
`dpm-solver-2` and its kin, stages lie between the grid's levels, so N steps of n stages take n N evaluations.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from models.common.errors import UsageError
from models.denoiser import Denoiser
from models.plugins.registry import unknown
from models.schedule import Level
from samplers.base import Noise, StepSampler
from samplers.registry import register
from samplers.runge_kutta import exponential_between, plain, take
from samplers.tableaus import EXPONENTIAL, PLAIN, Exponential, Rows, nodes_of, order_of

if TYPE_CHECKING:
    from torch import Tensor


@register("rk")
@dataclass(frozen=True)
class RungeKutta(StepSampler):
    """An explicit Runge-Kutta method.

    Attributes:
        tableau: by name, or the rows of a plain one: the weights of stages 2, 3, ..., and last those of the end, so
            [[0.5],[0,1]] for the midpoint.
        variable: that the step is even in; None: "rho", and "lambda-data" for an exponential tableau.
    """

    tableau: str | tuple[tuple[float, ...], ...] = "rk4"
    variable: Literal["rho", "flow", "t", "lambda-data", "lambda-noise"] | None = None

    paper = "arXiv:2204.13902"
    family = "ODE, one step"
    stochastic = False

    def __post_init__(self) -> None:
        if not isinstance(self.tableau, str):
            _check(self.tableau)
        elif self.tableau not in PLAIN | EXPONENTIAL:
            raise unknown("tableau", self.tableau, PLAIN | EXPONENTIAL)
        elif self.tableau in EXPONENTIAL and self._variable not in ("lambda-data", "lambda-noise"):
            raise UsageError(
                f"the exponential tableau {self.tableau!r} is one in log(alpha / sigma), variable=lambda-data or "
                f"lambda-noise, got {self.variable!r}; in {self.variable!r} there are {', '.join(PLAIN)}"
            )

    @property
    def _method(self) -> Rows | Exponential:
        return self.tableau if not isinstance(self.tableau, str) else (PLAIN | EXPONENTIAL)[self.tableau]

    @property
    def _variable(self) -> str:
        return self.variable or ("lambda-data" if self.tableau in EXPONENTIAL else "rho")

    @property
    def starts_at_noise(self) -> bool:  # type: ignore[override]
        return self._variable == "flow"

    @property
    def order(self) -> int:
        method = self._method
        return method.order if isinstance(method, Exponential) else order_of(method)

    def nfe(self, levels: Sequence[Level]) -> int:
        method = self._method
        stages = len(method.nodes if isinstance(method, Exponential) else method)
        return stages * (len(levels) - 1 - levels[-1].is_clean) + levels[-1].is_clean

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        if s.is_clean:
            return model(x, t).combine(x0=s.alpha)
        method, variable = self._method, self._variable
        if isinstance(method, Exponential):
            steps = exponential_between(method, 1.0 if variable == "lambda-data" else -1.0, model.schedule, t, s)
        else:
            steps = plain(method, variable, model.schedule, t, s)
        return take(model, x, steps)[0]


def _check(rows: Rows) -> None:
    """UsageError for what is no consistent explicit tableau with its stages within the step."""
    shape = [len(row) for row in rows]
    if shape != [*range(1, len(rows)), len(rows)] or not rows:
        raise UsageError(
            "a tableau of n stages has the 1, 2, ..., n - 1 weights of stages 2 ... n and the n weights of the end, as "
            f"[[0.5],[0,1]] for the midpoint; got {json.dumps(rows)}"
        )
    if order_of(rows) < 1:
        raise UsageError(f"the weights of the end must sum to 1, got {json.dumps(rows[-1])}")
    if not all(-1e-9 <= place <= 1.0 + 1e-9 for place in nodes_of(rows)):
        raise UsageError(
            f"every stage must lie within the step: weights that sum to 0 ... 1, got {json.dumps(nodes_of(rows))}"
        )
