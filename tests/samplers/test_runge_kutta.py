"""Runge-Kutta samplers against their tableaus, written out here once more, and what wrong weights would do."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from nonlinear import (
    VP,
    Array,
    assert_as_by_hand,
    assert_same,
    each_schedule,
    lam,
    no_noise,
    nonlinear,
    predicted,
    predicted_eps,
    rho,
    start,
)
from scipy.integrate import quad

from models.common.errors import UsageError
from models.grids import LogSNR
from models.schedule import Flow, Level, Schedule
from samplers import SAMPLERS
from samplers.coefficients import phi
from samplers.ddim import DDIM
from samplers.heun import Heun
from samplers.pf_euler import ProbabilityFlowEuler
from samplers.rk import RungeKutta
from samplers.runge_kutta import exponential_between, take
from samplers.singlestep import SinglestepSampler
from samplers.tableaus import EXPONENTIAL, PLAIN, Exponential, order_of

Slope = Callable[[float, Array], Array]

# plain tableaus

BY_HAND: dict[str, tuple[list[float], list[list[float]], list[float]]] = {
    "euler": ([0], [[]], [1]),
    "midpoint": ([0, 1 / 2], [[], [1 / 2]], [0, 1]),
    "heun2": ([0, 1], [[], [1]], [1 / 2, 1 / 2]),
    "ralston2": ([0, 2 / 3], [[], [2 / 3]], [1 / 4, 3 / 4]),
    "kutta3": ([0, 1 / 2, 1], [[], [1 / 2], [-1, 2]], [1 / 6, 4 / 6, 1 / 6]),
    "heun3": ([0, 1 / 3, 2 / 3], [[], [1 / 3], [0, 2 / 3]], [1 / 4, 0, 3 / 4]),
    "ralston3": ([0, 1 / 2, 3 / 4], [[], [1 / 2], [0, 3 / 4]], [2 / 9, 3 / 9, 4 / 9]),
    "ssprk3": ([0, 1, 1 / 2], [[], [1], [1 / 4, 1 / 4]], [1 / 6, 1 / 6, 4 / 6]),
    "rk4": ([0, 1 / 2, 1 / 2, 1], [[], [1 / 2], [0, 1 / 2], [0, 0, 1]], [1 / 6, 2 / 6, 2 / 6, 1 / 6]),
    "three-eighths": (
        [0, 1 / 3, 2 / 3, 1],
        [[], [1 / 3], [-1 / 3, 1], [1, -1, 1]],
        [1 / 8, 3 / 8, 3 / 8, 1 / 8],
    ),
}


def flow_in(variable: str, schedule: Schedule) -> tuple[Callable[[Level], float], Callable[[Level], float], Slope]:
    """The variable of a level, what its state is scaled by, and the slope of the scaled state."""

    def at(logsnr: float) -> Level:
        return schedule.level(min(schedule.t_at(logsnr), 1.0))

    if variable == "rho":  # eps
        return rho, lambda it: it.alpha, lambda u, y: eps_at(y, at(-math.log(u)))
    if variable == "flow":  # eps - x_0, in u = sigma / (alpha + sigma)

        def velocity(u: float, y: Array) -> Array:
            it = at(math.log((1 - u) / u))
            x = y * (it.alpha + it.sigma)
            return np.asarray(predicted_eps(x, it) - predicted(x, it))

        return lambda it: it.sigma / (it.alpha + it.sigma), lambda it: it.alpha + it.sigma, velocity
    if variable == "lambda-noise":  # x / alpha has the slope -rho eps
        return lam, lambda it: it.alpha, lambda u, y: -math.exp(-u) * eps_at(y, at(u))
    if variable == "lambda-data":  # x / sigma has the slope x_0 / rho
        return lam, lambda it: it.sigma, lambda u, y: math.exp(u) * predicted(y * at(u).sigma, at(u))

    def in_time(t: float, x: Array) -> Array:
        it = schedule.level(t)
        score = (it.alpha * predicted(x, it) - x) / it.sigma**2
        return np.asarray(it.drift * x - 0.5 * it.diffusion2 * score)

    return lambda it: it.t, lambda it: 1.0, in_time


def eps_at(y: Array, at: Level) -> Array:
    return predicted_eps(y * at.alpha, at)


def runge_kutta(name: str, variable: str, schedule: Schedule, x: Array, levels: Sequence[Level]) -> Array:
    c, a, b = BY_HAND[name]
    of, scale, slope = flow_in(variable, schedule)
    for t, s in pairwise(levels):
        if s.is_clean:
            return predicted(x, t)
        h, y = of(s) - of(t), x / scale(t)
        k: list[Array] = []
        for place, row in zip(c, a, strict=True):
            k.append(slope(of(t) + place * h, y + h * sum((w * each for w, each in zip(row, k, strict=True)), 0.0 * y)))
        x = scale(s) * (y + h * sum((w * each for w, each in zip(b, k, strict=True)), 0.0 * y))
    return x


@each_schedule
@pytest.mark.parametrize("variable", ["rho", "flow", "t", "lambda-data", "lambda-noise"])
def test_plain_tableaus_are_what_textbooks_have(variable: str, schedule: Schedule) -> None:
    assert BY_HAND.keys() == PLAIN.keys()
    for name in BY_HAND:
        sampler = SAMPLERS.make(f"rk[tableau={name},variable={variable}]")
        by_hand = partial(runge_kutta, name, variable, schedule)
        # stages lie at t = 0.5 in the kink of a discrete schedule's rate: either side, by round-off
        if variable != "t" or schedule.train_steps is None:
            assert_as_by_hand(sampler, lambda x, levels, _, by=by_hand: by(x, levels), schedule, None, 1e-9)  # type: ignore[misc]


@pytest.mark.parametrize("name", PLAIN)
def test_orders_follow_from_a_tableau(name: str) -> None:
    stages = len(PLAIN[name])
    assert order_of(PLAIN[name]) == SAMPLERS.make(f"rk[tableau={name}]").order == stages
    for i, row in enumerate(PLAIN[name]):
        for j in range(len(row)):
            wrong = [list(each) for each in PLAIN[name]]
            wrong[i][j] += 0.01
            assert order_of(tuple(map(tuple, wrong))) < stages, (name, i, j)


def test_the_order_of_a_method_of_order_5_is_5() -> None:
    """Dormand and Prince's, whose conditions include all of the nine trees of five nodes."""
    rows = (
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    )
    assert RungeKutta(rows).order == 5
    fourth = (5179 / 57600, 0.0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100)
    assert order_of((*rows[:-1], fourth)) < 5


def test_a_tableau_of_ones_own_is_read_and_one_that_is_none_refused() -> None:
    assert_same(SAMPLERS.make("rk[tableau=[[0.5],[0,1]]]"), RungeKutta("midpoint"), VP, None, 1e-14)
    assert SAMPLERS.spec_of(SAMPLERS.make("rk[tableau=[[0.5],[0,1]]]")) == "rk[tableau=[[0.5],[0.0,1.0]]]"
    for rows, words in (
        ("[]", "a tableau of n stages"),
        ("[[0.5,0.5],[0,1]]", "a tableau of n stages"),
        ("[[0.5],[1]]", "a tableau of n stages"),
        ("[[0.5],[0,0.9]]", r"must sum to 1, got \[0.0, 0.9\]"),
        ("[[1.5],[0.5,0.5]]", "within the step"),
        ("rk5", r"unknown tableau 'rk5'. Did you mean 'rk4'\? There is: dpm-solver-3, etd2rk.*three-eighths"),
        ("3", "Input should be a valid"),
    ):
        with pytest.raises(UsageError, match=words):
            SAMPLERS.make(f"rk[tableau={rows}]")
    with pytest.raises(UsageError, match=r"'etd4rk' is one in log\(alpha / sigma\).*got 'rho'"):
        SAMPLERS.make("rk[tableau=etd4rk,variable=rho]")


# exponential tableaus


def by_quadrature(k: int, z: float) -> float:
    """phi_k(-z) by its integral; phi_0 is the exponential."""
    if k == 0:
        return math.exp(-z)
    found, _ = quad(lambda v: math.exp(-z * (1 - v)) * v ** (k - 1), 0, 1, epsabs=0, epsrel=1e-13)
    return found / math.factorial(k - 1)


@pytest.mark.parametrize("z", [-8.0, -1.0001, -1.0, -0.3, -1e-3, 1e-9, 0.02, 0.99, 1.01, 6.0])
def test_phi_is_its_integral(z: float) -> None:
    for k in (1, 2, 3):
        assert phi(k, z) == pytest.approx(by_quadrature(k, z), rel=1e-11)


Phi = Callable[[int, float], float]
Full = Callable[[Phi], tuple[list[float], list[list[float]], list[float]]]
"""Where stages lie, all of their weights, and those of the end, given phi_k(-c z)."""


def two(c: float, end: Callable[[Phi], float]) -> Full:
    return lambda f: ([0, c], [[], [c * f(1, c)]], [f(1, 1) - end(f), end(f)])


def three_of_dpm_solver(f: Phi) -> tuple[list[float], list[list[float]], list[float]]:
    """arXiv 2206.00927, algorithm 5, in phi functions: r_1 = 1/3, r_2 = 2/3."""
    a_32 = (2 / 3) ** 2 * 3 * f(2, 2 / 3)
    third = [2 / 3 * f(1, 2 / 3) - a_32, a_32]
    return [0, 1 / 3, 2 / 3], [[], [1 / 3 * f(1, 1 / 3)], third], [f(1, 1) - 1.5 * f(2, 1), 0, 1.5 * f(2, 1)]


def end_of_order_3(f: Phi) -> list[float]:
    return [f(1, 1) - 3 * f(2, 1) + 4 * f(3, 1), 4 * f(2, 1) - 8 * f(3, 1), -f(2, 1) + 4 * f(3, 1)]


def refined(f: Phi) -> tuple[list[float], list[list[float]], list[float]]:
    """gamma = 4 at c_2 = 1/2 and c_3 = 1: 2 (gamma c_2 + c_3) = 3 (gamma c_2^2 + c_3^2)."""
    gamma = 4.0
    a_32 = gamma / 2 * f(2, 1 / 2) + 2 * f(2, 1)
    b = [gamma / (gamma / 2 + 1) * f(2, 1), 1 / (gamma / 2 + 1) * f(2, 1)]
    return [0, 1 / 2, 1], [[], [f(1, 1 / 2) / 2], [f(1, 1) - a_32, a_32]], [f(1, 1) - sum(b), *b]


def end_of_order_4(f: Phi) -> list[float]:
    middle = 2 * f(2, 1) - 4 * f(3, 1)
    return [f(1, 1) - 3 * f(2, 1) + 4 * f(3, 1), middle, middle, -f(2, 1) + 4 * f(3, 1)]


def etd4rk(f: Phi) -> tuple[list[float], list[list[float]], list[float]]:
    half = f(1, 1 / 2)
    fourth = [half / 2 * (f(0, 1 / 2) - 1), 0, half]
    return [0, 1 / 2, 1 / 2, 1], [[], [half / 2], [0, half / 2], fourth], end_of_order_4(f)


def krogstad4(f: Phi) -> tuple[list[float], list[list[float]], list[float]]:
    third = [f(1, 1 / 2) / 2 - f(2, 1 / 2), f(2, 1 / 2)]
    fourth = [f(1, 1) - 2 * f(2, 1), 0, 2 * f(2, 1)]
    return [0, 1 / 2, 1 / 2, 1], [[], [f(1, 1 / 2) / 2], third, fourth], end_of_order_4(f)


def hochbruck_ostermann4(f: Phi) -> tuple[list[float], list[list[float]], list[float]]:
    third = [f(1, 1 / 2) / 2 - f(2, 1 / 2), f(2, 1 / 2)]
    fourth = [f(1, 1) - 2 * f(2, 1), f(2, 1), f(2, 1)]
    a_52 = f(2, 1 / 2) / 2 - f(3, 1) + f(2, 1) / 4 - f(3, 1 / 2) / 2
    a_54 = f(2, 1 / 2) / 4 - a_52
    fifth = [f(1, 1 / 2) / 2 - 2 * a_52 - a_54, a_52, a_52, a_54]
    end = [f(1, 1) - 3 * f(2, 1) + 4 * f(3, 1), 0, 0, -f(2, 1) + 4 * f(3, 1), 4 * f(2, 1) - 8 * f(3, 1)]
    return [0, 1 / 2, 1 / 2, 1, 1 / 2], [[], [f(1, 1 / 2) / 2], third, fourth, fifth], end


FULL: dict[str, Full] = {
    "exp-euler": lambda f: ([0], [[]], [f(1, 1)]),
    "exp-midpoint": lambda f: ([0, 1 / 2], [[], [f(1, 1 / 2) / 2]], [0, f(1, 1)]),
    "res-2s": two(1 / 2, lambda f: 2 * f(2, 1)),
    "etd2rk": two(1, lambda f: f(2, 1)),
    "dpm-solver-3": three_of_dpm_solver,
    "etd3rk": lambda f: (
        [0, 1 / 2, 1],
        [[], [f(1, 1 / 2) / 2], [-f(1, 1), 2 * f(1, 1)]],
        end_of_order_3(f),
    ),
    "res-3s": refined,
    "etd4rk": etd4rk,
    "krogstad4": krogstad4,
    "hochbruck-ostermann4": hochbruck_ostermann4,
}


def exponential(name: str, data: bool, schedule: Schedule, x: Array, levels: Sequence[Level]) -> Array:
    """u' = -r u + r N(u) in lambda for u = x / alpha and N = x_0, or u = x / sigma and N = eps, r = 1 or -1."""
    rate = 1.0 if data else -1.0
    for t, s in pairwise(levels):
        if s.is_clean:
            return predicted(x, t)
        z = rate * (lam(s) - lam(t))
        c, a, b = FULL[name](lambda k, at, z=z: by_quadrature(k, at * z))  # type: ignore[misc]
        values: list[Array] = []
        u = x / (t.alpha if data else t.sigma)
        for place, row in zip(c, a, strict=True):
            at = schedule.level(schedule.t_at(lam(t) + place * (lam(s) - lam(t))))
            inner = math.exp(-place * z) * u
            inner = inner + z * sum((w * each for w, each in zip(row, values, strict=True)), 0.0 * u)
            values.append(predicted(at.alpha * inner, at) if data else predicted_eps(at.sigma * inner, at))
        u = math.exp(-z) * u + z * sum((w * each for w, each in zip(b, values, strict=True)), 0.0 * u)
        x = u * (s.alpha if data else s.sigma)
    return x


@each_schedule
@pytest.mark.parametrize("data", [True, False])
def test_exponential_tableaus_are_those_of_their_papers(data: bool, schedule: Schedule) -> None:
    assert FULL.keys() == EXPONENTIAL.keys()
    for name in FULL:
        sampler = SAMPLERS.make(f"rk[tableau={name},variable=lambda-{'data' if data else 'noise'}]")
        by_hand = partial(exponential, name, data, schedule)
        assert_as_by_hand(sampler, lambda x, levels, _, by=by_hand: by(x, levels), schedule, None, 1e-9)  # type: ignore[misc]


def test_a_wrong_weight_of_an_exponential_tableau_shows() -> None:
    """Of the weights that are given, a hundredth off one moves images by a thousand times what is allowed above."""
    levels = [VP.level(t) for t in (0.9, 0.3)]
    x, model = start(), nonlinear()
    for name, tableau in EXPONENTIAL.items():
        expected = exponential(name, True, VP, x.numpy(), levels)
        right = take(model, x, exponential_between(tableau, 1.0, VP, *levels))[0]
        np.testing.assert_allclose(right, expected, rtol=1e-9, atol=1e-9)
        sizes = [len(row) for row in tableau.rows(tableau.nodes, lambda k, c: 1.0)]
        for i, j in [(i, j) for i, size in enumerate(sizes) for j in range(size)]:

            def wrong(
                c: Sequence[float], phi: Phi, i: int = i, j: int = j, tableau: Exponential = tableau
            ) -> list[list[float]]:
                rows = tableau.rows(c, phi)
                rows[i][j] = 1.01 * rows[i][j] + 1e-3
                return rows

            found = take(model, x, exponential_between(tableau._replace(rows=wrong), 1.0, VP, *levels))[0]
            assert float(np.abs(found.numpy() - expected).max()) > 1e-6, (name, i, j)


# what is the same as another sampler


@each_schedule
def test_runge_kutta_in_rho_makes_ddim_and_heun_and_in_t_euler(schedule: Schedule) -> None:
    assert_same(RungeKutta("euler"), DDIM(), schedule, None, 1e-12)
    assert_same(RungeKutta("exp-euler", "lambda-noise"), DDIM(), schedule, None, 1e-10)
    assert_same(RungeKutta("exp-euler"), DDIM(), schedule, None, 1e-10)
    assert_same(RungeKutta("heun2"), Heun(), schedule, None, 1e-11)
    x = start() * max(schedule.level(0.8).sigma, 1.0)
    levels = [schedule.level(t) for t in (0.8, 0.3, 0.1)]
    found, expected = (
        each.sample(nonlinear(schedule=schedule), x, levels, no_noise)
        for each in (RungeKutta("euler", "t"), ProbabilityFlowEuler())
    )
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)


@each_schedule
@pytest.mark.parametrize(
    ("one_step", "singlestep"),
    [
        ("rk[tableau=exp-midpoint,variable=lambda-noise]", "dpm-solver-2"),
        ("rk[tableau=exp-midpoint]", "dpm++2s"),
        ("rk[tableau=res-2s]", "dpm++2s[solver_type=taylor]"),
        ("rk[tableau=dpm-solver-3,variable=lambda-noise]", "dpm-solver-3"),
        ("rk[tableau=dpm-solver-3]", "dpm++3s"),
    ],
)
def test_singlestep_solvers_are_tableaus_whose_stages_are_levels_of_the_grid(
    one_step: str, singlestep: str, schedule: Schedule
) -> None:
    """On a grid even in log-SNR every second or third level of theirs is one of the other's."""
    sampler = SAMPLERS.make(singlestep)
    assert isinstance(sampler, SinglestepSampler)
    fine, model = LogSNR(clean=False)(schedule, 3 * sampler.order), nonlinear(schedule=schedule)
    x = start() * max(fine[0].sigma, 1.0)
    found = SAMPLERS.make(one_step).sample(model, x, fine[:: sampler.order], no_noise)
    for first in range(0, len(fine) - 1, sampler.order):  # in a sample of 9 intervals the last 3 are made up of 2 and 1
        x = sampler._step(model, x, fine[first : first + sampler.order + 1])
    np.testing.assert_allclose(found, x, rtol=1e-9, atol=1e-9)


def test_in_flow_time_it_starts_at_pure_noise_where_euler_is_ddim() -> None:
    """And Heun's method is rectified flow's: the mean of the velocities at both ends."""
    schedule = Flow()
    t, s = schedule.level(1.0), schedule.level(0.6)
    x = start()
    model = nonlinear(schedule=schedule)
    for spec in ("rk[variable=flow]", "rk[tableau=euler,variable=flow]"):
        assert SAMPLERS.make(spec).starts_at_noise
    assert not SAMPLERS.make("rk").starts_at_noise
    euler = RungeKutta("euler", "flow").sample(model, x, [t, s], no_noise)
    np.testing.assert_allclose(euler, DDIM().sample(model, x, [t, s], no_noise), rtol=1e-13, atol=1e-13)
    velocity = x.numpy() - predicted(x.numpy(), t)
    there = x.numpy() - 0.4 * velocity
    mean = (velocity + predicted_eps(there, s) - predicted(there, s)) / 2
    heun = RungeKutta("heun2", "flow").sample(model, x, [t, s], no_noise)
    np.testing.assert_allclose(heun, x.numpy() - 0.4 * mean, rtol=1e-12, atol=1e-12)
