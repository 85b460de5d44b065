"""Samplers against closed forms and against their papers' formulas, worked out here by hand in numpy."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from nonlinear import SHAPE, VP, Array, NoiseOf, constant_noise, no_noise, nonlinear, predicted, start
from torch import Tensor

from models.analytic import Gaussian
from models.denoiser import ClipRange, Denoiser
from models.grids import Karras, Leading, Linspace, Quad
from models.schedule import VE, DiscreteVP, Flow, Level, Schedule
from samplers import SAMPLERS, Noise, Sampler
from samplers.ddim import DDIM
from samplers.ddpm import DDPM
from samplers.dpmpp_2m import DPMpp2M
from samplers.euler_maruyama import EulerMaruyama
from samplers.heun import Heun
from samplers.langevin import Langevin

GRIDS_OF_LEVELS = {
    "ddpm, leading": Leading()(DiscreteVP.linear(), 10),
    "ddpm, quad": Quad()(DiscreteVP.linear(), 7),
    "vp, linspace": Linspace()(VP, 10),
    "ve, karras": Karras()(VE(), 10),
    "flow, leading": Leading()(Flow(), 10),
    "vp, not to the data": Linspace(clean=False)(VP, 10),
}

each_grid = pytest.mark.parametrize("levels", GRIDS_OF_LEVELS.values(), ids=list(GRIDS_OF_LEVELS))


class Counting:
    """Noise that counts its draws."""

    def __init__(self) -> None:
        self.draws = 0

    def __call__(self, like: Tensor) -> Tensor:
        self.draws += 1
        return torch.ones_like(like)


def eps_of(x: Array, x0: Array, at: Level) -> Array:
    return (x - at.alpha * x0) / at.sigma


# DDIM


@each_grid
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_on_a_gaussian_is_a_linear_recursion_along_each_axis_of_its_covariance(
    levels: list[Level], eta: float, noise: NoiseOf
) -> None:
    """With x_0 = m + a v y / (a^2 v + s^2) and eps = s y / (a^2 v + s^2) for y = x - a m and variance v along an axis,
    eq. 12 gives y' = (a' a v + sqrt(s'^2 - c^2) s) / (a^2 v + s^2) y + c z, c from eq. 16.
    """
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    variances, mean = np.array([0.0, 0.01, 0.1, 0.5, 1.0, 4.0]), rng.standard_normal(6)
    law = Gaussian(torch.from_numpy(mean), torch.from_numpy(axes @ np.diag(variances) @ axes.T), SHAPE)
    x, draws = start(), noise(1)
    y = (x.flatten(1).numpy() - levels[0].alpha * mean) @ axes
    for done, (t, s) in enumerate(pairwise(levels), start=2):
        beta = t.sigma**2 - (t.alpha / s.alpha) ** 2 * s.sigma**2
        c = eta * s.sigma / t.sigma * math.sqrt(beta)
        gain = (s.alpha * t.alpha * variances + math.sqrt(max(s.sigma**2 - c**2, 0.0)) * t.sigma) / (
            t.alpha**2 * variances + t.sigma**2
        )
        y = gain * y
        if c > 0.0:
            y = y + c * draws(x).flatten(1).numpy() @ axes
        found = DDIM(eta=eta).sample(Denoiser(law, "sample", VP), x, levels[:done], noise(1))
        scale = s.alpha + s.sigma
        np.testing.assert_allclose(found.flatten(1) / scale, (s.alpha * mean + y @ axes.T) / scale, atol=1e-12)


@each_grid
@pytest.mark.parametrize("clip", [None, (-0.5, 0.5)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-6)])
def test_ddim_with_eta_1_is_ancestral_ddpm_with_the_posterior_variance(
    levels: list[Level], clip: ClipRange | None, dtype: torch.dtype, tolerance: float, noise: NoiseOf
) -> None:
    x = start(dtype=dtype) * max(levels[0].sigma, 1.0)
    ddim = DDIM(eta=1.0).sample(nonlinear(clip), x, levels, noise(2))
    ddpm = DDPM(variance="fixed_small").sample(nonlinear(clip), x, levels, noise(2))
    assert not torch.equal(ddim, DDIM(eta=0.0).sample(nonlinear(clip), x, levels, no_noise))
    torch.testing.assert_close(ddim, ddpm, rtol=tolerance, atol=tolerance)


# DDPM


@pytest.mark.parametrize(("n", "before"), [(999, 899), (300, 123), (1, 0), (0, None)])
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
def test_a_ddpm_step_has_the_mean_and_variance_of_equation_7_with_respaced_betas(
    n: int, before: int | None, variance: str
) -> None:
    abar = np.cumprod(1.0 - np.linspace(1e-4, 0.02, 1000))
    abar_t, abar_s = abar[n], 1.0 if before is None else abar[before]
    beta = 1.0 - abar_t / abar_s
    mean_x0 = math.sqrt(abar_s) * beta / (1.0 - abar_t)
    mean_x = math.sqrt(1.0 - beta) * (1.0 - abar_s) / (1.0 - abar_t)
    posterior = (1.0 - abar_s) / (1.0 - abar_t) * beta
    deviation = 0.0 if before is None else math.sqrt(beta if variance == "fixed_large" else posterior)

    schedule = DiscreteVP.linear()
    t, s = schedule.level((n + 1) / 1000), schedule.level(0.0 if before is None else (before + 1) / 1000)
    x = start()
    sampler: Sampler = SAMPLERS.make(f"ddpm[variance={variance}]")
    mean = sampler.sample(nonlinear(), x, [t, s], constant_noise(0.0))
    np.testing.assert_allclose(mean, mean_x0 * predicted(x, t) + mean_x * x.numpy(), rtol=1e-10, atol=1e-12)
    shifted = sampler.sample(nonlinear(), x, [t, s], constant_noise(1.0))
    np.testing.assert_allclose(shifted - mean, deviation, rtol=1e-9, atol=1e-13)


# Euler-Maruyama


def test_an_euler_maruyama_step_is_the_reverse_sde_at_its_start() -> None:
    """dx = (-beta x / 2 - beta score) dt + sqrt(beta) dw backwards, with Score SDE's beta(t) of a VP schedule."""
    t, s = 0.6, 0.45
    beta = 0.1 + t * (20.0 - 0.1)
    alpha = math.exp(-0.25 * t**2 * (20.0 - 0.1) - 0.5 * t * 0.1)
    x = start()
    score = -(x.numpy() - alpha * predicted(x, VP.level(t))) / (1.0 - alpha**2)
    z = 0.7
    by_hand = x.numpy() + (0.5 * beta * x.numpy() + beta * score) * (t - s) + math.sqrt(beta * (t - s)) * z
    found = EulerMaruyama().sample(nonlinear(), x, [VP.level(t), VP.level(s)], constant_noise(z))
    np.testing.assert_allclose(found, by_hand, rtol=1e-12, atol=1e-12)


def test_an_euler_maruyama_step_of_edm_has_no_drift() -> None:
    """dx = -2 sigma score d sigma + sqrt(2 sigma d sigma) z for sigma proportional to time."""
    schedule, x, z = VE(sigma_max=80.0), 3.0 * start(), -0.4
    t, s = schedule.level(3.0 / 80), schedule.level(2.5 / 80)
    score = (predicted(x, t) - x.numpy()) / 3.0**2
    found = EulerMaruyama().sample(nonlinear(), x, [t, s], constant_noise(z))
    by_hand = x.numpy() + 2 * 3.0 * score * 0.5 + math.sqrt(2 * 3.0 * 0.5) * z
    np.testing.assert_allclose(found, by_hand, rtol=1e-12, atol=1e-12)


# Heun


@pytest.mark.parametrize("schedule", [VE(), VP, Flow(), DiscreteVP.cosine()])
def test_heun_steps_are_algorithm_1_of_edm_in_the_scaled_state(schedule: Schedule) -> None:
    levels = [schedule.level(t) for t in (0.8, 0.5, 0.1, 0.0)]
    x = start() * max(levels[0].sigma, 1.0)
    scaled = x.numpy() / levels[0].alpha
    for t, s in pairwise(levels):
        sigma_t, sigma_s = t.sigma / t.alpha, s.sigma / s.alpha
        d = (scaled - predicted(t.alpha * scaled, t)) / sigma_t
        euler = scaled + (sigma_s - sigma_t) * d
        if sigma_s > 0.0:
            d_prime = (euler - predicted(s.alpha * euler, s)) / sigma_s
            euler = scaled + (sigma_s - sigma_t) * (0.5 * d + 0.5 * d_prime)
        scaled = euler
        found = Heun().sample(nonlinear(), x, levels[: levels.index(s) + 1], no_noise)
        np.testing.assert_allclose(found / s.alpha, scaled, rtol=1e-10, atol=1e-11)


# DPM-Solver++(2M)


@pytest.mark.parametrize("schedule", [VP, DiscreteVP.linear(), VE(), Flow()])
def test_dpmpp_2m_steps_are_algorithm_2_of_its_paper(schedule: Schedule) -> None:
    """Steps of very different lengths in lambda, so that r = h_before / h is far from 1."""
    levels, sampler = [schedule.level(t) for t in (0.9, 0.6, 0.5, 0.1)], DPMpp2M(lower_order_below=0)
    lam = [math.log(at.alpha / at.sigma) for at in levels]
    x = start() * max(levels[0].sigma, 1.0)
    outputs = [predicted(x, levels[0])]
    h = lam[1] - lam[0]
    state = levels[1].sigma / levels[0].sigma * x.numpy() - levels[1].alpha * (math.exp(-h) - 1.0) * outputs[0]
    np.testing.assert_allclose(sampler.sample(nonlinear(), x, levels[:2], no_noise), state, rtol=1e-11, atol=1e-12)
    for i in (2, 3):
        outputs.append(predicted(state, levels[i - 1]))
        h_before, h = lam[i - 1] - lam[i - 2], lam[i] - lam[i - 1]
        r = h_before / h
        d = (1.0 + 1.0 / (2.0 * r)) * outputs[-1] - 1.0 / (2.0 * r) * outputs[-2]
        state = levels[i].sigma / levels[i - 1].sigma * state - levels[i].alpha * (math.exp(-h) - 1.0) * d
        found = sampler.sample(nonlinear(), x, levels[: i + 1], no_noise)
        np.testing.assert_allclose(found, state, rtol=1e-10, atol=1e-11)
    ended = sampler.sample(nonlinear(), x, [*levels, schedule.level(0.0)], no_noise)
    np.testing.assert_allclose(ended, predicted(state, levels[-1]), rtol=1e-10, atol=1e-11)


# what all of them share


@pytest.mark.parametrize("sampler", [DDPM(), DDPM("fixed_large"), DDIM(eta=1.0), DDIM(eta=0.3), EulerMaruyama()])
def test_the_last_step_to_the_data_draws_no_noise(sampler: Sampler) -> None:
    for levels, steps_with_noise in ((Leading()(VP, 6), 5), (Leading(clean=False)(VP, 6), 6)):
        noise = Counting()
        sampler.sample(nonlinear(), start(), levels, noise)
        assert noise.draws == steps_with_noise


@pytest.mark.parametrize("sampler", [DDIM(), Heun(), DPMpp2M()])
def test_deterministic_samplers_draw_no_noise(sampler: Sampler) -> None:
    assert not sampler.stochastic
    found = sampler.sample(nonlinear(), start(), Leading()(VP, 6), no_noise)
    torch.testing.assert_close(found, sampler.sample(nonlinear(), start(), Leading()(VP, 6), no_noise), rtol=0, atol=0)


@pytest.mark.parametrize("sampler", [DDIM(0.5), DDPM(), EulerMaruyama(), Heun(), DPMpp2M(), Langevin()])
def test_an_image_does_not_depend_on_the_images_beside_it(sampler: Sampler, noise: NoiseOf) -> None:
    levels, draws = Leading()(VP, 6), noise(8)
    x = start() * torch.tensor([0.1, 1.0, 10.0, 100.0], dtype=torch.float64)[:, None, None, None]
    all_draws = [draws(x) for _ in range(20)]

    def replay(images: slice) -> Noise:
        rest = iter(all_draws)
        return lambda like: next(rest)[images]

    together = sampler.sample(nonlinear(), x, levels, replay(slice(None)))
    for image in range(4):
        chosen = slice(image, image + 1)
        alone = sampler.sample(nonlinear(), x[chosen], levels, replay(chosen))
        torch.testing.assert_close(alone, together[chosen], rtol=1e-13, atol=1e-13)
