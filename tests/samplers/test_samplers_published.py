"""Variants of samplers that published tables were made with, against their code's formulas written out by hand."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
from nonlinear import (
    VP,
    Array,
    assert_as_by_hand,
    assert_same,
    each_schedule,
    lagrange,
    no_noise,
    nonlinear,
    predicted,
    predicted_eps,
    rho,
    start,
)
from scipy.integrate import quad

from models.grids import InVPTime, LogSNR
from models.schedule import VE, Level, Schedule
from samplers import SAMPLERS
from samplers.coefficients import ratio_weights
from samplers.deis import DEIS
from samplers.ipndm import ADAMS_BASHFORTH, IPNDM, published_uneven_weights


def published_dpmpp_3m(x: Array, sigmas: Sequence[float], x0_at: Callable[[Array, float], Array]) -> Array:
    """The multistep solver of the published tables, for alpha = 1: weights by the interpolating polynomials in lambda.

    Its derivatives at the start of a step, D1 and D2, are those of the quadratic but for D2's factor 1/2; the integrals
    of exp(lambda - lambda_s), (lambda - lambda_t) and (lambda - lambda_t)^2 / 2 against them are done by quadrature.
    """
    points, dv = np.polynomial.legendre.leggauss(40)
    values: list[Array] = []
    steps = len(sigmas) - 1
    for i, (t, s) in enumerate(pairwise(sigmas)):
        values.append(x0_at(x, t))
        order = i + 1 if i + 1 < 3 else min(3, steps - i)
        h = math.log(t / s)
        v = h * (points + 1) / 2
        moments = [float(np.sum(h / 2 * dv * np.exp(v - h) * v**m)) for m in range(3)]
        change = moments[0] * values[-1]
        if order == 2:  # algorithm 2 has half of the whole first-order share for the second moment
            slope = (values[-1] - values[-2]) / math.log(sigmas[i - 1] / t)
            change = change + moments[0] * h / 2 * slope
        if order == 3:
            nodes = np.array([math.log(t / sigmas[i - j]) for j in range(3)])
            _, first, second = np.linalg.solve(
                np.vander(nodes, 3, increasing=True), np.array(values[-1:-4:-1]).reshape(3, -1)
            )
            change = change + moments[1] * first.reshape(x.shape) + 0.5 * moments[2] * second.reshape(x.shape)
        x = s / t * x + change
    return x


@pytest.mark.parametrize("steps", [3, 4, 5, 8, 9, 10, 12, 15, 25])
def test_halved_and_with_a_lower_order_at_every_end_dpmpp_3m_is_the_solver_of_published_tables(steps: int) -> None:
    """On their grid, even in log-SNR from sigma 80 to 0.002, without a step to the clean level."""
    schedule = VE()
    levels = LogSNR(clean=False)(schedule, steps)
    sigmas = np.exp(np.linspace(math.log(80), math.log(0.002), steps + 1))
    x = start() * 80
    expected = published_dpmpp_3m(x.numpy(), sigmas.tolist(), lambda y, at: predicted(y, schedule.level(at / 80)))
    model = nonlinear(schedule=schedule)
    found = SAMPLERS.make("dpm++3m[halved=true,lower_order_below=1000]").sample(model, x, levels, no_noise)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    quadratic = steps > 4  # with fewer none is of third order
    for spec, same in (
        ("dpm++3m", not quadratic),
        ("dpm++3m[halved=true]", True),
        ("dpm++3m[halved=true,lower_order_below=10]", steps < 10),
        ("dpm++3m[lower_order_below=1000]", not quadratic),
    ):
        other = SAMPLERS.make(spec).sample(model, x, levels, no_noise)
        assert np.allclose(other, expected, rtol=1e-6) == same, spec


def test_the_published_weights_for_uneven_steps_on_even_ones() -> None:
    """The two slips that show there, of three: right would be (55, -59, 37, -9) / 24; three values come out right."""
    even = [5.0, 4.0, 3.0, 2.0, 1.0]
    assert [24 * w for w in published_uneven_weights(even)] == pytest.approx([57, -65, 43, -11], rel=1e-13)
    for values in (1, 2, 3):
        found = published_uneven_weights(even[: values + 1])
        assert found == pytest.approx(ADAMS_BASHFORTH[values - 1], rel=1e-13)


def ipndm_v(t: Level, s: Level, nodes: list[Level]) -> list[float]:
    """The published code's weights, term by term."""
    at = [rho(s), *map(rho, nodes)]
    h = [a - b for a, b in pairwise(at)]
    w = np.zeros(4)
    w[0] = 1
    if len(nodes) > 1:
        w[:2] += np.array([1, -1]) * h[0] / h[1] / 2
    if len(nodes) > 2:
        temp = (1 - h[0] / (3 * (h[0] + h[1])) * (h[0] * (h[0] + h[1])) / (h[1] * (h[1] + h[2]))) / 2
        w[:3] += temp * np.array([1, -(1 + h[1] / h[2]), h[1] / h[2]])
    if len(nodes) > 3:
        inner = (1 - h[0] / (3 * (h[0] + h[1]))) / 2
        inner += (1 - h[0] / (2 * (h[0] + h[1]))) * h[0] / (6 * (h[0] + h[1] + h[2]))
        temp = inner * h[0] * (h[0] + h[1]) * (h[0] + h[1] + h[2])
        temp /= h[1] * (h[1] + h[2]) * (h[1] + h[2] + h[3])
        q = h[1] * (h[1] + h[2]) / (h[2] * (h[2] + h[3]))
        w[1] -= (1 + h[1] / h[2] + q) * temp
        w[2] += (h[1] / h[2] + q * (1 + h[2] / h[3])) * temp
        w += temp * np.array([1, 0, 0, -q * h[1] / h[2]])
    return [h[0] * each for each in w[: len(nodes)]]


@each_schedule
@pytest.mark.parametrize("values", [1, 2, 3, 4])
def test_ipndm_as_published_for_uneven_steps_is_that_code(schedule: Schedule, values: Literal[1, 2, 3, 4]) -> None:
    def by_hand(x: Array, levels: Sequence[Level], _: object) -> Array:
        past: list[tuple[Level, Array]] = []
        for t, s in pairwise(levels):
            past = [(t, predicted_eps(x, t)), *past[: values - 1]]
            weights = ipndm_v(t, s, [at for at, _ in past])
            x = s.alpha * (x / t.alpha + sum(w * eps for w, (_, eps) in zip(weights, past, strict=True)))
        return x

    assert_as_by_hand(IPNDM(values, "v-published"), by_hand, schedule)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_deis_in_vp_time_on_edms_noise_levels_is_the_published_one(degree: Literal[1, 2, 3]) -> None:
    """Lagrange polynomials in EDM's VP time against d rho / dt, by adaptive quadrature; DEIS in t has others there."""
    low, high = math.log1p(0.002**2), math.log1p(80**2)
    beta_d = 2 * (low / 1e-3 - high) / (1e-3 - 1)
    beta_min = high - beta_d / 2

    def time(sigma: float) -> float:
        return (math.sqrt(beta_min**2 + 2 * beta_d * math.log1p(sigma**2)) - beta_min) / beta_d

    def slope(t: float) -> float:
        grown = math.exp(0.5 * beta_d * t**2 + beta_min * t)
        return 0.5 * (beta_d * t + beta_min) * grown / math.sqrt(grown - 1)

    def by_hand(x: Array, levels: Sequence[Level]) -> Array:
        past: list[tuple[float, Array]] = []
        for t, s in pairwise(levels):
            past = [(time(t.sigma), predicted_eps(x, t)), *past[:degree]]
            nodes = [node for node, _ in past]
            for j, (_, eps) in enumerate(past):
                weight, _ = quad(lambda v, j=j, at=nodes: slope(v) * lagrange(j, at, v), time(t.sigma), time(s.sigma))
                x = x + weight * eps
        return x

    schedule = VE()
    levels = InVPTime(clean=False)(schedule, 7)
    x = start() * 80
    expected = by_hand(x.numpy(), levels)
    found = DEIS(degree, "vp-t").sample(nonlinear(schedule=schedule), x, levels, no_noise)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert not np.allclose(
        DEIS(degree, "t").sample(nonlinear(schedule=schedule), x, levels, no_noise), found, rtol=1e-3
    )


def test_on_a_vp_schedule_deis_in_vp_time_is_deis_in_its_own() -> None:
    assert_same(DEIS(3, "vp-t"), DEIS(3, "t"), VP, None, 1e-8)


def test_only_up_to_two_values_are_the_published_weights_for_uneven_steps_right() -> None:
    """Right weights integrate every polynomial through the values: `deis[variable=rho]`."""
    schedule = VE()
    s, *nodes = [schedule.level(t) for t in (0.2, 0.5, 0.6, 0.9, 1.0)]
    for values in (1, 2, 3, 4):
        exact = ratio_weights(nodes[0], s, *nodes[:values])
        found = published_uneven_weights([s.ratio, *(level.ratio for level in nodes[:values])])
        length = s.ratio - nodes[0].ratio
        assert np.allclose(np.array(found) * length, exact) == (values < 3)
        assert (sum(found) == pytest.approx(1)) == (values < 4)
