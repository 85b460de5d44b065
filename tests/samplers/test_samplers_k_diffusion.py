"""Ancestral and SDE solvers known from k-diffusion and ComfyUI, and SEEDS, by formulas of theirs written out in numpy.

They work on y = x / alpha at noise levels sigma, the denoiser D(y, sigma) being the prediction of x_0 at the level of
the schedule that has this sigma / alpha, and with noise that is increments of a path W.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
import torch
from nonlinear import (
    VP,
    Array,
    NoiseOf,
    assert_as_by_hand,
    assert_same,
    counted_nonlinear,
    each_schedule,
    lam,
    nonlinear,
    of_every_length,
    predicted,
    predicted_eps,
    rho,
    start,
)

from models.common.errors import UsageError
from models.schedule import Level, Schedule
from samplers import SAMPLERS, Sampler
from samplers.brownian import increments
from samplers.ddim import DDIM
from samplers.dpm_2_ancestral import DPM2Ancestral
from samplers.dpmpp_2m import DPMpp2M
from samplers.dpmpp_2m_sde import DPMpp2MSDE
from samplers.dpmpp_2s_ancestral import DPMpp2SAncestral
from samplers.dpmpp_3m import DPMpp3M
from samplers.dpmpp_3m_sde import DPMpp3MSDE
from samplers.dpmpp_sde import _RATES, DPMppSDE
from samplers.sa_solver import SASolver
from samplers.seeds import SEEDS2, SEEDS3

Draw = Callable[[], Array]
StepByHand = Callable[[Array, float, float, Callable[[Array, float], Array], Draw], Array]
eta_and_s_noise = pytest.mark.parametrize(("eta", "s_noise"), [(0.0, 1.0), (0.6, 1.0), (1.0, 1.01), (1.7, 0.9)])


def stepwise(step: StepByHand, schedule: Schedule) -> Callable[[Array, Sequence[Level], Draw], Array]:
    """A one-step method on y and sigma; the step to 0 is D."""

    def denoised(y: Array, sigma: float) -> Array:
        at = schedule.level(min(schedule.t_at(-math.log(sigma)), 1.0))
        return predicted(at.alpha * y, at)

    def run(x: Array, levels: Sequence[Level], draw: Draw) -> Array:
        y = x / levels[0].alpha
        for t, s in pairwise(levels):
            y = denoised(y, rho(t)) if s.is_clean else step(y, rho(t), rho(s), denoised, draw)
        return levels[-1].alpha * y

    return run


def ancestral_step(sigma_from: float, sigma_to: float, eta: float) -> tuple[float, float]:
    up = min(sigma_to, eta * math.sqrt(sigma_to**2 * (sigma_from**2 - sigma_to**2) / sigma_from**2))
    return math.sqrt(max(sigma_to**2 - up**2, 0.0)), up


def check(sampler: Sampler, step: StepByHand, schedule: Schedule, noise: NoiseOf) -> None:
    assert_as_by_hand(sampler, stepwise(step, schedule), schedule, noise if sampler.stochastic else None, 1e-9)


@each_schedule
@eta_and_s_noise
def test_ddim_is_euler_ancestral(schedule: Schedule, eta: float, s_noise: float, noise: NoiseOf) -> None:
    """With the same eta, above 1, where DDIM has none, too."""

    def step(y: Array, t: float, s: float, denoised: Callable[[Array, float], Array], draw: Draw) -> Array:
        down, up = ancestral_step(t, s, eta)
        y = y + (down - t) * (y - denoised(y, t)) / t
        return y + draw() * s_noise * up if up > 0 else y

    check(DDIM(eta, s_noise), step, schedule, noise)


@each_schedule
@eta_and_s_noise
def test_dpm_2_ancestral_is_the_midpoint_method_below_the_next_level(
    schedule: Schedule, eta: float, s_noise: float, noise: NoiseOf
) -> None:
    def step(y: Array, t: float, s: float, denoised: Callable[[Array, float], Array], draw: Draw) -> Array:
        down, up = ancestral_step(t, s, eta)
        d = (y - denoised(y, t)) / t
        if down == 0:
            ahead = y + d * (down - t)
        else:
            middle = math.exp((math.log(t) + math.log(down)) / 2)
            between = y + d * (middle - t)
            ahead = y + (down - t) * (between - denoised(between, middle)) / middle
        return np.asarray(ahead + draw() * s_noise * up if up > 0 else ahead)

    check(DPM2Ancestral(eta, s_noise), step, schedule, noise)


@each_schedule
@eta_and_s_noise
def test_dpmpp_2s_ancestral_is_algorithm_1_below_the_next_level(
    schedule: Schedule, eta: float, s_noise: float, noise: NoiseOf
) -> None:
    def step(y: Array, t: float, s: float, denoised: Callable[[Array, float], Array], draw: Draw) -> Array:
        down, up = ancestral_step(t, s, eta)
        if down == 0:
            ahead = denoised(y, t)
        else:
            h = math.log(t) - math.log(down)
            middle = t * math.exp(-h / 2)
            between = middle / t * y - math.expm1(-h / 2) * denoised(y, t)
            ahead = down / t * y - math.expm1(-h) * denoised(between, middle)
        return ahead + draw() * s_noise * up if up > 0 else ahead

    check(DPMpp2SAncestral(eta, s_noise), step, schedule, noise)


def test_where_nothing_of_the_states_noise_is_left_an_ancestral_step_is_x_0_in_one_evaluation() -> None:
    for spec in ("dpm-2-ancestral[eta=50]", "dpm++2s-ancestral[eta=50]"):
        for levels in of_every_length(VP):
            model, evaluated = counted_nonlinear()
            found = SAMPLERS.make(spec).sample(model, start(), levels, lambda like: like * 0.0)
            assert evaluated() == len(start()) * (len(levels) - 1)
            x = start().numpy()
            for t, s in pairwise(levels):
                x = s.alpha * predicted(x, t)
            np.testing.assert_allclose(found, x, rtol=1e-12)


@each_schedule
@eta_and_s_noise
@pytest.mark.parametrize("r", [0.5, 0.3])
@pytest.mark.parametrize("clock", ["sigma", "snr"])
def test_dpmpp_sde_takes_two_increments_of_one_path(
    schedule: Schedule, eta: float, s_noise: float, r: float, clock: Literal["sigma", "snr"], noise: NoiseOf
) -> None:
    def time(sigma: float) -> float:
        return -sigma if clock == "sigma" else sigma**-2

    def step(y: Array, t: float, s: float, denoised: Callable[[Array, float], Array], draw: Draw) -> Array:
        middle = math.exp((1 - r) * math.log(t) + r * math.log(s))
        to_middle = math.sqrt(time(middle) - time(t)) * draw() if eta else 0.0 * y
        on = to_middle + (math.sqrt(time(s) - time(middle)) * draw() if eta else 0.0)
        down, up = ancestral_step(t, middle, eta)
        d = denoised(y, t)
        between = down / t * y + (1 - down / t) * d + s_noise * up * to_middle / math.sqrt(time(middle) - time(t))
        down, up = ancestral_step(t, s, eta)
        mixed = (1 - 1 / (2 * r)) * d + 1 / (2 * r) * denoised(between, middle)
        return np.asarray(down / t * y + (1 - down / t) * mixed + s_noise * up * on / math.sqrt(time(s) - time(t)))

    check(DPMppSDE(eta, s_noise, r, clock), step, schedule, noise)


@pytest.mark.parametrize("clock", ["sigma", "snr"])
def test_the_increments_of_dpmpp_sde_are_as_correlated_as_its_docstring_says(clock: str) -> None:
    t, s = VP.level(0.8), VP.level(0.4)
    root_t, root_s = math.sqrt(rho(t)), math.sqrt(rho(s))
    draws = iter([torch.ones(1), torch.zeros(1)])
    found = increments(lambda like: next(draws), torch.empty(1), _RATES[clock], t, VP.at_ratio(root_t * root_s), s)
    expected = root_t / (root_t + root_s) if clock == "sigma" else rho(s) / (rho(t) + rho(s))
    assert float(found[1]) == pytest.approx(math.sqrt(expected), rel=1e-6)


def dpmpp_3m_sde(x: Array, levels: Sequence[Level], draw: Draw, eta: float, s_noise: float, halved: bool) -> Array:
    """By differences of the last three x_0, as divided by steps: D_1 and D_2 of the published solver."""
    past: list[tuple[float, Array]] = []
    y = x / levels[0].alpha
    for t, s in pairwise(levels):
        past.insert(0, (lam(t), predicted(t.alpha * y, t)))
        if s.is_clean:
            return past[0][1]
        h = lam(s) - lam(t)
        z = h * (eta + 1)
        y = math.exp(-z) * y - math.expm1(-z) * past[0][1]
        phi_2 = math.expm1(-z) / z + 1
        if len(past) == 2:
            y = y + phi_2 * (past[0][1] - past[1][1]) / ((past[0][0] - past[1][0]) / h)
        if len(past) > 2:
            r0, r1 = ((past[i][0] - past[i + 1][0]) / h for i in (0, 1))
            d_0, d_1 = ((past[i][1] - past[i + 1][1]) / r for i, r in ((0, r0), (1, r1)))
            first, second = d_0 + (d_0 - d_1) * r0 / (r0 + r1), (d_0 - d_1) / (r0 + r1)
            y = y + phi_2 * first - (phi_2 / z - 0.5) * second * (1 if halved else 2)
        if eta:
            y = y + draw() * rho(s) * math.sqrt(-math.expm1(-2 * h * eta)) * s_noise
    return levels[-1].alpha * y


@each_schedule
@eta_and_s_noise
@pytest.mark.parametrize("halved", [True, False])
def test_dpmpp_3m_sde_is_by_differences_of_three_predictions(
    schedule: Schedule, eta: float, s_noise: float, halved: bool, noise: NoiseOf
) -> None:
    assert_as_by_hand(
        DPMpp3MSDE(eta, s_noise, halved),
        lambda x, levels, draw: dpmpp_3m_sde(x, levels, draw, eta, s_noise, halved),
        schedule,
        noise if eta else None,
        1e-9,
    )


@each_schedule
def test_without_noise_the_multistep_sde_solvers_are_those_of_the_flow(schedule: Schedule) -> None:
    assert_same(DPMpp2MSDE(eta=0.0), DPMpp2M(lower_order_below=0), schedule, None, 1e-12)
    levels, x = [schedule.level(t) for t in (0.7, 0.5, 0.3)], start()
    x = x * max(levels[0].sigma, 1.0)  # 3M's second step is the midpoint form, and there is no third here
    two = SASolver(2, 0, 0.0, lower_order_below=0)
    for other in (DPMpp2MSDE(eta=0.0, solver="heun"), DPMpp3MSDE(eta=0.0, halved=False)):
        found, expected = (
            each.sample(nonlinear(schedule=schedule), x, levels, lambda like: like) for each in (other, two)
        )
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)
    assert DPMpp3M().order == DPMpp3MSDE(eta=0.0, halved=False).order == 3


@each_schedule
@pytest.mark.parametrize("tau", [0.5, 1.0, 1.2])
def test_the_exact_multistep_sde_solvers_are_sa_solvers_predictors(
    schedule: Schedule, tau: float, noise: NoiseOf
) -> None:
    """eta is tau^2; without a corrector and with no order falling."""
    for values, sampler in ((2, DPMpp2MSDE(tau**2, solver="heun")), (3, DPMpp3MSDE(tau**2, halved=False))):
        adams = SASolver(values, 0, tau, 0.0, 1.0, lower_order_below=0)  # type: ignore[arg-type]
        assert_same(sampler, adams, schedule, noise, 1e-10)


def phi(k: int, z: float) -> float:
    """phi_1 = (e^z - 1) / z and phi_2 = (phi_1 - 1) / z."""
    first = math.expm1(z) / z
    return first if k == 1 else (first - 1) / z


@each_schedule
@eta_and_s_noise
@pytest.mark.parametrize(("r", "solver"), [(0.5, "phi_1"), (0.4, "phi_1"), (0.4, "phi_2"), (1.0, "phi_2")])
def test_seeds_2_is_the_two_stage_exponential_integrator(
    schedule: Schedule, eta: float, s_noise: float, r: float, solver: Literal["phi_1", "phi_2"], noise: NoiseOf
) -> None:
    """With the noise of the stage carried on to the end by the linear part, and fresh noise on the rest."""

    def step(y: Array, t: float, s: float, denoised: Callable[[Array, float], Array], draw: Draw) -> Array:
        h = math.log(t / s)
        z, middle = (1 + eta) * h, t * math.exp(-r * h)
        d = denoised(y, t)
        z_1 = s_noise * math.sqrt(1 - math.exp(-2 * r * h * eta)) * draw() if eta else 0.0
        z_2 = s_noise * math.sqrt(1 - math.exp(-2 * (1 - r) * h * eta)) * draw() if eta else 0.0
        between = middle / t * math.exp(-r * h * eta) * y + r * z * phi(1, -r * z) * d + middle * z_1
        d_2 = denoised(between, middle)
        whole, line = z * phi(1, -z), z * phi(2, -z) / r
        b_2 = whole / (2 * r) if solver == "phi_1" else line
        ahead = s / t * math.exp(-h * eta) * y + (whole - b_2) * d + b_2 * d_2
        return np.asarray(ahead + s * (math.exp(-(1 - r) * h * eta) * z_1 + z_2))

    check(SEEDS2(eta, s_noise, "data", r, solver), step, schedule, noise)


@each_schedule
@eta_and_s_noise
@pytest.mark.parametrize(("r_1", "r_2"), [(1 / 3, 2 / 3), (0.3, 0.8)])
def test_seeds_3_is_the_three_stage_exponential_integrator(
    schedule: Schedule, eta: float, s_noise: float, r_1: float, r_2: float, noise: NoiseOf
) -> None:
    def step(y: Array, t: float, s: float, denoised: Callable[[Array, float], Array], draw: Draw) -> Array:
        h = math.log(t / s)
        z = (1 + eta) * h

        def fresh(share: float) -> Array | float:
            return s_noise * math.sqrt(1 - math.exp(-2 * share * h * eta)) * draw() if eta else 0.0

        n_1, n_12, n_2 = fresh(r_1), fresh(r_2 - r_1), fresh(1 - r_2)
        at_2 = math.exp(-(r_2 - r_1) * h * eta) * n_1 + n_12
        first, second = t * math.exp(-r_1 * h), t * math.exp(-r_2 * h)
        d = denoised(y, t)
        y_1 = first / t * math.exp(-r_1 * h * eta) * y + r_1 * z * phi(1, -r_1 * z) * d + first * n_1
        d_1 = denoised(y_1, first)
        a = r_2 / r_1 * r_2 * z * phi(2, -r_2 * z)
        y_2 = second / t * math.exp(-r_2 * h * eta) * y + r_2 * z * phi(1, -r_2 * z) * d + a * (d_1 - d)
        d_2 = denoised(y_2 + second * at_2, second)
        ahead = s / t * math.exp(-h * eta) * y + z * phi(1, -z) * d + z * phi(2, -z) / r_2 * (d_2 - d)
        return np.asarray(ahead + s * (math.exp(-(1 - r_2) * h * eta) * at_2 + n_2))

    check(SEEDS3(eta, s_noise, "data", r_1, r_2), step, schedule, noise)


def seeds_of_the_paper(x: Array, levels: Sequence[Level], draw: Draw, schedule: Schedule, three: bool) -> Array:
    """The paper's algorithms for the noise prediction, with its square roots of differences of exponentials."""

    def at(t: Level, h: float) -> Level:
        return schedule.level(min(schedule.t_at(lam(t) + h), 1.0))

    for t, s in pairwise(levels):
        if s.is_clean:
            return predicted(x, t)
        h, eps = lam(s) - lam(t), predicted_eps(x, t)
        if not three:
            z_1, z_2 = draw(), draw()
            u = at(t, h / 2)
            y = u.alpha / t.alpha * x - 2 * u.sigma * math.expm1(h / 2) * eps - u.sigma * math.sqrt(math.expm1(h)) * z_1
            x = s.alpha / t.alpha * x - 2 * s.sigma * math.expm1(h) * predicted_eps(y, u)
            x = x - s.sigma * (math.sqrt(math.exp(2 * h) - math.exp(h)) * z_1 + math.sqrt(math.expm1(h)) * z_2)
            continue
        r_1, r_2, (z_1, z_2, z_3) = 1 / 3, 2 / 3, (draw(), draw(), draw())
        u, v = at(t, r_1 * h), at(t, r_2 * h)
        y = u.alpha / t.alpha * x - 2 * u.sigma * math.expm1(r_1 * h) * eps
        y = y - u.sigma * math.sqrt(math.expm1(2 * r_1 * h)) * z_1
        e = [math.exp(2 * share * h) for share in (0, r_1, r_2, 1)]
        change = math.expm1(r_2 * h) / (r_2 * h) - 1
        w = v.alpha / t.alpha * x - 2 * v.sigma * math.expm1(r_2 * h) * eps
        w = w - 2 * v.sigma * r_2 / r_1 * change * (predicted_eps(y, u) - eps)
        w = w - v.sigma * (math.sqrt(e[2] - e[1]) * z_1 + math.sqrt(e[1] - e[0]) * z_2)
        x = s.alpha / t.alpha * x - 2 * s.sigma * math.expm1(h) * eps
        x = x - 2 * s.sigma / r_2 * (math.expm1(h) / h - 1) * (predicted_eps(w, v) - eps)
        x = x - s.sigma * (math.sqrt(e[3] - e[2]) * z_1 + math.sqrt(e[2] - e[1]) * z_2 + math.sqrt(e[1] - e[0]) * z_3)
    return x


@each_schedule
@pytest.mark.parametrize("sampler", [SEEDS2(prediction="noise"), SEEDS3(prediction="noise")])
def test_seeds_for_the_noise_prediction_is_that_of_the_paper(
    schedule: Schedule, sampler: SEEDS2 | SEEDS3, noise: NoiseOf
) -> None:
    """Whose noise has the other sign."""

    def by_hand(x: Array, levels: Sequence[Level], draw: Draw) -> Array:
        return seeds_of_the_paper(x, levels, lambda: -draw(), schedule, isinstance(sampler, SEEDS3))

    assert_as_by_hand(sampler, by_hand, schedule, noise, 1e-9)


@each_schedule
def test_dpmpp_sde_with_the_exact_clock_is_seeds_2(schedule: Schedule, noise: NoiseOf) -> None:
    for r in (0.5, 0.35):
        assert_same(DPMppSDE(r=r, clock="snr", s_noise=1.1), SEEDS2(r=r, s_noise=1.1), schedule, noise, 1e-10)


def test_stages_of_seeds_3_that_do_not_ascend_are_refused() -> None:
    with pytest.raises(UsageError, match=r"expected r_1 < r_2, got r_1=0\.7 and r_2=0\.6666"):
        SAMPLERS.make("seeds-3[r_1=0.7]")
