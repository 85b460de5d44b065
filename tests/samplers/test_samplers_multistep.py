"""The multistep solvers of the probability flow against their papers' formulas, written out by hand in numpy."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
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
    transfer,
)

from models.schedule import Level, Schedule
from samplers.deis import DEIS
from samplers.dpmpp_2m import DPMpp2M
from samplers.dpmpp_3m import DPMpp3M
from samplers.ipndm import IPNDM
from samplers.pndm import PNDM
from samplers.unipc import UniPC

# multistep methods


def dpmpp_2m(x: Array, levels: Sequence[Level], lower_order_below: int) -> Array:
    """Algorithm 2 of arXiv 2211.01095; below some number of steps the last one between noisy levels is of order 1."""
    past: list[tuple[float, Array]] = []
    steps = len(levels) - 1
    last = steps - 2 if levels[-1].is_clean else steps - 1
    for i, (t, s) in enumerate(pairwise(levels)):
        past.insert(0, (lam(t), predicted(x, t)))
        if s.is_clean:
            return past[0][1]
        h = lam(s) - lam(t)
        d = past[0][1]
        if i > 0 and not (i == last and steps < lower_order_below):
            r = (past[0][0] - past[1][0]) / h
            d = (1 + 1 / (2 * r)) * d - 1 / (2 * r) * past[1][1]
        x = s.sigma / t.sigma * x - s.alpha * (math.exp(-h) - 1) * d
    return x


@each_schedule
@pytest.mark.parametrize("below", [0, 4, 100])
def test_dpmpp_2m_is_algorithm_2_and_ends_with_first_order_below_some_steps(schedule: Schedule, below: int) -> None:
    assert_as_by_hand(DPMpp2M(below), lambda x, levels, _: dpmpp_2m(x, levels, below), schedule)


def dpmpp_3m(x: Array, levels: Sequence[Level], lower_order_below: int, halved: bool) -> Array:
    """The exact integral of the quadratic through the last three x_0, by its divided differences."""
    past: list[tuple[float, Array]] = []
    steps = len(levels) - 1
    for i, (t, s) in enumerate(pairwise(levels)):
        past.insert(0, (lam(t), predicted(x, t)))
        if s.is_clean:
            return past[0][1]
        order = min(3, i + 1, steps - levels[-1].is_clean - i if steps < lower_order_below else 3)
        h = lam(s) - lam(t)
        phi_1 = math.exp(-h) - 1
        phi_2 = phi_1 / h + 1
        phi_3 = phi_2 / h - 0.5
        m0 = past[0][1]
        x = s.sigma / t.sigma * x - s.alpha * phi_1 * m0
        if order > 1:
            r0 = (past[0][0] - past[1][0]) / h
            d1_0 = (m0 - past[1][1]) / r0
        if order == 2:
            x = x - 0.5 * s.alpha * phi_1 * d1_0
        if order == 3:
            r1 = (past[1][0] - past[2][0]) / h
            d1_1 = (past[1][1] - past[2][1]) / r1
            d1 = d1_0 + r0 / (r0 + r1) * (d1_0 - d1_1)
            d2 = (
                (1 if halved else 2) / (r0 + r1) * (d1_0 - d1_1)
            )  # the second derivative; the authors' code lacks the 2
            x = x + s.alpha * phi_2 * d1 - s.alpha * phi_3 * d2
    return x


@each_schedule
@pytest.mark.parametrize("below", [0, 10])
@pytest.mark.parametrize("halved", [False, True])
def test_dpmpp_3m_integrates_the_quadratic_through_three_predictions(
    schedule: Schedule, below: int, halved: bool
) -> None:
    sampler = DPMpp3M(halved, lower_order_below=below)
    assert_as_by_hand(sampler, lambda x, levels, _: dpmpp_3m(x, levels, below, halved), schedule)


def unipc_step(
    x: Array, s: Level, past: list[tuple[float, Array]], t: Level, p: int, variant: str, new: Array | None
) -> Array:
    """UniP-p or, given the new value, UniC-p for the data prediction (arXiv 2302.04867, algorithms 5 to 8)."""
    h = lam(s) - past[0][0]
    m0 = past[0][1]
    rks = [(past[i][0] - past[0][0]) / h for i in range(1, p)]
    d1s = [(past[i][1] - m0) / rks[i - 1] for i in range(1, p)]
    if new is not None:
        rks, d1s = [*rks, 1.0], [*d1s, new - m0]
    hh = -h
    b_h = hh if variant == "bh1" else math.expm1(hh)
    phi = math.expm1(hh)
    base = s.sigma / t.sigma * x - s.alpha * phi * m0
    if not rks:
        return base
    phi_k, factorial, b = phi / hh - 1, 1.0, []
    for k in range(1, len(rks) + 1):
        b.append(phi_k * factorial / b_h)
        factorial *= k + 1
        phi_k = phi_k / hh - 1 / factorial
    r = np.array([[rk**k for rk in rks] for k in range(len(rks))])
    rhos = np.array([0.5]) if len(rks) == 1 else np.linalg.solve(r, np.array(b))
    return np.asarray(base - s.alpha * b_h * sum(rho * d for rho, d in zip(rhos, d1s, strict=True)))


def unipc(x: Array, levels: Sequence[Level], order: int, variant: str, lower_order_below: int, to: str) -> Array:
    """The authors' code counts the steps between noisy levels only, diffusers' all."""
    steps = len(levels) - 1
    last = steps - 1 if to == "noisy" and levels[-1].is_clean else steps
    past: list[tuple[float, Array]] = [(lam(levels[0]), predicted(x, levels[0]))]
    for i, (t, s) in enumerate(pairwise(levels)):
        if s.is_clean:
            return past[0][1]
        p = min(order, i + 1, last - i if steps < lower_order_below else order)
        predicted_x = unipc_step(x, s, past, t, p, variant, None)
        if i == steps - 1:
            return predicted_x
        new = predicted(predicted_x, s)
        x = unipc_step(x, s, past, t, p, variant, new)
        past.insert(0, (lam(s), new))
    return x


@each_schedule
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
def test_unipc_is_the_solution_of_its_linear_system(
    schedule: Schedule, order: Literal[1, 2, 3], variant: Literal["bh1", "bh2"]
) -> None:
    for below, to in ((0, "noisy"), (100, "noisy"), (100, "clean"), (4, "noisy")):
        sampler = UniPC(order, variant, below, to)  # type: ignore[arg-type]
        by_hand = partial(unipc, order=order, variant=variant, lower_order_below=below, to=to)
        assert_as_by_hand(sampler, lambda x, levels, _, by=by_hand: by(x, levels), schedule)  # type: ignore[misc]


def dpm_solver_2_taylor(x: Array, levels: Sequence[Level]) -> Array:
    """The multistep DPM-Solver-2 for the noise prediction (arXiv 2206.00927) with the linear term's exact integral."""
    past: list[tuple[float, Array]] = []
    for t, s in pairwise(levels):
        past.insert(0, (lam(t), predicted_eps(x, t)))
        eps = past[0][1]
        x = transfer(x, eps, t, s)
        if len(past) > 1 and not s.is_clean:
            h, slope = lam(s) - lam(t), (eps - past[1][1]) / (past[0][0] - past[1][0])
            x = x - s.sigma * (math.expm1(h) - h) * slope
    return x


@each_schedule
def test_deis_of_degree_1_in_log_rho_is_the_multistep_dpm_solver_2_of_type_taylor(schedule: Schedule) -> None:
    sampler = DEIS(degree=1, variable="log-rho")
    assert_as_by_hand(sampler, lambda x, levels, _: dpm_solver_2_taylor(x, levels), schedule)


def adams_bashforth(
    weights: Callable[[Level, Level, list[Level]], Sequence[float]], values: int, x: Array, levels: Sequence[Level]
) -> Array:
    """x_s / alpha_s = x_t / alpha_t + the weighted sum of the last eps."""
    past: list[tuple[Level, Array]] = []
    for t, s in pairwise(levels):
        past = [(t, predicted_eps(x, t)), *past[: values - 1]]
        w = weights(t, s, [at for at, _ in past])
        x = s.alpha * (x / t.alpha + sum(each * eps for each, (_, eps) in zip(w, past, strict=True)))
    return x


def even_weights_of(values: int) -> list[float]:
    """Adams-Bashforth's for even steps."""
    table = [[1.0], [3 / 2, -1 / 2], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24]]
    return table[values - 1]


def even_weights(t: Level, s: Level, nodes: list[Level]) -> list[float]:
    h = s.sigma / s.alpha - t.sigma / t.alpha
    return [h * w for w in even_weights_of(len(nodes))]


@each_schedule
@pytest.mark.parametrize("values", [1, 2, 3, 4])
def test_ipndm_is_adams_bashforth_in_rho_as_if_steps_were_even(schedule: Schedule, values: Literal[1, 2, 3, 4]) -> None:
    assert_as_by_hand(IPNDM(values), lambda x, levels, _: adams_bashforth(even_weights, values, x, levels), schedule)


@lru_cache
def pieces(schedule: Schedule, t: float, s: float) -> list[tuple[Level, float]]:
    """Levels and weights of integrals from t to s: three points between any two of the times n / 1000, at which a
    discrete schedule has its kinks."""
    low, high = sorted((t, s))
    inner = [n / 1000 for n in range(1001) if low < n / 1000 < high]
    points, weights = np.polynomial.legendre.leggauss(3)
    return [
        (schedule.level((a + b) / 2 + (b - a) / 2 * float(v)), math.copysign((b - a) / 2 * float(w), s - t))
        for a, b in pairwise([low, *inner, high])
        for v, w in zip(points, weights, strict=True)
    ]


def lagrange_weights(schedule: Schedule, variable: str, t: Level, s: Level, nodes: list[Level]) -> list[float]:
    """The integrals of Lagrange polynomials d rho, with d rho / dt = g^2 / (2 alpha sigma)."""
    value: Callable[[Level], float] = {
        "t": lambda at: at.t, "rho": lambda at: at.sigma / at.alpha, "log-rho": lambda at: -lam(at)
    }[variable]  # fmt: skip
    places = [value(node) for node in nodes]
    return [
        sum(
            dt * at.diffusion2 / (2 * at.alpha * at.sigma) * lagrange(j, places, value(at))
            for at, dt in pieces(schedule, t.t, s.t)
        )
        for j in range(len(nodes))
    ]


@each_schedule
@pytest.mark.parametrize("variable", ["t", "rho", "log-rho"])
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_deis_integrates_the_polynomial_through_degree_plus_one_values(
    schedule: Schedule, variable: Literal["t", "rho", "log-rho"], degree: Literal[1, 2, 3]
) -> None:
    def weights(t: Level, s: Level, nodes: list[Level]) -> list[float]:
        if s.is_clean:
            return [-t.sigma / t.alpha] + [0.0] * (len(nodes) - 1)
        return lagrange_weights(schedule, variable, t, s, nodes)

    # between two levels 32 points cannot follow a discrete schedule's kinks: see test_coefficients.py
    tolerance = 1e-6 if variable == "t" and schedule.train_steps else 1e-9
    assert_as_by_hand(
        DEIS(degree, variable),
        lambda x, levels, _: adams_bashforth(weights, degree + 1, x, levels),
        schedule,
        None,
        tolerance,
    )


def pndm(schedule: Schedule, variant: str, x: Array, levels: Sequence[Level]) -> Array:
    """arXiv 2202.09778, algorithm 2, and its second-order variant; to the data a multistep step."""
    past: list[Array] = []
    for t, s in pairwise(levels):
        e1 = predicted_eps(x, t)
        past = [e1, *past[:3]]
        if variant == "F" and len(past) < 4 and not s.is_clean:
            middle = schedule.level((t.t + s.t) / 2)
            e2 = predicted_eps(transfer(x, e1, t, middle), middle)
            e3 = predicted_eps(transfer(x, e2, t, middle), middle)
            e4 = predicted_eps(transfer(x, e3, t, s), s)
            eps = (e1 + 2 * e2 + 2 * e3 + e4) / 6
        elif variant == "S" and len(past) == 1 and not s.is_clean:
            eps = (e1 + predicted_eps(transfer(x, e1, t, s), s)) / 2
        else:
            weights = even_weights_of(min(len(past), 4 if variant == "F" else 2))
            eps = sum(w * e for w, e in zip(weights, past, strict=False))
        x = transfer(x, eps, t, s)
    return x


@each_schedule
@pytest.mark.parametrize("variant", ["F", "S"])
def test_pndm_is_algorithm_2_of_its_paper(schedule: Schedule, variant: Literal["F", "S"]) -> None:
    assert_as_by_hand(PNDM(variant), lambda x, levels, _: pndm(schedule, variant, x, levels), schedule)
