"""Every registered sampler on every kind of network output and of schedule: what a network predicts is no concern of a
sampler's, and no schedule is one that it cannot run on.
"""

import math
from functools import cache

import numpy as np
import pytest
import torch
from nonlinear import SHAPE, VP, NoiseOf, each_schedule, no_noise, start
from torch import Tensor

from bench.fitting.model import fitted_to
from models.analytic import Gaussian, GaussianMixture
from models.denoiser import Denoiser, Parametrisation
from models.grids import LogSNR
from models.networks.network import EDMPreconditioned, Network
from models.schedule import VE, Flow, Level, Schedule
from samplers import SAMPLERS

SIZE = math.prod(SHAPE)
SIGMA_DATA = 0.5

each_sampler = pytest.mark.parametrize("name", SAMPLERS.names())


def covariances(count: int) -> Tensor:
    roots = torch.randn(count, SIZE, SIZE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return roots @ roots.mT / (2 * SIZE) + 0.05 * torch.eye(SIZE, dtype=torch.float64)


@cache
def mixture() -> GaussianMixture:
    means = torch.randn(3, SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return GaussianMixture(torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64), means, covariances(3), SHAPE)


def preconditioned(scaled: Tensor, c_noise: Tensor) -> Tensor:
    """What a network in EDM's preconditioning has to give so that its x_0 is the mixture's, on EDM's own schedule:
    F = (D - c_skip y) / c_out at the y and sigma that c_in y and c_noise stand for (arXiv 2206.00364, table 1)."""
    sigma = float(torch.exp(4.0 * c_noise[0]))
    norm2 = sigma**2 + SIGMA_DATA**2
    y = scaled * math.sqrt(norm2)
    at = Level(sigma / 80.0, 1.0, sigma, 0.0, 0.0)
    return (mixture()(y, at) - SIGMA_DATA**2 / norm2 * y) / (sigma * SIGMA_DATA / math.sqrt(norm2))


def output_of(parametrisation: Parametrisation) -> Network:
    """A network that predicts the mixture's exact x_0 in some other form."""

    def network(x: Tensor, at: Level) -> Tensor:
        x0 = mixture()(x, at)
        eps = (x - at.alpha * x0) / at.sigma
        forms: dict[Parametrisation, Tensor] = {
            "epsilon": eps,
            "sample": x0,
            "v_prediction": at.alpha * eps - at.sigma * x0,
            "score": -eps / at.sigma,
            "flow": eps - x0,
        }
        return forms[parametrisation]

    return network


NETWORKS: dict[str, tuple[Network, Parametrisation]] = {
    "epsilon": (output_of("epsilon"), "epsilon"),
    "v-prediction": (output_of("v_prediction"), "v_prediction"),
    "score": (output_of("score"), "score"),
    "flow matching": (output_of("flow"), "flow"),
    "EDM-preconditioned": (EDMPreconditioned(preconditioned, SIGMA_DATA), "sample"),
}


def runs(name: str, schedule: Schedule, network: Network, meaning: Parametrisation, noise: NoiseOf) -> Tensor:
    sampler = SAMPLERS.make(name)
    fitted = fitted_to(sampler, lambda numbers: Denoiser(network, meaning, schedule), SHAPE)
    results = []
    for grid in (LogSNR(t_start=0.99), LogSNR(clean=False, t_start=0.99)):
        levels = grid(schedule, 7)
        x = start(2) * schedule.prior_std(levels[0])
        found = sampler.sample(
            Denoiser(network, meaning, schedule, fitted=fitted),
            x,
            levels,
            noise(5) if sampler.stochastic else no_noise,
        )
        results.append(found)
    return torch.stack(results)


@each_sampler
@each_schedule
def test_what_the_network_predicts_does_not_change_the_result(name: str, schedule: Schedule, noise: NoiseOf) -> None:
    expected = runs(name, schedule, mixture(), "sample", noise)
    assert bool(expected.isfinite().all())
    for form, (network, meaning) in NETWORKS.items():
        found = runs(name, schedule, network, meaning, noise)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9, err_msg=form)


def follows_the_flow(name: str) -> bool:
    sampler = SAMPLERS.make(name)
    return not sampler.stochastic and sampler.needs == "denoiser"


@pytest.mark.parametrize("name", [name for name in SAMPLERS.names() if follows_the_flow(name)])
@each_schedule
def test_solvers_of_the_probability_flow_end_close_to_its_exact_solution(name: str, schedule: Schedule) -> None:
    """In 60 steps, within 5 % at order 1 and 1 % above, or by error control, k-diffusion's of 5 % a step."""
    sampler = SAMPLERS.make(name)
    law = Gaussian(torch.linspace(-1.0, 1.0, SIZE, dtype=torch.float64), covariances(1)[0], SHAPE)
    levels = LogSNR(clean=False, t_start=0.99)(schedule, 60)
    x = start() * schedule.prior_std(levels[0])
    exact = law.flow(x, levels[0], levels[-1])
    fitted = fitted_to(sampler, lambda numbers: Denoiser(law, "sample", schedule), SHAPE)
    found = sampler.sample(Denoiser(law, "sample", schedule, fitted=fitted), x, levels, no_noise)
    error = float((found - exact).norm() / exact.norm())
    allowed = 0.05 if sampler.order == 1 else 0.01
    assert error < (0.15 if name == "dpm-adaptive" else allowed)


def test_edm_preconditioning_has_the_factors_of_table_1() -> None:
    """D = c_skip y + c_out F(c_in y, c_noise) for y = x / alpha, with what F is given and gives taken down."""
    given: list[Tensor] = []

    def raw(scaled: Tensor, c_noise: Tensor) -> Tensor:
        given.extend((scaled, c_noise))
        return scaled.cos()

    x, sigma_data = start(), 0.7
    for schedule in (VE(), VP, Flow()):
        for t in (0.9, 0.3, 0.002):
            at = schedule.level(t)
            given.clear()
            found = EDMPreconditioned(raw, sigma_data)(x, at)
            y, sigma = x / at.alpha, at.sigma / at.alpha
            c_in = 1.0 / math.sqrt(sigma**2 + sigma_data**2)
            c_skip, c_out = sigma_data**2 * c_in**2, sigma * sigma_data * c_in
            np.testing.assert_allclose(given[0], c_in * y, rtol=1e-13)
            np.testing.assert_allclose(given[1], np.full(4, 0.25 * math.log(sigma)), rtol=1e-13)
            np.testing.assert_allclose(found, c_skip * y + c_out * torch.cos(c_in * y), rtol=1e-12)


def test_a_preconditioned_network_sees_and_gives_variance_one(noise: NoiseOf) -> None:
    """Its input, and the output that makes D = x_0, of data with sigma_data (arXiv 2206.00364, appendix B.6)."""
    draws, like = noise(1), torch.zeros(4, 1, 100, 100, dtype=torch.float64)
    x0, eps = 0.5 * draws(like), draws(like)
    for t in (0.9, 0.1, 0.01):
        at = VE().level(t)
        x = at.alpha * x0 + at.sigma * eps
        zero = EDMPreconditioned(lambda scaled, _: torch.zeros_like(scaled))(x, at)
        one = EDMPreconditioned(lambda scaled, _: torch.ones_like(scaled))(x, at)
        itself = EDMPreconditioned(lambda scaled, _: scaled)(x, at)
        given, target = ((each - zero) / (one - zero) for each in (itself, x0))
        assert float(given.std()) == pytest.approx(1.0, abs=0.02)
        assert float(target.std()) == pytest.approx(1.0, abs=0.02)
