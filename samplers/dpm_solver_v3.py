"""DPM-Solver-v3. Zheng, Lu, Chen, Zhu: DPM-Solver-v3: Improved Diffusion ODE Solver with Empirical Model Statistics
(arXiv 2310.13268), algorithms 1 and 2.

A multistep predictor-corrector that first takes out of the flow what a linear model of it explains, with coefficients
an element each that are fitted to the network (`samplers.model_statistics`). With L, S the integrals of l and s from
the step's start, B that of exp(-S) b and f = (sigma eps - l x) / alpha, the step from s to t is

    x_t / alpha_t = exp(-L_t) (x_s / alpha_s - integral of exp(L + S) (g + B) d lambda),   g = exp(-S) f - B,

exact but for g, which is interpolated through the values kept: by their polynomial, or "pseudo", which takes divided
differences for its derivatives at the start (appendix). At l = 1, s = b = 0 it is multistep DPM-Solver++. The corrector
goes from the same start with the value at t, too, at no further evaluation; its result replaces x_t, while f stays, as
in the authors' code. The order falls to 1 towards the end, as there. The authors end at a noisy level; the step to the
clean one is x_0 here, as of other solvers. They round levels to the nodes of the statistics, of which there are 1,200
(4,096 images of the data); here statistics are interpolated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
from annotated_types import Ge

from models.denoiser import Denoiser
from models.fitted import IMAGE_EVALUATIONS, FitModel, Fitted
from models.schedule import Level, Schedule
from samplers import model_statistics
from samplers.base import Noise, Sampler
from samplers.coefficients import orders_left
from samplers.model_statistics import Statistics
from samplers.registry import register

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_LONGEST = 0.1
"""In lambda, of a part of a step that is integrated by Gauss-Legendre with four points."""


_Function = Callable[[Any], np.ndarray]


class _Step(NamedTuple):
    """x_t = keep x_s + sum of take_j f_j + add, an element each."""

    keep: Tensor
    take: tuple[Tensor, ...]
    add: Tensor


@register("dpm-solver-v3")
@dataclass(frozen=True)
class DPMSolverV3(Sampler, Fitted):
    """DPM-Solver-v3.

    Attributes:
        solver_order: of the predictor.
        corrector: "same" is of the predictor's order, with which the paper's tables were made; "pseudo" of one order
            more, but with divided differences for derivatives, which leaves order 2, as the authors advise in general;
            "higher" of one order more without that, which is ours, and on an exact mixture the best from 8 steps on.
        pseudo_predictor: whether divided differences stand for derivatives in the predictor; the authors' at 5 steps.
        lower_order_below: with fewer steps than this the order falls to 1 at the end.
        images: that statistics are means over.
        nodes: levels that they are worked out at.
    """

    solver_order: Literal[1, 2, 3] = 3
    corrector: Literal["none", "same", "pseudo", "higher"] = "higher"
    pseudo_predictor: bool = False
    lower_order_below: Annotated[int, Ge(0)] = 100
    images: Annotated[int, Ge(16)] = 512
    nodes: Annotated[int, Ge(8)] = 120

    paper = "arXiv:2310.13268"
    family = "ODE, multistep"
    stochastic = False
    fit_parameters = ("images", "nodes")

    @property
    def order(self) -> int:
        predicted = min(self.solver_order, 2) if self.pseudo_predictor else self.solver_order
        if self.corrector == "none":
            return predicted
        corrected = {"same": self.solver_order, "pseudo": 2, "higher": self.solver_order + 1}[self.corrector]
        return min(corrected, predicted + 1)

    @property
    def fit_images(self) -> int:
        return self.images

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def fit_evaluations(self, schedule: Schedule, steps: int) -> int:
        return self.images * IMAGE_EVALUATIONS + model_statistics.evaluations(self.images, self.nodes)

    def fit(self, model: FitModel) -> dict[str, Tensor]:
        return model_statistics.fit(model, self.images, self.nodes)

    def read(self, found: Mapping[str, Tensor], steps: int) -> Statistics:
        return Statistics.read(found)

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        past: list[tuple[Level, Tensor]] = []  # the latest first: levels and f
        start, order = x, 0
        for done, (t, s) in enumerate(pairwise(levels)):
            own = _at(model.fitted, t, x.device, x.dtype)
            past = [(t, (t.sigma * model(x, t).eps - own * x) / t.alpha), *past[: self.solver_order]]
            if self.corrector != "none" and order:
                used = [past[1], past[0], *past[2:]][: order + (self.corrector != "same")]
                x = _stepped(model.fitted, start, past[1][0], t, used, self.corrector == "pseudo")
            if s.is_clean:
                return (1.0 - own) / t.alpha * x - past[0][1]
            left = orders_left(levels, done, self.lower_order_below) or self.solver_order
            order = min(self.solver_order, done + 1, left)
            start = x
            x = _stepped(model.fitted, start, t, s, past[:order], self.pseudo_predictor)
        return x


def _stepped(
    fitted: Statistics, x: Tensor, s: Level, t: Level, used: Sequence[tuple[Level, Tensor]], pseudo: bool
) -> Tensor:
    """The step from s to t, with values of f at levels, that at s first."""
    given = s, t, tuple(level for level, _ in used), pseudo, x.device, x.dtype
    step: _Step = fitted.kept(given, lambda: _step(fitted, *given))
    found = step.keep * x + step.add
    for take, (_, f) in zip(step.take, used, strict=True):
        found.addcmul_(take, f)
    return found


def _at(fitted: Statistics, at: Level, device: torch.device, dtype: torch.dtype) -> Tensor:
    """l at a level."""
    found: Tensor = fitted.kept((at, device, dtype), lambda: _tensor(fitted.own(at.logsnr), device, dtype))
    return found


def _step(
    fitted: Statistics,
    s: Level,
    t: Level,
    nodes: tuple[Level, ...],
    pseudo: bool,
    device: torch.device,
    dtype: torch.dtype,
) -> _Step:
    """The coefficients of a step, in float64."""
    points, widths = _quadrature(s.logsnr, t.logsnr)
    of_s, of_b = _since(fitted, s)
    growth = np.exp(fitted.of_l(points) - fitted.of_l(s.logsnr) + of_s(points))
    weights = np.einsum("p,p...->p...", widths, growth)
    h = np.array([node.logsnr - s.logsnr for node in nodes])
    moments = [np.tensordot((points - s.logsnr) ** k, weights, 1) for k in range(len(nodes))]
    shares = _polynomial(h, pseudo)
    taken = [sum(share * moment for share, moment in zip(column, moments, strict=True)) for column in shares.T]
    last = t.alpha * np.exp(fitted.of_l(s.logsnr) - fitted.of_l(t.logsnr))
    held = sum(each * of_b(np.array(node.logsnr)) for each, node in zip(taken, nodes, strict=True))
    takes = [-last * each * np.exp(-of_s(np.array(node.logsnr))) for each, node in zip(taken, nodes, strict=True)]
    add = last * (held - (weights * of_b(points)).sum(0))
    found = (_tensor(each, device, dtype) for each in (last / s.alpha, add, *takes))
    return _Step(next(found), add=next(found), take=tuple(found))


def _since(fitted: Statistics, s: Level) -> tuple[_Function, _Function]:
    """S and B from a level on, as functions of lambda."""
    first, own = fitted.of_s(s.logsnr), fitted.of_b(s.logsnr)
    return lambda at: fitted.of_s(at) - first, lambda at: np.exp(first) * (fitted.of_b(at) - own)


def _quadrature(low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Points and widths of Gauss-Legendre with four points in parts of equal length."""
    ends = np.linspace(low, high, 1 + math.ceil(abs(high - low) / _LONGEST))
    points, widths = np.polynomial.legendre.leggauss(4)
    middles, halves = 0.5 * (ends[1:] + ends[:-1]), 0.5 * np.diff(ends)
    return (middles[:, None] + halves[:, None] * points).flatten(), (halves[:, None] * widths).flatten()


def _polynomial(h: np.ndarray, pseudo: bool) -> np.ndarray:
    """What each value adds to the coefficient of each power of lambda - lambda_s: (powers, values)."""
    if not pseudo:
        return np.linalg.inv(np.vander(h, increasing=True))
    found = np.zeros((len(h), len(h)))
    for k in range(len(h)):
        for j in range(k + 1):
            found[k, j] = 1.0 / math.prod(h[j] - h[i] for i in range(k + 1) if i != j)
    return found


def _tensor(values: np.ndarray, device: torch.device, dtype: torch.dtype) -> Tensor:
    import torch

    return torch.as_tensor(values, dtype=dtype, device=device)
