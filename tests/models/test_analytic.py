"""Exact denoisers against autograd, numerical integration, direct sums, samples and an ODE solver."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from models import analytic
from models.analytic import FiniteData, Gaussian, GaussianMixture, Law
from models.schedule import VE, ContinuousVP, Flow, Level, Schedule

LEVELS = [ContinuousVP().level(t) for t in (1e-2, 0.3, 1.0)] + [VE().level(1e-2), Flow().level(0.5)]
SHAPE = (1, 2, 2)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def parts() -> tuple[Tensor, Tensor, Tensor]:
    """Unnormalised weights, means and covariances of three correlated components in four dimensions."""
    factors = 0.5 * draw(3, 4, 4, seed=1)
    return torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64), draw(3, 4), factors @ factors.mT


def by_tweedie(log_density: Callable[[Tensor], Tensor], x: Tensor, at: Level) -> Tensor:
    """E[x_0 | x_t] = (x_t + sigma^2 grad log p_t(x_t)) / alpha, the gradient by autograd."""
    leaf = x.flatten(1).requires_grad_()
    (score,) = torch.autograd.grad(log_density(leaf).sum(), leaf)
    return ((x.flatten(1) + at.sigma**2 * score) / at.alpha).reshape(x.shape)


@pytest.mark.parametrize("at", LEVELS)
def test_the_posterior_mean_of_a_mixture_obeys_tweedies_formula(at: Level) -> None:
    weights, means, covariances = parts()
    marginal = MixtureSameFamily(
        Categorical(weights),
        MultivariateNormal(at.alpha * means, at.alpha**2 * covariances + at.sigma**2 * torch.eye(4).double()),
    )
    x = at.alpha * draw(6, *SHAPE, seed=2) + at.sigma * draw(6, *SHAPE, seed=3)
    found = GaussianMixture(weights, means, covariances, SHAPE)(x, at)
    torch.testing.assert_close(found, by_tweedie(marginal.log_prob, x, at), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("at", LEVELS)
def test_the_posterior_mean_of_a_gaussian_obeys_tweedies_formula(at: Level) -> None:
    _, (mean, *_), (covariance, *_) = parts()
    marginal = MultivariateNormal(at.alpha * mean, at.alpha**2 * covariance + at.sigma**2 * torch.eye(4).double())
    x = at.alpha * draw(6, *SHAPE, seed=2) + at.sigma * draw(6, *SHAPE, seed=3)
    found = Gaussian(mean, covariance, SHAPE)(x, at)
    torch.testing.assert_close(found, by_tweedie(marginal.log_prob, x, at), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("at", [ContinuousVP().level(0.3), ContinuousVP().level(0.8), Flow().level(0.4)])
def test_the_posterior_mean_of_a_mixture_is_the_integral_over_the_data(at: Level) -> None:
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)
    means = torch.tensor([[-1.0, 0.5], [0.8, -0.2]], dtype=torch.float64)
    covariances = torch.tensor([[[0.3, 0.1], [0.1, 0.2]], [[0.1, -0.05], [-0.05, 0.4]]], dtype=torch.float64)
    axis = torch.linspace(-6.0, 6.0, 601, dtype=torch.float64)
    x0 = torch.cartesian_prod(axis, axis)  # every point of a fine square of data
    offsets = x0[:, None] - means
    forms = torch.einsum("nkd,kde,nke->nk", offsets, covariances.inverse(), offsets)
    prior = (weights.log() - 0.5 * covariances.logdet() - 0.5 * forms).logsumexp(1)
    law = GaussianMixture(weights, means, covariances, (1, 1, 2))
    for x in ([0.2, -0.4], [-1.0, 1.0], [1.5, 0.1]):
        x_t = torch.tensor(x, dtype=torch.float64)
        posterior = (prior - ((x_t - at.alpha * x0) ** 2).sum(1) / (2.0 * at.sigma**2)).softmax(0)
        torch.testing.assert_close(law(x_t.reshape(1, 1, 1, 2), at).flatten(), posterior @ x0, rtol=0.0, atol=1e-9)


def test_the_moments_of_a_mixture_are_those_of_its_samples() -> None:
    weights, means, covariances = parts()
    law = GaussianMixture(weights, means, covariances, SHAPE)
    rng = np.random.default_rng(0)
    count = 200_000
    chosen = rng.choice(3, size=count, p=(weights / weights.sum()).numpy())
    roots = np.linalg.cholesky(covariances.numpy())
    samples = means.numpy()[chosen] + np.einsum("nde,ne->nd", roots[chosen], rng.standard_normal((count, 4)))
    spread = float(samples.std(axis=0).max())
    np.testing.assert_allclose(law.mean, samples.mean(axis=0), atol=5 * spread / count**0.5)
    np.testing.assert_allclose(law.covariance, np.cov(samples.T), atol=10 * spread**2 / count**0.5)


@pytest.mark.parametrize("at", LEVELS)
def test_finite_data_is_the_softmax_over_all_distances(at: Level) -> None:
    points = draw(17, *SHAPE)
    x = at.alpha * points[:5] + at.sigma * draw(5, *SHAPE, seed=4)
    distances2 = ((x.numpy()[:, None] - at.alpha * points.numpy()[None]) ** 2).sum((2, 3, 4))
    weights = np.exp(-(distances2 - distances2.min(axis=1, keepdims=True)) / (2.0 * at.sigma**2))
    weights /= weights.sum(axis=1, keepdims=True)
    expected = np.einsum("nm,mchw->nchw", weights, points.numpy())
    np.testing.assert_allclose(FiniteData(points)(x, at), expected, rtol=0.0, atol=1e-10)


@pytest.mark.parametrize("at", LEVELS)
def test_finite_data_is_the_mixture_of_zero_covariances(at: Level) -> None:
    points = draw(17, *SHAPE)
    x = at.alpha * points[:5] + at.sigma * draw(5, *SHAPE, seed=4)
    mixture = GaussianMixture(
        torch.ones(17, dtype=torch.float64), points.flatten(1), torch.zeros(17, 4, 4, dtype=torch.float64), SHAPE
    )
    torch.testing.assert_close(FiniteData(points)(x, at), mixture(x, at), rtol=0.0, atol=1e-9)


def test_finite_data_is_the_nearest_point_in_little_noise_and_the_mean_in_much() -> None:
    points = draw(17, *SHAPE)
    law = FiniteData(points)
    near, far = VE(sigma_min=1e-3).level(1e-5), VE(sigma_max=1e9).level(1.0)
    torch.testing.assert_close(law(points[:3] + 1e-3, near), points[:3], rtol=0.0, atol=1e-12)
    torch.testing.assert_close(law(draw(1, *SHAPE), far), points.mean(0, keepdim=True), rtol=0.0, atol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "start", "end"),
    [(ContinuousVP(), 1.0, 0.05), (ContinuousVP(), 0.5, 0.0), (VE(), 0.1, 1e-3), (Flow(), 0.9, 0.1)],
)
def test_the_flow_of_a_gaussian_solves_the_probability_flow_ode(schedule: Schedule, start: float, end: float) -> None:
    _, (mean, *_), (covariance, *_) = parts()
    x = schedule.level(start).sigma * draw(1, *SHAPE, seed=5)

    def velocity(t: float, state: np.ndarray) -> np.ndarray:
        at = schedule.level(float(t))
        marginal = at.alpha**2 * covariance.numpy() + at.sigma**2 * np.eye(4)
        score = -np.linalg.solve(marginal, state - at.alpha * mean.numpy())
        return np.asarray(at.drift * state - 0.5 * at.diffusion2 * score)

    solved = solve_ivp(velocity, (start, end), x.flatten().numpy(), method="DOP853", rtol=1e-11, atol=1e-12)
    found = Gaussian(mean, covariance, SHAPE).flow(x, schedule.level(start), schedule.level(end))
    np.testing.assert_allclose(found.flatten(), solved.y[:, -1], rtol=1e-7, atol=1e-8)


def test_the_flow_of_a_gaussian_carries_each_marginal_into_the_next() -> None:
    """The state one standard deviation along an axis of the covariance stays one standard deviation along it."""
    mean, covariance = draw(4), torch.diag(torch.tensor([0.1, 0.5, 1.0, 3.0], dtype=torch.float64))
    t, s = ContinuousVP().level(0.7), ContinuousVP().level(0.2)

    def one_deviation(at: Level) -> Tensor:
        return at.alpha * mean + (at.alpha**2 * covariance.diagonal() + at.sigma**2).sqrt()

    found = Gaussian(mean, covariance, SHAPE).flow(one_deviation(t).reshape(1, *SHAPE), t, s)
    torch.testing.assert_close(found.flatten(), one_deviation(s), rtol=1e-12, atol=1e-12)


def test_a_law_stays_on_the_device_of_its_moments() -> None:
    moments = torch.zeros(4, device="meta"), torch.eye(4, device="meta")
    state = torch.zeros(2, *SHAPE, device="meta")
    assert Gaussian(*moments, SHAPE)(state, VE().level(0.1)).device.type == "meta"


def test_parts_that_do_not_fit_together_are_refused() -> None:
    weights, means, covariances = parts()
    for wrong in (
        (weights[:2], means, covariances, SHAPE),
        (weights, means, covariances[:, :3, :3], SHAPE),
        (weights, means, covariances, (1, 2, 3)),
    ):
        with pytest.raises(ValueError, match="expected weights"):
            GaussianMixture(*wrong)


def test_points_that_are_no_images_or_no_numbers_are_refused() -> None:
    for wrong in (draw(17, 4), draw(0, *SHAPE), torch.zeros(3, *SHAPE, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="expected points"):
            FiniteData(wrong)


def every_law() -> list[GaussianMixture | FiniteData]:
    weights, means, covariances = parts()
    return [GaussianMixture(weights, means, covariances, SHAPE), FiniteData(draw(17, *SHAPE))]


@pytest.mark.parametrize("law", every_law(), ids=["mixture", "points"])
def test_a_law_in_float64_answers_a_state_in_float32_as_exactly_as_that_can_be(law: Law) -> None:
    """Where arithmetic in float32 would lose all: alpha^2 |x_i|^2 / sigma^2 is 1e8 there."""
    at = VE(sigma_min=1e-4).level(1e-6)
    x = (law.draw(torch.linspace(0.05, 0.95, 6), draw(6, 4)) + 1e-4 * draw(6, *SHAPE, seed=1)).float()
    found = law(x, at)
    assert found.dtype == torch.float32
    assert torch.equal(found, law(x.double(), at).float())


def test_finite_data_is_the_same_whatever_is_compared_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    law, x = FiniteData(draw(17, *SHAPE)), draw(10, *SHAPE, seed=1)
    whole = law(x, VE().level(0.01))
    monkeypatch.setattr(analytic, "_AT_ONCE", 3 * 17)  # three states
    torch.testing.assert_close(law(x, VE().level(0.01)), whole, rtol=1e-12, atol=1e-12)


def test_the_moments_of_finite_data_are_those_of_its_points_each_as_likely() -> None:
    points = draw(17, *SHAPE)
    flat = points.flatten(1).numpy()
    np.testing.assert_allclose(FiniteData(points).mean, flat.mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(FiniteData(points).covariance, np.cov(flat.T, ddof=0), rtol=1e-12, atol=1e-12)


def test_a_draw_from_finite_data_is_the_point_whose_share_of_the_unit_interval_the_chance_lies_in() -> None:
    points = draw(4, *SHAPE)
    chance = torch.tensor([1e-9, 0.2499, 0.2501, 0.74, 0.76, 1.0 - 1e-17], dtype=torch.float64)
    assert torch.equal(FiniteData(points).draw(chance, draw(6, 4)), points[[0, 0, 1, 2, 3, 3]])


def test_a_draw_from_a_mixture_is_its_component_with_the_normal_numbers_along_its_axes() -> None:
    """Components so narrow that each sample says which it came from, and by how many standard deviations."""
    weights, means, covariances = parts()
    law = GaussianMixture(weights, means, 1e-6 * covariances, SHAPE)
    chance = torch.tensor([0.1, 0.28, 0.29, 0.85, 0.86, 0.999], dtype=torch.float64)  # edges at 2/7 and 6/7
    normal = draw(6, 4, seed=7)
    offsets = law.draw(chance, normal).flatten(1) - means[[0, 0, 1, 1, 2, 2]]
    precision = torch.linalg.inv(1e-6 * covariances)[[0, 0, 1, 1, 2, 2]]
    distance2 = torch.einsum("nd,nde,ne->n", offsets, precision, offsets)
    torch.testing.assert_close(distance2, normal.square().sum(1), rtol=1e-5, atol=0.0)
