"""The one-step solvers of the probability flow against their papers' formulas, written out by hand in numpy."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from nonlinear import (
    Array,
    assert_as_by_hand,
    each_schedule,
    lagrange,
    lam,
    no_noise,
    nonlinear,
    predicted,
    predicted_eps,
    start,
    transfer,
)

from models.schedule import Level, Schedule
from samplers import SAMPLERS
from samplers.ddim import DDIM
from samplers.dpm_solver_2 import DPMSolver2
from samplers.dpm_solver_3 import DPMSolver3
from samplers.dpmpp_2s import DPMpp2S
from samplers.dpmpp_3s import DPMpp3S
from samplers.pf_euler import ProbabilityFlowEuler
from samplers.singlestep import SinglestepSampler

# singlestep methods


def orders_of_singlestep(intervals: int, order: int) -> list[int]:
    """How the authors' `get_orders_and_timesteps_for_singlestep_solver` fills up N evaluations."""
    whole, rest = divmod(intervals, order)
    if order == 3 and rest == 0:
        return [*[3] * (whole - 1), 2, 1] if whole else []
    return [*[order] * whole, *([rest] if rest else [])]


def singlestep(update: Callable[[Array, list[Level]], Array], order: int, x: Array, levels: Sequence[Level]) -> Array:
    """To the data the last interval is a step of its own, as its length in log-SNR is infinite."""
    spans, first = orders_of_singlestep(len(levels) - 1, order), 0
    if levels[-1].is_clean and spans[-1] > 1:
        spans[-1:] = [spans[-1] - 1, 1]
    for count in spans:
        nodes = list(levels[first : first + count + 1])
        x = transfer(x, predicted_eps(x, nodes[0]), *nodes) if count == 1 else update(x, nodes)
        first += count
    return x


def dpm_solver_2(x: Array, nodes: list[Level]) -> Array:
    """arXiv 2206.00927, algorithm 4."""
    s, s1, t = nodes
    h = lam(t) - lam(s)
    r1 = (lam(s1) - lam(s)) / h
    eps = predicted_eps(x, s)
    u = s1.alpha / s.alpha * x - s1.sigma * (math.exp(r1 * h) - 1) * eps
    e_h = math.exp(h) - 1
    d = predicted_eps(u, s1) - eps
    return np.asarray(t.alpha / s.alpha * x - t.sigma * e_h * eps - t.sigma / (2 * r1) * e_h * d)


def dpm_solver_3(x: Array, nodes: list[Level]) -> Array:
    """arXiv 2206.00927, algorithm 5; the order 2 that fills up is algorithm 4."""
    if len(nodes) == 3:
        return dpm_solver_2(x, nodes)
    s, s1, s2, t = nodes
    h = lam(t) - lam(s)
    r1, r2 = (lam(s1) - lam(s)) / h, (lam(s2) - lam(s)) / h
    eps = predicted_eps(x, s)
    u1 = s1.alpha / s.alpha * x - s1.sigma * (math.exp(r1 * h) - 1) * eps
    d1 = predicted_eps(u1, s1) - eps
    e_2 = math.exp(r2 * h) - 1
    u2 = s2.alpha / s.alpha * x - s2.sigma * e_2 * eps - s2.sigma * r2 / r1 * (e_2 / (r2 * h) - 1) * d1
    d2 = predicted_eps(u2, s2) - eps
    e_h = math.exp(h) - 1
    return np.asarray(t.alpha / s.alpha * x - t.sigma * e_h * eps - t.sigma / r2 * (e_h / h - 1) * d2)


def dpmpp_2s(x: Array, nodes: list[Level]) -> Array:
    """arXiv 2211.01095, algorithm 1."""
    s, s1, t = nodes
    h = lam(t) - lam(s)
    r = (lam(s1) - lam(s)) / h
    x0 = predicted(x, s)
    u = s1.sigma / s.sigma * x - s1.alpha * (math.exp(-r * h) - 1) * x0
    d = (1 - 1 / (2 * r)) * x0 + 1 / (2 * r) * predicted(u, s1)
    return np.asarray(t.sigma / s.sigma * x - t.alpha * (math.exp(-h) - 1) * d)


def dpmpp_3s(x: Array, nodes: list[Level]) -> Array:
    """DPM-Solver-3 for the data prediction, as the authors' code of arXiv 2211.01095 has it."""
    if len(nodes) == 3:
        return dpmpp_2s(x, nodes)
    s, s1, s2, t = nodes
    h = lam(t) - lam(s)
    r1, r2 = (lam(s1) - lam(s)) / h, (lam(s2) - lam(s)) / h
    phi_11, phi_12, phi_1 = (math.exp(-r * h) - 1 for r in (r1, r2, 1.0))
    phi_22, phi_2 = phi_12 / (r2 * h) + 1, phi_1 / h + 1
    x0 = predicted(x, s)
    u1 = s1.sigma / s.sigma * x - s1.alpha * phi_11 * x0
    d1 = predicted(u1, s1) - x0
    u2 = s2.sigma / s.sigma * x - s2.alpha * phi_12 * x0 + r2 / r1 * s2.alpha * phi_22 * d1
    return np.asarray(t.sigma / s.sigma * x - t.alpha * phi_1 * x0 + t.alpha * phi_2 / r2 * (predicted(u2, s2) - x0))


def taylor(data: bool, x: Array, nodes: list[Level]) -> Array:
    """What the authors' `solver_type` "taylor" makes of two or three values: the polynomial through all of them."""
    s, *inner, t = nodes
    rate = 1.0 if data else -1.0
    points, dv = np.polynomial.legendre.leggauss(40)

    def value(u: Array, at: Level) -> Array:
        return predicted(u, at) if data else predicted_eps(u, at)

    def solved(at: Level, polynomial: Callable[[float], Array]) -> Array:
        """The linear part exactly, and the integral of rate exp(-rate (lambda_at - lambda)) times the polynomial."""
        length = lam(at) - lam(s)
        keep, gain = (at.sigma / s.sigma, at.alpha) if data else (at.alpha / s.alpha, at.sigma)
        places = length * (points + 1) / 2
        parts = [
            length / 2 * w * rate * math.exp(-rate * (length - v)) * polynomial(v)
            for v, w in zip(places, dv, strict=True)
        ]
        return np.asarray(keep * x + gain * sum(parts))

    l1 = lam(inner[0]) - lam(s)
    v0 = value(x, s)
    v1 = value(solved(inner[0], lambda _: v0), inner[0])
    if len(inner) == 1:
        return solved(t, lambda v: v0 + v / l1 * (v1 - v0))
    l2 = lam(inner[1]) - lam(s)
    v2 = value(solved(inner[1], lambda v: v0 + v / l1 * (v1 - v0)), inner[1])
    places = [0.0, l1, l2]
    return solved(t, lambda v: sum((lagrange(j, places, v) * each for j, each in enumerate((v0, v1, v2))), 0.0 * x))


Update = Callable[[Array, list[Level]], Array]
SINGLESTEP: list[tuple[SinglestepSampler, Update]] = [
    (DPMSolver2(), dpm_solver_2),
    (DPMSolver3(), dpm_solver_3),
    (DPMpp2S(), dpmpp_2s),
    (DPMpp3S(), dpmpp_3s),
    (DPMSolver2("taylor"), partial(taylor, False)),
    (DPMSolver3("taylor"), partial(taylor, False)),
    (DPMpp2S("taylor"), partial(taylor, True)),
    (DPMpp3S("taylor"), partial(taylor, True)),
]


@each_schedule
@pytest.mark.parametrize(("sampler", "update"), SINGLESTEP)
def test_singlestep_solvers_are_the_algorithms_of_their_papers(
    sampler: SinglestepSampler, update: Update, schedule: Schedule
) -> None:
    assert_as_by_hand(sampler, lambda x, levels, _: singlestep(update, sampler.order, x, levels), schedule)


@pytest.mark.parametrize(
    ("intervals", "order", "expected"),
    [
        (6, 3, [3, 2, 1]), (7, 3, [3, 3, 1]), (8, 3, [3, 3, 2]), (3, 3, [2, 1]), (2, 3, [2]), (1, 3, [1]),
        (5, 2, [2, 2, 1]), (4, 2, [2, 2]), (1, 2, [1]),
    ],
)  # fmt: skip
def test_the_transcription_spans_intervals_as_published(intervals: int, order: int, expected: list[int]) -> None:
    assert orders_of_singlestep(intervals, order) == expected


# the plain ODE


@each_schedule
def test_pf_euler_takes_the_slope_in_time(schedule: Schedule) -> None:
    """dx/dt = f x - g^2 score / 2, with f and g of the path: x = alpha x_0 + sigma eps for both x_0 and eps fixed has
    dx/dt = alpha' x_0 + sigma' eps; alpha' and sigma' by a difference to just below t."""

    def by_hand(x: Array, levels: Sequence[Level], _: object) -> Array:
        for t, s in pairwise(levels):
            d = 1e-7
            below = schedule.level(t.t - d)
            x0, eps = predicted(x, t), predicted_eps(x, t)
            x = x - (t.t - s.t) * ((t.alpha - below.alpha) / d * x0 + (t.sigma - below.sigma) / d * eps)
        return x

    assert_as_by_hand(ProbabilityFlowEuler(), by_hand, schedule, None, 1e-5)


# the first order that all of them start from


@each_schedule
@pytest.mark.parametrize(
    "spec",
    [
        "rk[tableau=exp-euler]", "dpm++3s", "dpm-solver-multistep", "unipc[prediction=noise]", "gradient-estimation",
        "ipndm[variant=exact]", "dpm-solver-2", "dpm-solver-3", "dpm++2s",
        "dpm++2m", "dpm++3m", "unipc", "unipc[solver_order=1]", "ipndm",
        "deis", "deis[variable=rho]", "deis[variable=log-rho]", "er-sde[noise_scale=ode]", "sa-solver[tau=0]",
    ],
)  # fmt: skip
def test_a_single_step_without_history_is_that_of_ddim(spec: str, schedule: Schedule) -> None:
    x = start() * max(schedule.level(0.8).sigma, 1.0)
    for end in (0.3, 0.0):
        levels = [schedule.level(0.8), schedule.level(end)]
        found, expected = (
            each.sample(nonlinear(schedule=schedule), x, levels, no_noise) for each in (SAMPLERS.make(spec), DDIM())
        )
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)
