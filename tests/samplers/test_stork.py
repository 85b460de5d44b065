"""STORK against its recursions, written out in numpy."""

import math
from collections.abc import Callable, Sequence
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
    no_noise,
    nonlinear,
    predicted,
    predicted_eps,
    start,
)
from scipy.integrate import quad

from models.common.errors import UsageError
from models.schedule import VE, Flow, Level, Schedule
from samplers import SAMPLERS
from samplers.stork import STORK


def b_of(j: int) -> float:
    return {0: 1.0, 1: 1 / 3}.get(j) or 4 * (j - 1) * (j + 4) / (3 * j * (j + 1) * (j + 2) * (j + 3))


def rkg2(y: Array, slope: Callable[[float, Array], Array], substeps: int, published: bool) -> Array:
    """The recursion on images, over a step of length 1; where its substeps lie from the derivative of its polynomials.

    R_j(z) = a_j + b_j C_j(1 + w z) with Gegenbauer's C_j of index 3/2 lies at c_j = b_j w C_j'(1).
    """
    s = substeps
    w = 6 / ((s + 4) * (s - 1))

    def place(j: int) -> float:
        if published:
            return 4 / (3 * (s**2 + s - 2)) if j == 1 else (j**2 + j - 2) / (s**2 + s - 2)
        return b_of(j) * w * 3 * math.comb(j + 3, 4)

    k0 = slope(0.0, y)
    states = [y, y + w * k0]
    for j in range(2, s + 1):
        mu, nu = (2 * j + 1) / j * b_of(j) / b_of(j - 1), -(j + 1) / j * b_of(j) / b_of(j - 2)
        a_before = 1 - j * (j + 1) / 2 * b_of(j - 1)
        new = mu * states[-1] + nu * states[-2] + (1 - mu - nu) * y
        new = new + mu * w * slope(place(j - 1), states[-1]) - a_before * mu * w * k0
        states = [states[-1], new]
    return states[-1]


def continued(past: list[tuple[float, Array]], h: float, c: float) -> Array:
    """The polynomial through the values, c of a step h after the latest."""
    nodes = [at for at, _ in past]
    return np.asarray(sum(lagrange(j, nodes, nodes[0] + c * h) * each for j, (_, each) in enumerate(past)))


def parabola(past: list[tuple[float, Array]], h: float, c: float) -> Array:
    """The code's Taylor polynomial, by its derivatives."""
    (t0, v0), (t1, v1), (t2, v2) = past
    h1, h2 = t1 - t0, t2 - t1
    d1 = (-v2 + 4 * v1 - 3 * v0) / (2 * h1)
    d2 = 2 / (h1 * h2 * (h1 + h2)) * (v2 * h1 - v1 * (h1 + h2) + v0 * h2)
    return np.asarray(v0 + c * h * d1 + 0.5 * (c * h) ** 2 * d2)


def stork(
    flow: bool, degree: int, substeps: int, published: bool, schedule: Schedule, x: Array, levels: Sequence[Level]
) -> Array:
    def time(at: Level) -> float:
        return at.sigma / (at.alpha + at.sigma) if flow else at.t

    def value(x: Array, at: Level) -> Array:
        return predicted_eps(x, at) - predicted(x, at) if flow else predicted_eps(x, at)

    def slope_of(y: Array, at: Level, said: Array) -> Array:
        return said if flow else at.drift * y + 0.5 * at.diffusion2 / at.sigma * said

    past: list[tuple[float, Array]] = []
    for i, (t, s) in enumerate(pairwise(levels)):
        now = value(x, t)
        past = [(time(t), now), *past[:degree]]
        if s.is_clean and (i == 0 or not flow):
            return predicted(x, t)
        h = time(s) - time(t)
        scale = (t.alpha + t.sigma) if flow else 1.0
        y = x / scale
        if i == 0:
            middle = (
                schedule.at_ratio((time(t) + h / 2) / (1 - time(t) - h / 2)) if flow else schedule.level(t.t + h / 2)
            )
            k0 = slope_of(y, t, now)
            half = y + h / 2 * k0
            k1 = slope_of(half, middle, value(half * ((middle.alpha + middle.sigma) if flow else 1.0), middle))
            y = half + h / 2 * (1.5 * k1 - 0.5 * k0)
        else:
            said = partial(parabola if published and len(past) == 3 else continued, past, h)

            def slope(c: float, y: Array, t: Level = t, h: float = h, said: Callable[[float], Array] = said) -> Array:
                return h * slope_of(y, t if flow else schedule.level(t.t + c * h), said(c))

            y = rkg2(y, slope, substeps, published and len(past) == 3)
        x = y * ((s.alpha + s.sigma) if flow else 1.0)
    return x


@each_schedule
@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("prediction", ["flow", "noise"])
def test_stork_2_is_its_recursion_with_continued_predictions(
    prediction: Literal["flow", "noise"], degree: Literal[1, 2, 3], schedule: Schedule
) -> None:
    for substeps in (2, 3, 20):
        by_hand = partial(stork, prediction == "flow", degree, substeps, False, schedule)
        if prediction == "flow" or schedule.train_steps is None:  # the kinks of a discrete schedule: by round-off
            sampler = STORK(2, prediction, degree, substeps)
            tolerance = 1e-8 if isinstance(schedule, VE) else 1e-9  # sigma = 72 and 50 are 0.986 and 0.980 in flow time
            assert_as_by_hand(sampler, lambda x, levels, _, by=by_hand: by(x, levels), schedule, None, tolerance)  # type: ignore[misc]


@each_schedule
def test_published_stork_2_has_its_codes_places_and_derivatives(schedule: Schedule) -> None:
    by_hand = partial(stork, True, 2, 50, True, schedule)
    sampler = SAMPLERS.make("stork[published=true]")
    assert_as_by_hand(sampler, lambda x, levels, _: by_hand(x, levels), schedule, None, 1e-9)


def test_stork_4_for_flows_is_adams_bashforth_in_their_time() -> None:
    """On a flow's own schedule, after the start: the integral of the polynomial through the last velocities."""
    schedule = Flow()
    levels = [schedule.level(t) for t in (1.0, 0.7, 0.55, 0.2, 0.0)]
    for degree in (1, 2, 3):
        x = start()
        sampler = SAMPLERS.make(f"stork[solver_order=4,degree={degree}]")
        found = sampler.sample(nonlinear(schedule=schedule), x, levels, no_noise)
        y, past = x.numpy(), list[tuple[float, Array]]()
        for i, (t, s) in enumerate(pairwise(levels)):
            v, h = predicted_eps(y, t) - predicted(y, t), s.t - t.t
            past = [(t.t, v), *past[:degree]]
            if i == 0:
                middle = schedule.level(t.t + h / 2)
                half = y + h / 2 * v
                y = half + h / 2 * (1.5 * (predicted_eps(half, middle) - predicted(half, middle)) - 0.5 * v)
                continue
            nodes = [at for at, _ in past]
            for j, (_, each) in enumerate(past):
                y = y + quad(lambda u, j=j, at=nodes: lagrange(j, at, u), t.t, s.t)[0] * each
        np.testing.assert_allclose(found, y, rtol=1e-9, atol=1e-9)


def test_stork_refuses_what_it_is_not() -> None:
    for wrong in ("solver_order=4,prediction=noise", "published=true,degree=3", "published=true,prediction=noise"):
        with pytest.raises(UsageError, match=r"STORK-4 for the noise|published is of"):
            SAMPLERS.make(f"stork[{wrong}]")
