"""Methods that users know by name from other programs, against those programs' formulas, written out in numpy."""

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
from nonlinear import (
    Array,
    assert_as_by_hand,
    each_schedule,
    lagrange,
    lam,
    predicted,
    predicted_eps,
    rho,
)
from scipy.integrate import quad

from models.schedule import Level, Schedule
from samplers import SAMPLERS
from samplers.dpm_solver_multistep import DPMSolverMultistep
from samplers.dpmpp_2m import DPMpp2M
from samplers.gradient_estimation import GradientEstimation
from samplers.ipndm import IPNDM
from samplers.unipc import UniPC

# k-diffusion works on x / alpha and sigma / alpha


def linear_multistep(order: int, denoised_end: bool, x: Array, levels: Sequence[Level]) -> Array:
    """`sample_lms`: each coefficient an integral of a Lagrange polynomial; ComfyUI ends with the denoised image."""
    y, slopes = x / levels[0].alpha, list[Array]()
    for i, (t, s) in enumerate(pairwise(levels)):
        slopes = [*slopes, predicted_eps(y * t.alpha, t)][-order:]
        if s.is_clean and denoised_end:
            return predicted(y * t.alpha, t)
        places = [rho(levels[i - k]) for k in range(len(slopes))]
        for j, slope in enumerate(reversed(slopes)):
            share, _ = quad(lambda v, j=j, at=places: lagrange(j, at, v), rho(t), rho(s), epsabs=0, epsrel=1e-12)
            y = y + share * slope
    return y * levels[-1].alpha


@each_schedule
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_exact_ipndm_is_the_linear_multistep_method(order: Literal[1, 2, 3, 4], schedule: Schedule) -> None:
    by_hand = partial(linear_multistep, order, False)
    assert_as_by_hand(IPNDM(order, "exact"), lambda x, levels, _: by_hand(x, levels), schedule, None, 1e-9)


@each_schedule
def test_deis_in_rho_is_the_linear_multistep_method_that_ends_with_the_denoised_image(schedule: Schedule) -> None:
    by_hand = partial(linear_multistep, 4, True)
    assert_as_by_hand(
        SAMPLERS.make("deis[variable=rho]"), lambda x, levels, _: by_hand(x, levels), schedule, None, 1e-9
    )


def gradient_estimation(gamma: float, x: Array, levels: Sequence[Level]) -> Array:
    """ComfyUI's: Euler's step, and gamma - 1 of the change of the slope."""
    y, before = x / levels[0].alpha, None
    for t, s in pairwise(levels):
        x0, d = predicted(y * t.alpha, t), predicted_eps(y * t.alpha, t)
        if s.is_clean:
            return x0
        y = y + d * (rho(s) - rho(t))
        if before is not None:
            y = y + (gamma - 1) * (d - before) * (rho(s) - rho(t))
        before = d
    return y * levels[-1].alpha


@each_schedule
@pytest.mark.parametrize("gamma", [1.0, 2.0, 3.3])
def test_gradient_estimation_adds_the_change_of_the_slope(gamma: float, schedule: Schedule) -> None:
    by_hand = partial(gradient_estimation, gamma)
    assert_as_by_hand(GradientEstimation(gamma), lambda x, levels, _: by_hand(x, levels), schedule)


def res_multistep(x: Array, levels: Sequence[Level]) -> Array:
    """ComfyUI's `res_multistep` without ancestral noise, with phi functions, for alpha = 1: here for y = x / alpha."""
    y, before = x / levels[0].alpha, None
    for t, s in pairwise(levels):
        x0 = predicted(y * t.alpha, t)
        if s.is_clean:
            return x0
        h = lam(s) - lam(t)
        if before is None:
            y = y + (y - x0) / rho(t) * (rho(s) - rho(t))
        else:
            c2 = (before[0] - lam(t)) / h
            phi1 = math.expm1(-h) / -h
            phi2 = (phi1 - 1) / -h
            y = math.exp(-h) * y + h * ((phi1 - phi2 / c2) * x0 + phi2 / c2 * before[1])
        before = lam(t), x0
    return y * levels[-1].alpha


@each_schedule
def test_dpmpp_2m_with_the_exact_integral_is_res_multistep(schedule: Schedule) -> None:
    sampler = DPMpp2M(lower_order_below=0, solver_type="taylor")
    assert_as_by_hand(sampler, lambda x, levels, _: res_multistep(x, levels), schedule)


def two_evaluations(name: str, schedule: Schedule, x: Array, levels: Sequence[Level]) -> Array:
    """`sample_dpm_2`, `sample_dpmpp_2s_ancestral` at eta = 0, and ComfyUI's `exp_heun_2_x0`, for y = x / alpha."""
    y = x / levels[0].alpha
    for t, s in pairwise(levels):
        x0, d = predicted(y * t.alpha, t), predicted_eps(y * t.alpha, t)
        if s.is_clean:
            return x0
        h = math.log(rho(t) / rho(s))
        between = schedule.at_ratio(math.sqrt(rho(t) * rho(s)))
        if name == "dpm_2":
            y_2 = y + d * (rho(between) - rho(t))
            y = y + predicted_eps(y_2 * between.alpha, between) * (rho(s) - rho(t))
        elif name == "dpmpp_2s":
            y_2 = rho(between) / rho(t) * y - math.expm1(-h / 2) * x0
            y = rho(s) / rho(t) * y - math.expm1(-h) * predicted(y_2 * between.alpha, between)
        else:
            y_2 = math.exp(-h) * y - math.expm1(-h) * x0
            phi_2 = (math.expm1(-h) + h) / h
            y = y_2 + phi_2 * (predicted(y_2 * s.alpha, s) - x0)
    return y * levels[-1].alpha


@each_schedule
@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("rk[tableau=exp-midpoint,variable=lambda-noise]", "dpm_2"),
        ("rk[tableau=exp-midpoint]", "dpmpp_2s"),
        ("rk[tableau=etd2rk]", "exp_heun_2_x0"),
    ],
)
def test_two_stage_samplers_of_other_programs_are_exponential_tableaus(
    spec: str, name: str, schedule: Schedule
) -> None:
    by_hand = partial(two_evaluations, name, schedule)
    assert_as_by_hand(SAMPLERS.make(spec), lambda x, levels, _: by_hand(x, levels), schedule, None, 1e-9)


# the authors' toolboxes for the noise prediction


def multistep_dpm_solver(
    order: int, solver_type: str, halved: bool, below: int, x: Array, levels: Sequence[Level]
) -> Array:
    """`multistep_dpm_solver_second_update` and `third_update` for "dpmsolver"; the steps lose order at the end."""
    past: list[tuple[float, Array]] = []
    steps = len(levels) - 1
    for i, (t, s) in enumerate(pairwise(levels)):
        past.insert(0, (lam(t), predicted_eps(x, t)))
        if s.is_clean:
            return predicted(x, t)
        p = min(order, i + 1, steps - levels[-1].is_clean - i if steps < below else order)
        h, m0 = lam(s) - lam(t), past[0][1]
        phi_1 = math.expm1(h)
        phi_2 = phi_1 / h - 1
        phi_3 = phi_2 / h - 0.5
        x = s.alpha / t.alpha * x - s.sigma * phi_1 * m0
        if p > 1:
            r0 = (past[0][0] - past[1][0]) / h
            d1_0 = (m0 - past[1][1]) / r0
        if p == 2:
            x = x - s.sigma * (0.5 * phi_1 if solver_type == "midpoint" else phi_2) * d1_0
        if p == 3:
            r1 = (past[1][0] - past[2][0]) / h
            d1_1 = (past[1][1] - past[2][1]) / r1
            d1 = d1_0 + r0 / (r0 + r1) * (d1_0 - d1_1)
            d2 = (1 if halved else 2) / (r0 + r1) * (d1_0 - d1_1)
            x = x - s.sigma * phi_2 * d1 - s.sigma * phi_3 * d2
    return x


@each_schedule
@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("solver_type", ["midpoint", "taylor"])
def test_multistep_dpm_solver_is_that_of_its_authors_code(
    order: Literal[2, 3], solver_type: Literal["midpoint", "taylor"], schedule: Schedule
) -> None:
    for halved, below in ((False, 100), (True, 10), (False, 0), (True, 4)):
        by_hand = partial(multistep_dpm_solver, order, solver_type, halved, below)
        sampler = DPMSolverMultistep(order, solver_type, halved, below)
        assert_as_by_hand(sampler, lambda x, levels, _, by=by_hand: by(x, levels), schedule)  # type: ignore[misc]


def unipc_of_noise(order: int, variant: str, x: Array, levels: Sequence[Level]) -> Array:
    """`multistep_uni_pc_bh_update` with `predict_x0=False`, the order never falling."""

    def update(x: Array, s: Level, p: int, new: Array | None) -> Array:
        h, m0 = lam(s) - past[0][0], past[0][1]
        rks = [(past[i][0] - past[0][0]) / h for i in range(1, p)]
        d1s = [(past[i][1] - m0) / rk for i, rk in enumerate(rks, 1)]
        if new is not None:
            rks, d1s = [*rks, 1.0], [*d1s, new - m0]
        b_h = h if variant == "bh1" else math.expm1(h)
        phi_k, factorial, b = math.expm1(h) / h - 1, 1.0, list[float]()
        for k in range(1, len(rks) + 1):
            b.append(phi_k * factorial / b_h)
            factorial *= k + 1
            phi_k = phi_k / h - 1 / factorial
        r = np.array([[rk**k for rk in rks] for k in range(len(rks))])
        rhos = [0.5] if len(rks) == 1 else np.linalg.solve(r, np.array(b)) if rks else []
        base = s.alpha / t.alpha * x - s.sigma * math.expm1(h) * m0
        return np.asarray(base - s.sigma * b_h * sum((rho * d for rho, d in zip(rhos, d1s, strict=True)), 0.0 * x))

    past: list[tuple[float, Array]] = [(lam(levels[0]), predicted_eps(x, levels[0]))]
    for i, (t, s) in enumerate(pairwise(levels)):
        if s.is_clean:
            return np.asarray((x - t.sigma * past[0][1]) / t.alpha)
        p = min(order, i + 1)
        guess = update(x, s, p, None)
        if i == len(levels) - 2:
            return guess
        new = predicted_eps(guess, s)
        x = update(x, s, p, new)
        past.insert(0, (lam(s), new))
    return x


@each_schedule
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
def test_unipc_for_the_noise_prediction_is_that_of_its_authors_code(
    order: Literal[1, 2, 3], variant: Literal["bh1", "bh2"], schedule: Schedule
) -> None:
    sampler = UniPC(order, variant, lower_order_below=0, prediction="noise")
    by_hand = partial(unipc_of_noise, order, variant)
    assert_as_by_hand(sampler, lambda x, levels, _: by_hand(x, levels), schedule, None, 1e-9)
