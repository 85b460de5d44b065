"""The adaptive solver, generators, and what all samplers share: how often they evaluate the network."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from nonlinear import (
    SHAPE,
    VP,
    Array,
    NoiseOf,
    constant_noise,
    counted_nonlinear,
    each_schedule,
    no_noise,
    nonlinear,
    of_every_length,
    predicted,
    predicted_eps,
    start,
)
from scipy.integrate import solve_ivp
from torch import Tensor

from bench.fitting.model import fitted_to
from models.denoiser import Denoiser
from models.grids import Leading
from models.schedule import VE, ContinuousVP, Level, Schedule
from samplers import SAMPLERS
from samplers.consistency import Consistency
from samplers.one_step import OneStep
from samplers.rk45 import RK45

# the adaptive solver


def solved(x: Array, t: Level, s: Level, schedule: Schedule, tolerance: float) -> Array:
    """scipy's RK45 on d(x / alpha) / d lambda = -sigma / alpha eps, an image at a time."""

    def slope(logsnr: float, y: Array) -> Array:
        at = schedule.level(min(schedule.t_at(logsnr), 1.0))
        return -at.sigma / at.alpha * predicted_eps(at.alpha * y, at)

    ends = [
        solve_ivp(slope, (t.logsnr, s.logsnr), image.ravel() / t.alpha, rtol=tolerance, atol=tolerance).y[:, -1]
        for image in x
    ]
    return np.stack(ends).reshape(x.shape) * s.alpha


@each_schedule
def test_rk45_is_scipys_solver_on_the_probability_flow_of_each_image(schedule: Schedule) -> None:
    for levels in of_every_length(schedule)[2:6]:
        x = start() * max(levels[0].sigma, 1.0)
        noisy = [level for level in levels if not level.is_clean]
        expected = solved(x.numpy(), levels[0], noisy[-1], schedule, 1e-3)
        if levels[-1].is_clean:
            expected = predicted(expected, noisy[-1])
        found = RK45(1e-3, 1e-3).sample(nonlinear(schedule=schedule), x, levels, no_noise)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)


def test_the_error_of_rk45_falls_with_its_tolerance() -> None:
    levels, x = Leading(clean=False)(VP, 3), start()
    exact = solved(x.numpy(), levels[0], levels[-1], VP, 1e-12)
    errors, evaluations = [], []
    for tolerance in (1e-2, 1e-4, 1e-6, 1e-8):
        model, evaluated = counted_nonlinear()
        found = RK45(tolerance, tolerance).sample(model, x, levels, no_noise)
        errors.append(float(np.abs(found.numpy() - exact).max()))
        evaluations.append(evaluated())
        assert errors[-1] < 20 * tolerance
    assert all(finer < coarser / 10 for coarser, finer in pairwise(errors))
    assert all(more > fewer for fewer, more in pairwise(evaluations))


def test_rk45_starts_at_the_noisiest_level_of_every_schedule() -> None:
    """Where time, computed back from log-SNR, comes out as a hair above 1."""
    schedules = [VE(sigma_max=sigma) for sigma in range(50, 100)] + [ContinuousVP(0.1, beta) for beta in range(5, 30)]
    above = [each for each in schedules if each.t_at(each.level(1.0).logsnr) > 1.0]
    assert above
    for schedule in above:
        levels = [schedule.level(t) for t in (1.0, 0.5)]
        found = RK45().sample(nonlinear(schedule=schedule), levels[0].sigma * start(1), levels, no_noise)
        assert bool(found.isfinite().all())


# generators


def generator(x: Tensor, at: Level) -> Tensor:
    """A consistency function: the exact end of the probability flow of Gaussian data, mean 0.3 and deviation 0.5."""
    return 0.3 + 0.5 * (x - 0.3 * at.alpha) / math.hypot(0.5 * at.alpha, at.sigma)


@each_schedule
def test_multistep_consistency_goes_to_x_0_and_back_to_the_next_level(schedule: Schedule, noise: NoiseOf) -> None:
    """arXiv 2303.01469, algorithm 1: what it ends with depends on the last draw alone when the generator is exact."""
    for levels in of_every_length(schedule):
        x, draws = start() * max(levels[0].sigma, 1.0), noise(1)
        expected = x
        for t, s in pairwise(levels):
            x0 = generator(expected, t)
            expected = x0 if s.is_clean else s.alpha * x0 + s.sigma * draws(x)
        found = Consistency().sample(Denoiser(generator, "sample", schedule), x, levels, noise(1))
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("sampler", [Consistency(), OneStep()])
def test_an_exact_generator_is_sampled_exactly(sampler: Consistency | OneStep, noise: NoiseOf) -> None:
    levels = Leading()(VP, 4)
    draws, like = noise(3), torch.zeros(64, 1, 40, 40, dtype=torch.float64)
    x = 0.3 * levels[0].alpha + math.hypot(0.5 * levels[0].alpha, levels[0].sigma) * draws(like)
    found = sampler.sample(Denoiser(generator, "sample", VP), x, levels, draws)
    assert float(found.mean()) == pytest.approx(0.3, abs=0.006)
    assert float(found.std()) == pytest.approx(0.5, rel=0.01)


def test_one_step_is_the_x_0_of_the_first_level_and_nothing_more() -> None:
    for levels in of_every_length(VP):
        model, evaluated = counted_nonlinear()
        found = OneStep().sample(model, start(), levels, no_noise)
        np.testing.assert_allclose(found, predicted(start(), levels[0]), rtol=1e-14)
        assert evaluated() == len(start())


# evaluations

COUNTS: dict[str, Callable[[int, bool], int]] = {
    "afs": lambda n, clean: max(n - 1, 1),
    "afs[sampler=heun]": lambda n, clean: max(2 * n - clean - 1, 1),
    "consistency": lambda n, clean: n,
    "ddim": lambda n, clean: n,
    "ddim[eta=1.0]": lambda n, clean: n,
    "ddpm": lambda n, clean: n,
    "deis": lambda n, clean: n,
    "dpm++2m": lambda n, clean: n,
    "dpm++2m-sde": lambda n, clean: n,
    "dpm++2s-ancestral": lambda n, clean: 2 * n - clean,
    "dpm++2s-ancestral[eta=0]": lambda n, clean: 2 * n - clean,
    # every step is x_0 and fresh noise
    "dpm++2s-ancestral[eta=100]": lambda n, clean: n,
    "dpm++3m-sde": lambda n, clean: n,
    "dpm++sde": lambda n, clean: 2 * n - clean,
    "dpm-2-ancestral": lambda n, clean: 2 * n - clean,
    "dpm++2s": lambda n, clean: n,
    "dpm++3m": lambda n, clean: n,
    "dpm++3s": lambda n, clean: n,
    "dpm-solver-2": lambda n, clean: n,
    "dpm-solver-3": lambda n, clean: n,
    "dpm-solver-v3": lambda n, clean: n,
    "dpm-solver-multistep": lambda n, clean: n,
    "edm": lambda n, clean: 2 * n - clean,
    "er-sde": lambda n, clean: n,
    "euler-maruyama": lambda n, clean: n,
    "gradient-estimation": lambda n, clean: n,
    "heun": lambda n, clean: 2 * n - clean,
    "ipndm": lambda n, clean: n,
    "langevin[corrections=3]": lambda n, clean: 3 * n + 1 if clean else 3 * (n + 1),
    "one-step": lambda n, clean: 1,
    "pf-euler": lambda n, clean: n,
    "pndm": lambda n, clean: n + 3 * min(3, n - clean),
    "pndm[variant=S]": lambda n, clean: n + min(1, n - clean),
    "predictor-corrector[corrections=2]": lambda n, clean: 3 * n,
    "rk": lambda n, clean: 4 * n - 3 * clean,
    "rk[tableau=etd2rk]": lambda n, clean: 2 * n - clean,
    # every step but one to the data reaches a level at which to restart
    "restart[sigma_max=100,restart_steps=3,iterations=2]": lambda n, clean: 2 * n - clean + (12 if n > clean else 0),
    # of two that meet the later counts
    "restart[intervals=[[3,2,0.06,100],[2,5,0.06,100]]]": lambda n, clean: 2 * n - clean + (20 if n > clean else 0),
    "reverse-diffusion": lambda n, clean: n,
    "sa-solver": lambda n, clean: n,
    "sa-solver[evaluate_end=true]": lambda n, clean: n + (n > clean),
    "sa-solver[corrector_order=0,evaluate_end=true]": lambda n, clean: n,
    "sa-solver[mode=few_steps]": lambda n, clean: n,
    "sa-solver[mode=more_steps]": lambda n, clean: n + (n > clean),
    "sa-solver[mode=more_steps,corrector_order=0]": lambda n, clean: n,
    "sa-solver[pc_mode=PECE]": lambda n, clean: 2 * n - 1,
    "sa-solver[mode=few_steps,pc_mode=PECE]": lambda n, clean: 2 * n - 1,
    "sa-solver[mode=more_steps,pc_mode=PECE]": lambda n, clean: 2 * n - 1 if clean else 2 * n,
    "seeds-2": lambda n, clean: 2 * n - clean,
    "seeds-3": lambda n, clean: 3 * n - 2 * clean,
    "stork": lambda n, clean: n + (n > clean),
    "unipc": lambda n, clean: n,
}


def test_the_evaluations_of_every_registered_sampler_are_counted_here() -> None:
    assert {spec.split("[")[0] for spec in COUNTS} == {*SAMPLERS.names()} - {"rk45", "dpm-adaptive"}


@pytest.mark.parametrize("spec", COUNTS)
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 12])
def test_evaluations_are_those_of_the_paper(spec: str, steps: int) -> None:
    sampler = SAMPLERS.make(spec)
    fitted = fitted_to(sampler, lambda numbers: nonlinear(), SHAPE)
    for clean in (True, False):
        levels, (model, evaluated) = Leading(clean=clean)(VP, steps), counted_nonlinear(fitted=fitted)
        sampler.sample(model, start(), levels, constant_noise(0.5))
        assert evaluated() / len(start()) == sampler.nfe(levels) == COUNTS[spec](steps, clean)
