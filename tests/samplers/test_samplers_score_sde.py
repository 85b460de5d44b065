"""Score SDE's samplers, EDM and Restart against their papers' formulas, written out by hand in numpy."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
from nonlinear import (
    Array,
    NoiseOf,
    assert_as_by_hand,
    assert_same,
    each_schedule,
    predicted,
    predicted_score,
    rho,
)

from models.grids import Karras
from models.schedule import VE, Level, Schedule
from samplers import SAMPLERS
from samplers.edm import EDM
from samplers.heun import Heun
from samplers.predictor_corrector import PredictorCorrector
from samplers.restart import Restart
from samplers.reverse_diffusion import ReverseDiffusion

Draw = Callable[[], Array]

# Score SDE


def step_of_chain(t: Level, s: Level) -> tuple[float, float]:
    """x_t = sqrt(1 - beta) x_s + ..., with the chain's variance; for VE sqrt(1 - beta) is 1."""
    ratio = t.alpha / s.alpha
    return ratio, t.sigma**2 - (ratio * s.sigma) ** 2


def reverse_diffusion(x: Array, t: Level, s: Level, draw: Draw) -> Array:
    """x_i = x_{i+1} - f + G^2 score + G z with f = (sqrt(1 - beta) - 1) x (arXiv 2011.13456, eq. 46)."""
    root, g2 = step_of_chain(t, s)
    mean = x - (root - 1) * x + g2 * predicted_score(x, t)
    return mean if s.is_clean else mean + math.sqrt(g2) * draw()


def ancestral(large: bool) -> Callable[[Array, Level, Level, Draw], Array]:
    """Score SDE's: (x + beta score) / sqrt(1 - beta) + sqrt(beta) z for VP (eq. 4); for VE (eq. 47)
    x + (sigma_t^2 - sigma_s^2) score + sqrt(sigma_s^2 (sigma_t^2 - sigma_s^2) / sigma_t^2) z."""

    def step(x: Array, t: Level, s: Level, draw: Draw) -> Array:
        root, g2 = step_of_chain(t, s)
        mean = (x + g2 * predicted_score(x, t)) / root
        if s.is_clean:
            return mean
        return mean + math.sqrt(g2 if large else s.sigma**2 * g2 / t.sigma**2) * draw()

    return step


def euler_maruyama(x: Array, t: Level, s: Level, draw: Draw) -> Array:
    dt = t.t - s.t
    mean = x - (t.drift * x - t.diffusion2 * predicted_score(x, t)) * dt
    return mean if s.is_clean else mean + math.sqrt(t.diffusion2 * dt) * draw()


@each_schedule
def test_reverse_diffusion_is_equation_46_of_score_sde(schedule: Schedule, noise: NoiseOf) -> None:
    def by_hand(x: Array, levels: Sequence[Level], draw: Draw) -> Array:
        for t, s in pairwise(levels):
            x = reverse_diffusion(x, t, s, draw)
        return x

    assert_as_by_hand(ReverseDiffusion(), by_hand, schedule, noise)


def probability_flow(x: Array, t: Level, s: Level, draw: Draw) -> Array:
    """Euler's step on eq. 13, which draws nothing."""
    return np.asarray(x - (t.drift * x - t.diffusion2 * predicted_score(x, t) / 2) * (t.t - s.t))


Predictor = Literal["ancestral", "ancestral-large", "reverse-diffusion", "euler-maruyama", "probability-flow"]
PREDICTORS: dict[Predictor, Callable[[Array, Level, Level, Draw], Array]] = {
    "ancestral": ancestral(large=False),
    "ancestral-large": ancestral(large=True),
    "reverse-diffusion": reverse_diffusion,
    "euler-maruyama": euler_maruyama,
    "probability-flow": probability_flow,
}


@each_schedule
@pytest.mark.parametrize("predictor", PREDICTORS)
@pytest.mark.parametrize("corrections", [1, 2])
def test_predictor_corrector_corrects_at_a_level_before_it_predicts_the_next(
    schedule: Schedule, predictor: Predictor, corrections: int, noise: NoiseOf
) -> None:
    """The corrector of algorithms 4 and 5, with each image's own norms or with those of the marginal."""
    snr = 0.13
    for by_norms in (False, True):

        def by_hand(x: Array, levels: Sequence[Level], draw: Draw, by_norms: bool = by_norms) -> Array:
            for t, s in pairwise(levels):
                a = step_of_chain(t, s)[0] ** 2
                for _ in range(corrections):
                    score, z = predicted_score(x, t), draw()
                    norms = [np.sqrt((each**2).sum((1, 2, 3), keepdims=True)) for each in (z, score)]
                    h = 2 * a * (snr * (norms[0] / norms[1] if by_norms else t.sigma)) ** 2
                    x = x + h * score + np.sqrt(2 * h) * z
                x = PREDICTORS[predictor](x, t, s, draw)
            return x

        sampler = PredictorCorrector(predictor, snr, corrections, "norms" if by_norms else "level")
        assert_as_by_hand(sampler, by_hand, schedule, noise)


# EDM and Restart


def heun(y: Array, t: float, s: float, schedule: Schedule) -> Array:
    """A step of EDM's algorithm 1 for y = x / alpha between two noise levels sigma / alpha."""

    def d_at(y: Array, sigma: float) -> Array:
        at = schedule.level(schedule.t_at(-math.log(sigma)))
        return np.asarray((y - predicted(at.alpha * y, at)) / sigma)

    d = d_at(y, t)
    euler = y + (s - t) * d
    return euler if s == 0 else y + (s - t) * (d + d_at(euler, s)) / 2


@each_schedule
def test_edm_is_algorithm_2_of_its_paper(schedule: Schedule, noise: NoiseOf) -> None:
    for churn, low, high, s_noise in ((1.5, 0.1, 5.0, 1.02), (100.0, 0.0, math.inf, 0.9)):

        def by_hand(
            x: Array, levels: Sequence[Level], draw: Draw, c: float = churn, lo: float = low, hi: float = high,
            scale: float = s_noise,
        ) -> Array:  # fmt: skip
            y = x / levels[0].alpha
            for t, s in pairwise(rho(at) for at in levels):
                gamma = min(c / (len(levels) - 1), math.sqrt(2) - 1) if lo <= t <= hi else 0.0
                hat = min(t + gamma * t, rho(schedule.level(1.0)) if schedule.level(1.0).alpha > 0.0 else math.inf)
                if gamma > 0:
                    y = y + math.sqrt(hat**2 - t**2) * scale * draw()
                y = heun(y, hat, s, schedule)
            return levels[-1].alpha * y

        assert_as_by_hand(EDM(churn, low, high, s_noise), by_hand, schedule, noise, 1e-9)


@each_schedule
def test_edm_without_churn_is_heun_and_draws_nothing(schedule: Schedule) -> None:
    assert_same(EDM(s_churn=0.0, s_min=0.0, s_max=1e9), Heun(), schedule, None, 1e-13)


@each_schedule
@pytest.mark.parametrize(("iterations", "steps"), [(1, 4), (3, 1), (2, 2)])
def test_restart_goes_up_and_down_again_at_the_level_nearest_to_sigma_min(
    schedule: Schedule, iterations: int, steps: int, noise: NoiseOf
) -> None:
    low, high = (4.0, 11.0) if isinstance(schedule, VE) else (0.3, 1.1)

    def by_hand(x: Array, levels: Sequence[Level], draw: Draw) -> Array:
        sigmas = [rho(at) for at in levels]
        reached = [sigma for sigma in sigmas[1:] if sigma > 0]
        nearest = min(reached, key=lambda sigma: abs(sigma - low)) if reached else math.inf
        y = x / levels[0].alpha
        for t, s in pairwise(sigmas):
            y = heun(y, t, s, schedule)
            for _ in range(iterations if s == nearest < high else 0):
                ramp = np.linspace(0, 1, steps + 1)
                down = (high ** (1 / 7) + ramp * (s ** (1 / 7) - high ** (1 / 7))) ** 7
                y = y + math.sqrt(high**2 - s**2) * 1.01 * draw()
                for upper, lower in pairwise(down):
                    y = heun(y, upper, lower, schedule)
        return levels[-1].alpha * y

    assert_as_by_hand(Restart(low, high, iterations, steps, 1.01), by_hand, schedule, noise, 1e-9)


@each_schedule
@pytest.mark.parametrize(
    "intervals",
    [
        ((2, 2, 0.8, 1.6), (1, 3, 0.1, 0.6)),
        ((1, 3, 0.1, 0.6), (3, 1, 0.8, 1.6)),  # in whatever order
        ((2, 2, 0.1, 0.6), (1, 1, 0.1000001, 0.9)),  # nearest to the same level
        ((2, 1, 0.1, 0.6), (1, 1, 0.2, 1e-3)),  # that is no interval
    ],
)
def test_restart_has_several_intervals_of_which_the_later_counts_where_they_meet(
    schedule: Schedule, intervals: tuple[tuple[int, int, float, float], ...], noise: NoiseOf
) -> None:
    if isinstance(schedule, VE):
        intervals = tuple((steps, times, 10 * low, 10 * high) for steps, times, low, high in intervals)

    def by_hand(x: Array, levels: Sequence[Level], draw: Draw) -> Array:
        sigmas = np.array([rho(at) for at in levels])
        noisy = sigmas[1:][sigmas[1:] > 0]
        at = {1 + int(np.argmin(abs(noisy - each[2]))): each for each in intervals if len(noisy)}
        at = {i: each for i, each in at.items() if sigmas[i] < each[3]}
        y = x / levels[0].alpha
        for i, (t, s) in enumerate(pairwise(sigmas), start=1):
            y = heun(y, t, s, schedule)
            steps, times, _, high = at.get(i, (0, 0, 0, 0))
            for _ in range(times):
                ramp = np.linspace(high ** (1 / 7), s ** (1 / 7), steps + 1) ** 7
                y = y + math.sqrt(high**2 - s**2) * draw()
                for upper, lower in pairwise(ramp):
                    y = heun(y, upper, lower, schedule)
        return levels[-1].alpha * y

    assert_as_by_hand(Restart(intervals=intervals), by_hand, schedule, noise, 1e-9)


def test_the_evaluations_of_the_published_restarts_are_those_of_the_paper() -> None:
    """Tables 3 and 5: on EDM's grid, Heun's method in 18 to 36 steps and the restarts."""
    imagenet = "[3,1,19.35,40.79],[3,1,1.09,1.92],[3,5,0.59,1.09],[3,5,0.3,0.59],[5,6,0.06,0.3]"
    for spec, steps, evaluations in (
        ("restart", 18, 43),
        ("restart[iterations=5]", 18, 55),
        ("restart[iterations=10]", 18, 75),
        ("restart[iterations=20]", 18, 115),
        ("restart[sigma_max=0.2,iterations=30,restart_steps=8]", 20, 519),
        (f"restart[intervals=[{imagenet}]]", 36, 203),
    ):
        assert SAMPLERS.make(spec).nfe(Karras()(VE(), steps)) == evaluations


@each_schedule
def test_restart_without_a_level_below_sigma_max_is_heun(schedule: Schedule) -> None:
    assert_same(Restart(sigma_min=1e-5, sigma_max=1e-4), Heun(), schedule, None, 0.0)
