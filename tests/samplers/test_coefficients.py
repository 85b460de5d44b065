"""Quadrature weights of multistep methods: against adaptive quadrature, and where their two forms meet."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from nonlinear import VP, each_schedule, lagrange, lam, of_every_length, rho
from scipy.integrate import quad

from models.grids import LogSNR, Trailing
from models.schedule import ContinuousVP, DiscreteVP, Level, Schedule
from samplers.coefficients import exponential_weights, integral, ratio_weights, time_weights


def by_quadrature(
    weight: Callable[[float], float], low: float, high: float, nodes: Sequence[float], at: Sequence[float] = ()
) -> list[float]:
    """The integrals of weight times each Lagrange polynomial, in pieces between the places `at` of kinks."""
    edges = [low, *sorted((place for place in at if min(low, high) < place < max(low, high)), reverse=high < low), high]
    return [
        sum(
            quad(lambda v, j=j: weight(v) * lagrange(j, nodes, v), a, b, epsabs=0.0, epsrel=1e-12)[0]
            for a, b in pairwise(edges)
        )
        for j in range(len(nodes))
    ]


def history(levels: Sequence[Level]) -> list[tuple[Level, Level, list[Level]]]:
    """Every step between noisy levels, with all levels up to its start, at most four, the latest first."""
    noisy = [level for level in levels if not level.is_clean]
    return [(t, s, noisy[max(i - 3, 0) : i + 1][::-1]) for i, (t, s) in enumerate(pairwise(noisy))]


def growth(rate: float, end: float) -> Callable[[float], float]:
    return lambda v: rate * math.exp(-rate * (end - v))


@each_schedule
@pytest.mark.parametrize("rate", [1.0, -1.0, 2.0, 1.49])
def test_exponential_weights_are_integrals_of_lagrange_polynomials_in_log_snr(schedule: Schedule, rate: float) -> None:
    for t, s, nodes in history(of_every_length(schedule)[-2]):
        for given in (nodes, [s, *nodes[:3]]):
            found = exponential_weights(rate, t, s, *given)
            expected = by_quadrature(growth(rate, lam(s)), lam(t), lam(s), [lam(at) for at in given])
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def level_at(logsnr: float) -> Level:
    """A variance-preserving level; weights depend on nothing but log-SNR."""
    alpha2 = 1.0 / (1.0 + math.exp(-2.0 * logsnr))
    return Level(0.5, math.sqrt(alpha2), math.sqrt(1.0 / (1.0 + math.exp(2.0 * logsnr))), 0.0, 0.0)


def moments_by_quadrature(z: float, count: int) -> list[float]:
    """z integral of exp(-z (1 - v)) v^m over 0 ... 1 by quadrature, m below count."""
    return [
        quad(lambda v, m=m: z * math.exp(-z * (1.0 - v)) * v**m, 0.0, 1.0, epsabs=0.0, epsrel=1e-13)[0]
        for m in range(count)
    ]


@pytest.mark.parametrize("rate", [1.0, -1.0, 2.0])
@pytest.mark.parametrize("h", [1e-6, 1e-3, 0.1, 0.4999, 0.5001, 0.9999, 1.0001, 3.0, 12.0])
def test_exponential_weights_have_the_moments_of_tiny_and_huge_steps_alike(rate: float, h: float) -> None:
    """On even nodes at -3 h ... 0 from the start; both sides of the switch at |rate h| = 1 are among the steps."""
    t, s = level_at(0.3), level_at(0.3 + h)
    nodes = [level_at(0.3 - n * h) for n in range(4)]
    weights = exponential_weights(rate, t, s, *nodes)
    moments = [sum(w * (-float(n)) ** m for n, w in enumerate(weights)) for m in range(4)]
    # the levels themselves carry h to 1e-16 / h only
    np.testing.assert_allclose(moments, moments_by_quadrature(rate * h, 4), rtol=max(1e-12, 1e-14 / h))


def test_exponential_weights_keep_their_digits_on_a_grid_of_a_thousand_steps() -> None:
    """They sum to 1 - exp(-h) exactly, and for steps this even and short come close to Adams-Bashforth's."""
    levels = LogSNR(clean=False)(VP, 1000)
    for t, s, nodes in history(levels)[3:]:
        weights = exponential_weights(1.0, t, s, *nodes)
        h = lam(s) - lam(t)
        assert sum(weights) == pytest.approx(-math.expm1(-h), rel=1e-10)
        np.testing.assert_allclose(np.array(weights) / h, np.array([55, -59, 37, -9]) / 24, atol=3 * h)


@each_schedule
def test_ratio_weights_are_integrals_of_lagrange_polynomials_in_rho(schedule: Schedule) -> None:
    for t, s, nodes in history(of_every_length(schedule)[-2]):
        places = [rho(at) for at in nodes]
        expected = by_quadrature(lambda _: 1.0, rho(t), rho(s), places)
        np.testing.assert_allclose(ratio_weights(t, s, *nodes), expected, rtol=1e-8)


def test_ratio_weights_of_even_steps_are_those_of_adams_bashforth() -> None:
    levels = [Level(1.0, 1.0, sigma, 0.0, 0.0) for sigma in (5.0, 4.0, 3.0, 2.0, 1.0)]
    for count, expected in ((1, [1.0]), (2, [1.5, -0.5]), (4, [55 / 24, -59 / 24, 37 / 24, -9 / 24])):
        found = ratio_weights(levels[3], levels[4], *levels[3::-1][:count])
        np.testing.assert_allclose(found, -np.array(expected), rtol=1e-13)


def rho_rate(schedule: Schedule) -> Callable[[float], float]:
    def rate(t: float) -> float:
        at = schedule.level(t)
        return at.diffusion2 / (2.0 * at.alpha * at.sigma)

    return rate


@each_schedule
def test_time_weights_are_integrals_of_lagrange_polynomials_in_time(schedule: Schedule) -> None:
    """d rho / dt is g^2 / (2 alpha sigma). A discrete schedule has a kink at each of its times, which 32 points between
    two levels cannot follow: its weights are right to 1e-5 of the largest."""
    tolerance = 1e-11 if schedule.train_steps is None else 1e-5
    kinks = [n / 1000 for n in range(1001)] if schedule.train_steps else []
    for t, s, nodes in history(of_every_length(schedule)[-2]):
        found = time_weights(schedule, t, s, *nodes)
        expected = by_quadrature(rho_rate(schedule), t.t, s.t, [at.t for at in nodes], kinks)
        np.testing.assert_allclose(found, expected, rtol=0.0, atol=tolerance * max(map(abs, expected)))


@pytest.mark.parametrize("steps", [5, 10])
@pytest.mark.parametrize("schedule", [DiscreteVP.linear(), DiscreteVP.cosine()], ids=["linear", "cosine"])
def test_time_weights_of_few_discrete_steps_are_closer_than_the_sums_of_the_authors(
    schedule: DiscreteVP, steps: int
) -> None:
    """Those are 1e-4 to 8e-4 off; on the trailing grid, whose levels are at kinks, these are 1e-6 and less."""
    for t, s, nodes in history(Trailing()(schedule, steps)):
        found = time_weights(schedule, t, s, *nodes)
        kinks = [n / 1000 for n in range(1001)]
        expected = by_quadrature(rho_rate(schedule), t.t, s.t, [at.t for at in nodes], kinks)
        np.testing.assert_allclose(found, expected, rtol=0.0, atol=2e-6 * max(map(abs, expected)))


def test_a_constant_is_integrated_to_the_change_of_rho() -> None:
    for schedule in (ContinuousVP(), DiscreteVP.linear()):
        for t, s, nodes in history(of_every_length(schedule)[-2]):
            change = rho(s) - rho(t)
            assert sum(time_weights(schedule, t, s, *nodes)) == pytest.approx(change, rel=1e-11)
            assert sum(ratio_weights(t, s, *nodes)) == pytest.approx(change, rel=1e-11)


def test_the_integral_is_exact_for_polynomials_and_signed() -> None:
    assert integral(lambda v: v**63, 0.0, 1.0) == pytest.approx(1.0 / 64.0, rel=1e-13)
    assert integral(np.exp, 2.0, -1.0) == pytest.approx(math.exp(-1.0) - math.exp(2.0), rel=1e-14)
