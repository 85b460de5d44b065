"""Exponential integrators of the reverse SDE against their papers' formulas, written out by hand in numpy."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
from nonlinear import (
    VP,
    Array,
    NoiseOf,
    assert_as_by_hand,
    assert_same,
    each_schedule,
    lam,
    nonlinear,
    predicted,
    rho,
    start,
)
from scipy.integrate import quad

from models.schedule import Level, Schedule
from samplers.ddim import DDIM
from samplers.ddpm import DDPM
from samplers.dpmpp_2m_sde import DPMpp2MSDE
from samplers.er_sde import ERSDE, NoiseScale
from samplers.sa_solver import SASolver

Draw = Callable[[], Array]


def dpmpp_2m_sde(
    x: Array, levels: Sequence[Level], draw: Draw, eta: float = 1.0, s_noise: float = 1.0, solver: str = "midpoint"
) -> Array:
    """With z = (1 + eta) h and D_1 = (x_0 - x_0 before) h / h before, x_s = sigma_s / sigma_t e^(-eta h) x +
    alpha_s (1 - e^-z) (D_0 + D_1 / 2) + sigma_s sqrt(1 - e^(-2 eta h)) z in the midpoint form."""
    before = None
    for t, s in pairwise(levels):
        x0 = predicted(x, t)
        if s.is_clean:
            return x0
        h = lam(s) - lam(t)
        z = (1 + eta) * h
        share = 1 - math.exp(-z)
        x = s.sigma / t.sigma * math.exp(-eta * h) * x + s.alpha * share * x0
        if before is not None:
            factor = 0.5 * share if solver == "midpoint" else 1 - share / z
            x = x + s.alpha * factor * (x0 - before[1]) * h / (lam(t) - before[0])
        if eta:
            x = x + s.sigma * math.sqrt(1 - math.exp(-2 * eta * h)) * s_noise * draw()
        before = lam(t), x0
    return x


@each_schedule
@pytest.mark.parametrize("solver", ["midpoint", "heun"])
@pytest.mark.parametrize(("eta", "s_noise"), [(1.0, 1.0), (0.0, 1.0), (0.4, 1.05), (1.5, 0.9)])
def test_dpmpp_2m_sde_is_that_of_its_paper_with_eta_and_both_solvers(
    schedule: Schedule, eta: float, s_noise: float, solver: Literal["midpoint", "heun"], noise: NoiseOf
) -> None:
    by_hand = partial(dpmpp_2m_sde, eta=eta, s_noise=s_noise, solver=solver)
    assert_as_by_hand(DPMpp2MSDE(eta, s_noise, solver), by_hand, schedule, noise if eta else None)


def test_with_one_step_of_history_missing_dpmpp_2m_sde_is_ancestral_sampling(noise: NoiseOf) -> None:
    """Its first-order step is exact for x_0 fixed, and so is the posterior of ancestral sampling."""
    x, levels = start(), [VP.level(0.7), VP.level(0.4)]
    found, expected = (each.sample(nonlinear(), x, levels, noise(1)) for each in (DPMpp2MSDE(), DDPM()))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


Past = list[tuple[float, Array]]


def sa_step(x: Array, t: Level, s: Level, tau: float, z: Array | float, values: Past) -> Array:
    """arXiv 2309.05019, eq. 14, the integrals of the Lagrange polynomials by adaptive quadrature."""
    h, places = lam(s) - lam(t), [place for place, _ in values]
    x = s.sigma / t.sigma * math.exp(-(tau**2) * h) * x + s.sigma * math.sqrt(1 - math.exp(-2 * tau**2 * h)) * z
    for j, (_, x0) in enumerate(values):

        def inside(at: float, j: int = j) -> float:
            basis = math.prod((at - other) / (places[j] - other) for i, other in enumerate(places) if i != j)
            return (1 + tau**2) * math.exp(-(1 + tau**2) * (lam(s) - at)) * basis

        x = x + s.alpha * quad(inside, lam(t), lam(s), epsabs=1e-13, epsrel=1e-13)[0] * x0
    return x


@each_schedule
@pytest.mark.parametrize(("predictor", "corrector"), [(1, 1), (2, 2), (3, 4), (4, 1), (1, 4)])
@pytest.mark.parametrize("tau", [0.0, 0.7, 1.0])
@pytest.mark.parametrize(("below", "more"), [(0, False), (100, False), (5, True)])
def test_sa_solver_is_algorithm_1_of_its_paper_with_the_endings_of_its_authors(
    schedule: Schedule,
    predictor: Literal[1, 2, 3, 4],
    corrector: Literal[1, 2, 3, 4],
    tau: float,
    below: int,
    more: bool,
    noise: NoiseOf,
) -> None:
    """Predict, evaluate, correct, with one draw a step; noise only in steps that start in 0.2 ... 0.7.

    Where orders fall, they are 1 and 2 in the last step between noisy levels. With `more`, the authors' `more_steps`,
    that step is corrected too, and x_0 is evaluated once more at its end.
    """

    def by_hand(x: Array, levels: Sequence[Level], draw: Draw) -> Array:
        noisy = [level for level in levels if not level.is_clean]
        past: Past = [(lam(levels[0]), predicted(x, levels[0]))]
        for i, (t, s) in enumerate(pairwise(noisy)):
            left = len(noisy) - 1 - i if len(levels) - 1 < below else 4
            scale = tau if 0.2 <= t.t <= 0.7 else 0.0
            z = draw() if scale > 0 else 0.0
            ahead = sa_step(x, t, s, scale, z, past[: min(predictor, left)])
            if s is levels[-1] and not more:
                return ahead
            new = (lam(s), predicted(ahead, s))
            x = sa_step(x, t, s, scale, z, [new, *past[: min(corrector, left + 1) - 1]])
            past = [new, *past]
        if not levels[-1].is_clean:
            return x
        return predicted(x, noisy[-1]) if more else past[0][1]

    sampler = SASolver(predictor, corrector, tau, 0.2, 0.7, below, more)
    assert_as_by_hand(sampler, by_hand, schedule, noise if tau else None, 1e-9)


def sa_short_step(x: Array, t: Level, s: Level, tau: float, z: Array | float, values: Past) -> Array:
    """Appendix D: with two values, beside the exact integrals a term that is of third order in h."""
    x = sa_step(x, t, s, tau, z, values)
    if len(values) == 2:
        rate, h = 1 + tau**2, lam(s) - lam(t)
        added = rate * s.alpha * (h**2 / 2 - (h * rate - 1 + math.exp(-rate * h)) / rate**2)
        x = x + added * (values[0][1] - values[1][1]) / (values[0][0] - values[1][0])
    return x


@each_schedule
@pytest.mark.parametrize(("predictor", "corrector"), [(1, 2), (2, 2), (3, 4), (2, 0), (3, 0)])
@pytest.mark.parametrize("mode", ["few_steps", "more_steps"])
@pytest.mark.parametrize("twice", [False, True])
def test_sa_solver_has_the_modes_of_its_authors(
    schedule: Schedule,
    predictor: Literal[1, 2, 3],
    corrector: Literal[0, 2, 4],
    mode: Literal["few_steps", "more_steps"],
    twice: bool,
    noise: NoiseOf,
) -> None:
    """By the order of what their code does on N steps between noisy levels: predict, evaluate, correct, evaluate."""

    def by_hand(x: Array, levels: Sequence[Level], draw: Draw) -> Array:
        nodes = [level for level in levels if not level.is_clean]
        few, steps = mode == "few_steps", len(nodes) - 1
        update = sa_short_step if few else sa_step
        past: Past = [(lam(nodes[0]), predicted(x, nodes[0]))]
        for k, (t, s) in enumerate(pairwise(nodes), start=1):
            ends = s is levels[-1]
            tau = 0.9 if 0.1 <= s.t <= 0.7 and not (few and ends) else 0.0
            z = draw() if tau else 0.0
            p, c = min(predictor, k, steps - k + 1), min(corrector, k + 1, steps - k + 2)
            ahead = update(x, t, s, tau, z, past[:p])
            if ends and (few or not corrector):
                return ahead
            new, before, x = (lam(s), predicted(ahead, s)), x, ahead
            if corrector:
                x = update(before, t, s, tau, z, [new, *past[: c - 1]])
                if twice:
                    new = (lam(s), predicted(x, s))
            past = [new, *past]
        if not levels[-1].is_clean:
            return x
        return past[0][1] if few else predicted(x, nodes[-1])

    pc_mode: Literal["PEC", "PECE"] = "PECE" if twice else "PEC"
    sampler = SASolver(predictor, corrector, 0.9, 0.1, 0.7, 0, False, mode, pc_mode)
    assert_as_by_hand(sampler, by_hand, schedule, noise, 1e-9)


# ER-SDE


SCALES: dict[NoiseScale, Callable[[float], float]] = {
    "ode": lambda r: r, "sde": lambda r: r**2, "er-sde-5": lambda r: r * (math.exp(r**0.3) + 10)
}  # fmt: skip


@each_schedule
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_er_sde_is_algorithm_1_to_3_of_its_paper(
    schedule: Schedule, scale: NoiseScale, order: Literal[1, 2, 3], noise: NoiseOf
) -> None:
    phi = SCALES[scale]

    def by_hand(x: Array, levels: Sequence[Level], draw: Draw) -> Array:
        past: list[tuple[float, Array]] = []
        y = x / levels[0].alpha
        for i, (t, s) in enumerate(pairwise(levels)):
            past.insert(0, (rho(t), predicted(t.alpha * y, t)))
            if s.is_clean:
                return past[0][1]
            high, low = rho(t), rho(s)
            x0, ratio, used = past[0][1], phi(low) / phi(high), min(order, i + 1)
            y = ratio * y + (1 - ratio) * x0
            if used > 1:
                d = (x0 - past[1][1]) / (high - past[1][0])
                area = quad(lambda r: 1 / phi(r), low, high, epsabs=0, epsrel=1e-11, limit=200)[0]
                y = y + (low - high + phi(low) * area) * d
            if used > 2:
                d_before = (past[1][1] - past[2][1]) / (past[1][0] - past[2][0])
                dd = (d - d_before) / ((high - past[2][0]) / 2)
                area = quad(lambda r, end=high: (r - end) / phi(r), low, high, epsabs=0, epsrel=1e-11, limit=200)[0]
                y = y + ((low - high) ** 2 / 2 + phi(low) * area) * dd
            if scale != "ode":
                y = y + math.sqrt(low**2 - (high * ratio) ** 2) * draw()
        return levels[-1].alpha * y

    assert_as_by_hand(ERSDE(order, scale), by_hand, schedule, None if scale == "ode" else noise, 1e-9)


@each_schedule
def test_first_order_er_sde_is_ddpm_or_ddim(schedule: Schedule, noise: NoiseOf) -> None:
    assert_same(ERSDE(1, "sde"), DDPM(), schedule, noise, 1e-11)
    assert_same(ERSDE(1, "ode"), DDIM(), schedule, None, 1e-11)


@each_schedule
def test_first_order_sa_solver_predicts_as_ddim_or_ddpm(schedule: Schedule, noise: NoiseOf) -> None:
    """The last step is only predicted: with tau 0 by DDIM's step, with tau 1 by the posterior's."""
    x = start() * max(schedule.level(0.9).sigma, 1.0)
    levels = [schedule.level(t) for t in (0.9, 0.5)]
    for tau, other in ((0.0, DDIM()), (1.0, DDPM())):
        sampler = SASolver(1, 1, tau, 0.0, 1.0)
        found, expected = (each.sample(nonlinear(schedule=schedule), x, levels, noise(1)) for each in (sampler, other))
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)
