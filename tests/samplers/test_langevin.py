"""Langevin dynamics: its steps by hand, and what they leave as they are on an exact Gaussian."""

import math
from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
import torch
from nonlinear import VP, NoiseOf, counted_nonlinear, nonlinear, predicted, start
from torch import Tensor

from models.denoiser import Denoiser
from models.grids import LogSNR
from models.schedule import VE, ContinuousVP, DiscreteVP, Level, Schedule
from samplers.langevin import Langevin

StepSize = Literal["level", "norms"]


@pytest.mark.parametrize("schedule", [VP, VE(), DiscreteVP.linear()])
@pytest.mark.parametrize("corrections", [1, 3])
@pytest.mark.parametrize("step_size", ["level", "norms"])
def test_langevin_steps_have_the_step_size_of_each_image_alone(
    schedule: Schedule, corrections: int, step_size: StepSize, noise: NoiseOf
) -> None:
    """x + h score + sqrt(2 h) z with h = 2 a (r sigma)^2 or 2 a (r |z| / |score|)^2; a = alpha_t^2 / alpha_s^2."""
    levels = [schedule.level(t) for t in (0.5, 0.3, 0.0)]
    scales = torch.tensor([0.1, 1.0, 10.0, 100.0], dtype=torch.float64)[:, None, None, None]
    x = start() * scales
    state, draws = x.numpy(), noise(3)
    for t, s in pairwise(levels):
        for _ in range(corrections):
            score = (t.alpha * predicted(state, t) - state) / t.sigma**2
            z = draws(x).numpy()
            for image in range(4):
                norms = np.linalg.norm(z[image]) / np.linalg.norm(score[image])
                h = 2.0 * (t.alpha / s.alpha) ** 2 * (0.2 * (t.sigma if step_size == "level" else norms)) ** 2
                score[image] *= h
                z[image] *= math.sqrt(2.0 * h)
            state = state + score + z
    model, evaluated = counted_nonlinear()
    sampler = Langevin(0.2, corrections, step_size)
    found = sampler.sample(model, x, levels, noise(3))
    np.testing.assert_allclose(found, predicted(state, levels[1]), rtol=1e-9, atol=1e-11)
    assert evaluated() / 4 == sampler.nfe(levels) == 2 * corrections + 1


def test_langevin_without_the_clean_level_returns_the_noisy_state(noise: NoiseOf) -> None:
    levels = [VE().level(t) for t in (0.5, 0.3, 0.1)]
    (model, evaluated), sampler = counted_nonlinear(), Langevin(corrections=3)
    noisy = sampler.sample(model, start(), levels, noise(3))
    assert evaluated() / 4 == sampler.nfe(levels) == 9  # the last noisy level is corrected at as well
    denoised = sampler.sample(nonlinear(), start(), [*levels, VE().level(0.0)], noise(3))
    np.testing.assert_allclose(predicted(noisy, levels[2]), denoised, rtol=1e-12)


def axis_aligned(size: int) -> tuple[Denoiser, Tensor]:
    """A Gaussian around zero in `size` dimensions with variances from 0.2 to 1, and those variances."""
    variances = torch.linspace(0.2, 1.0, size, dtype=torch.float64).reshape(1, 1, size)

    def posterior_mean(x: Tensor, at: Level) -> Tensor:
        return x * (at.alpha * variances / (at.alpha**2 * variances + at.sigma**2))

    return Denoiser(posterior_mean, "sample", ContinuousVP()), variances


def along_two_levels(size: int, sampler: Langevin, noise: NoiseOf) -> tuple[float, float]:
    """Mean of x^2 / V after Langevin steps at two close levels that started at x^2 = 4 V: found, and by the recursion.

    V_i are a level's variances. A step takes the variances X_i of the state to (1 - h / V_i)^2 X_i + 2 h. By norms,
    h is 2 a r^2 d / sum(X_i / V_i^2) in the mean over many dimensions. The fixed point is above V by about h / (2 V).
    """
    model, variances = axis_aligned(size)
    t, s = VP.level(0.3), VP.level(0.28)
    expected = 4.0 * (t.alpha**2 * variances + t.sigma**2)
    start_at = expected.sqrt()
    for level, a in ((t, (t.alpha / s.alpha) ** 2), (s, 1.0)):
        marginal = level.alpha**2 * variances + level.sigma**2
        for _ in range(sampler.corrections):
            by_norms = size / float((expected / marginal**2).sum())
            h = 2.0 * a * sampler.snr**2 * (level.sigma**2 if sampler.step_size == "level" else by_norms)
            expected = (1.0 - h / marginal) ** 2 * expected + 2.0 * h
    x = start_at * noise(4)(torch.zeros(64_000 // size, 1, 1, size, dtype=torch.float64))
    found = sampler.sample(model, x, [t, s], noise(5))
    return float((found**2 / marginal).mean()), float((expected / marginal).mean())


@pytest.mark.parametrize("step_size", ["level", "norms"])
@pytest.mark.parametrize(("snr", "corrections"), [(0.1, 1), (0.1, 20), (0.1, 60), (0.3, 5)])
def test_langevin_variance_approaches_its_fixed_point_along_its_recursion(
    snr: float, corrections: int, step_size: StepSize, noise: NoiseOf
) -> None:
    found, by_recursion = along_two_levels(256, Langevin(snr, corrections, step_size), noise)
    assert found == pytest.approx(by_recursion, rel=0.02)


def limit(size: int, step_size: StepSize) -> float:
    """Mean of x^2 / V that Langevin steps on a Gaussian end at as snr falls to 0.

    A step size of c |z|^2 / |score(x)|^2 makes the noise stronger by E |z|^2 z_i^2 / d = (d + 2) / d than that of the
    step's drift, and the stationary law |score|^2 p^(d / (d + 2)) instead of p. Either widens by (d + 2) / d.
    """
    return 1.0 if step_size == "level" else (1.0 + 2.0 / size) ** 2


@pytest.mark.parametrize("step_size", ["level", "norms"])
@pytest.mark.parametrize("size", [64, 256])
def test_langevin_bias_falls_with_snr_to_what_the_step_size_leaves(
    size: int, step_size: StepSize, noise: NoiseOf
) -> None:
    cases = ((0.6, 20), (0.4, 40), (0.2, 100), (0.1, 400))  # as the steps get smaller, more of them
    pairs = [along_two_levels(size, Langevin(snr, corrections, step_size), noise) for snr, corrections in cases]
    assert all(later < earlier for (earlier, _), (later, _) in pairwise(pairs))
    for found, by_recursion in pairs[1:]:
        assert found == pytest.approx(by_recursion * limit(size, step_size), rel=0.03)
    assert pairs[-1][0] == pytest.approx(limit(size, step_size), rel=0.03)


def test_annealed_langevin_approaches_a_gaussian_as_levels_grow(noise: NoiseOf) -> None:
    model, variances = axis_aligned(64)
    x = noise(6)(torch.zeros(400, 1, 1, 64, dtype=torch.float64))
    biases = []
    for levels in (10, 40, 160, 640):
        found = Langevin(snr=0.16, corrections=4).sample(model, x, LogSNR()(VP, levels), noise(7))
        biases.append(float((found**2 / variances).mean()) - 1.0)
    assert biases[0] > biases[1] > biases[2] > biases[3]
    assert abs(biases[3]) < 0.05, biases
