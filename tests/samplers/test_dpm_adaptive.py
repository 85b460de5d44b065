"""DPM-Solver with adaptive steps against k-diffusion's, written out in numpy, image by image."""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
import torch
from nonlinear import (
    VP,
    Array,
    counted_nonlinear,
    each_schedule,
    lam,
    no_noise,
    nonlinear,
    of_every_length,
    predicted,
    predicted_eps,
    start,
)

from models.denoiser import Denoiser
from models.grids import GRIDS
from models.schedule import Level, Schedule
from samplers import SAMPLERS
from samplers.dpm_adaptive import DPMAdaptive


class PID:
    """k-diffusion's controller of steps."""

    def __init__(self, h: float, p: float, i: float, d: float, order: int, safety: float) -> None:
        self.h, self.safety = h, safety
        self.b1, self.b2, self.b3 = (p + i + d) / order, -(p + 2 * d) / order, d / order
        self.errs: list[float] = []

    def accepts(self, error: float) -> bool:
        inverse = 1 / (error + 1e-8)
        if not self.errs:
            self.errs = [inverse, inverse, inverse]
        self.errs[0] = inverse
        factor = self.errs[0] ** self.b1 * self.errs[1] ** self.b2 * self.errs[2] ** self.b3
        factor = 1 + math.atan(factor - 1)
        accept = factor >= self.safety
        if accept:
            self.errs[2] = self.errs[1]
            self.errs[1] = self.errs[0]
        self.h *= factor
        return accept


def dpm_adaptive(
    y: Array, t: float, end: float, eps: Callable[[Array, float], Array], order: int, options: dict[str, float]
) -> tuple[Array, int]:
    """`dpm_solver_adaptive` on one image: y = x / alpha, t = log(alpha / sigma); and its evaluations."""
    p, i, d = options.get("pcoeff", 0.0), options.get("icoeff", 1.0), options.get("dcoeff", 0.0)
    pid = PID(options.get("h_init", 0.05), p, i, d, order, 0.81)
    rtol, atol = options.get("rtol", 0.05), 0.0078
    before, evaluations = y, 0
    while t < end:
        s = min(end, t + pid.h)
        h = s - t
        e = eps(y, t)
        if order == 2:
            low = y - math.exp(-s) * math.expm1(h) * e
            u1 = y - math.exp(-t - h / 2) * math.expm1(h / 2) * e
            e1 = eps(u1, t + h / 2)
            high = y - math.exp(-s) * math.expm1(h) * e - math.exp(-s) * math.expm1(h) * (e1 - e)
        else:
            r1, r2 = 1 / 3, 2 / 3
            u1 = y - math.exp(-t - r1 * h) * math.expm1(r1 * h) * e
            e1 = eps(u1, t + r1 * h)
            low = y - math.exp(-s) * math.expm1(h) * (e + (e1 - e) / (2 * r1))
            u2 = y - math.exp(-t - r2 * h) * math.expm1(r2 * h) * e
            u2 = u2 - math.exp(-t - r2 * h) * (r2 / r1) * (math.expm1(r2 * h) / (r2 * h) - 1) * (e1 - e)
            e2 = eps(u2, t + r2 * h)
            high = y - math.exp(-s) * math.expm1(h) * e - math.exp(-s) / r2 * (math.expm1(h) / h - 1) * (e2 - e)
        evaluations += order
        delta = np.maximum(atol, rtol * np.maximum(np.abs(low), np.abs(before)))
        if pid.accepts(float(np.linalg.norm((low - high) / delta)) / math.sqrt(y.size)):
            before, y, t = low, high, s
    return y, evaluations


@each_schedule
@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize(
    "options",
    [{}, {"rtol": 0.002, "h_init": 1.0}, {"rtol": 0.01, "pcoeff": 0.4, "icoeff": 0.5, "dcoeff": 0.1, "h_init": 2.0}],
)
def test_dpm_adaptive_is_k_diffusions_on_each_image(
    order: Literal[2, 3], options: dict[str, float], schedule: Schedule
) -> None:
    def eps(y: Array, t: float) -> Array:
        at = schedule.level(schedule.t_at(t))
        return predicted_eps(y * at.alpha, at)

    sampler = DPMAdaptive(order, **options)
    for levels in of_every_length(schedule)[4:6]:
        x = start() * max(levels[0].sigma, 1.0)
        noisy = [level for level in levels if not level.is_clean]
        runs = [
            dpm_adaptive(image / levels[0].alpha, lam(noisy[0]), lam(noisy[-1]), eps, order, options)
            for image in x.numpy()
        ]
        expected = np.stack([y for y, _ in runs]) * noisy[-1].alpha
        if levels[-1].is_clean:
            expected = predicted(expected, noisy[-1])
        model, evaluated = counted_nonlinear(schedule=schedule)
        found = sampler.sample(model, x, levels, no_noise)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
        assert evaluated() == sum(count for _, count in runs) + len(x) * levels[-1].is_clean


@pytest.mark.parametrize("order", [2, 3])
def test_the_error_of_dpm_adaptive_falls_with_its_tolerance(order: Literal[2, 3]) -> None:
    levels, x = GRIDS.make("leading[clean=false]")(VP, 3), start()
    exact = SAMPLERS.make("rk45[rtol=1e-9,atol=1e-11]").sample(nonlinear(), x, levels, no_noise)
    errors, evaluations = [], []
    for tolerance in (1e-1, 1e-2, 1e-3):
        model, evaluated = counted_nonlinear()
        found = DPMAdaptive(order, rtol=tolerance, atol=tolerance / 10).sample(model, x, levels, no_noise)
        errors.append(float((found - exact).abs().max()))
        evaluations.append(evaluated())
    assert errors[0] > 2 * errors[1] > 8 * errors[2]
    assert evaluations[0] < evaluations[1] < evaluations[2]


def test_dpm_adaptive_says_when_no_step_is_short_enough() -> None:
    def broken(x: torch.Tensor, at: Level) -> torch.Tensor:
        return torch.full_like(x, math.nan)

    with pytest.raises(RuntimeError, match=r"an error of nan in a step of 0\.05"):
        DPMAdaptive().sample(Denoiser(broken, "sample", VP), start(), GRIDS.make("leading")(VP, 3), no_noise)
