"""Distances from exact laws: 0 where they must be, known where they are known, and their floors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch_fidelity.metric_fid import fid_statistics_to_metric

from bench.conformance import laws
from bench.noise.stream import ImageNoise
from bench.quality import law
from bench.quality.law import exact_samples, law_columns, nearest_points, occupancy
from bench.training.oracle import FLOOR, MAKERS, class_mixture
from models.analytic import FiniteData, GaussianMixture, Law
from models.denoiser import Denoiser
from models.grids import GRIDS
from models.loading.zoo import load_model
from samplers import SAMPLERS

CPU = torch.device("cpu")
LAWS: dict[str, Law] = {
    "gaussian": laws.gaussian(),
    "mixture": laws.mixture_law().network,
    "points": FiniteData(torch.linspace(-1, 1, 5 * 64, dtype=torch.float64).sin().reshape(5, 1, 8, 8)),
}


@pytest.mark.parametrize("known", LAWS)
def test_exact_samples_have_the_laws_mean_and_covariance(known: str) -> None:
    found = LAWS[known]
    count = 20_000
    flat = exact_samples(found, torch.arange(count), seed=3).flatten(1)
    scale = float(found.covariance.diagonal().max())
    assert float((flat.mean(0) - found.mean).abs().max()) < 4.5 * (scale / count) ** 0.5
    assert float((torch.cov(flat.T) - found.covariance).abs().max()) < 7.0 * scale / count**0.5


def test_exact_samples_of_a_mixture_come_from_its_components_as_often_as_it_says() -> None:
    found = laws.mixture_law()
    samples = exact_samples(found.network, torch.arange(20_000), seed=0)
    assert found.errors(samples).weights < 4 * found.monte_carlo_errors(20_000).weights
    assert abs(found.errors(samples).spread) < 4 * found.monte_carlo_errors(20_000).spread


@pytest.mark.parametrize("known", LAWS)
def test_a_sample_depends_on_seed_number_and_draw_alone(known: str) -> None:
    numbers = torch.arange(10)
    whole = exact_samples(LAWS[known], numbers, seed=1)
    assert torch.equal(exact_samples(LAWS[known], numbers[7:], seed=1), whole[7:])
    others = [exact_samples(LAWS[known], numbers, seed=2), exact_samples(LAWS[known], numbers, seed=1, draw=1)]
    assert not any(torch.equal(each, whole) for each in others)


def test_exact_samples_share_nothing_with_the_noise_that_samplers_start_from() -> None:
    """A standard Gaussian's samples are its normal numbers themselves."""
    standard = GaussianMixture(
        torch.ones(1).double(), torch.zeros(1, 64).double(), torch.eye(64).double()[None], (1, 8, 8)
    )
    numbers = torch.arange(200)
    samples = exact_samples(standard, numbers, seed=0).flatten()
    start = ImageNoise(0, numbers)(torch.empty(200, 1, 8, 8, dtype=torch.float64)).flatten()
    assert abs(float((samples * start).mean())) < 4.0 / samples.numel() ** 0.5


def test_the_distance_is_torch_fidelitys_between_the_samples_and_the_laws_moments() -> None:
    found = laws.gaussian()
    samples = (exact_samples(found, torch.arange(300), seed=0) * 1.1 + 0.05).float()
    flat = samples.double().flatten(1)
    ours = {"mu": flat.mean(0).numpy(), "sigma": torch.cov(flat.T).numpy()}
    theirs = {"mu": found.mean.numpy(), "sigma": found.covariance.numpy()}
    expected = fid_statistics_to_metric(ours, theirs, verbose=False)["frechet_inception_distance"]
    columns = law_columns(found, samples, seed=0)
    assert columns["law_fd"] == pytest.approx(expected, rel=1e-6)
    parts = [samples[torch.arange(300) % 10 != block] for block in range(10)]
    assert columns["law_fd_left_out"] == pytest.approx([law_columns(found, part, 0)["law_fd"] for part in parts])


def test_the_distance_of_shifted_samples_falls_to_the_squared_shift() -> None:
    """|m - m'|^2 alone when the covariances are equal, and so for any law once there are enough samples."""
    found = laws.gaussian()
    samples = exact_samples(found, torch.arange(4_000), seed=0) + 0.25
    columns = law_columns(found, samples, seed=0)
    assert columns["law_fd"] == pytest.approx(64 * 0.25**2, rel=0.1)


@pytest.mark.parametrize("known", LAWS)
def test_exact_samples_are_at_the_floor_and_others_above_it(known: str) -> None:
    found, numbers = LAWS[known], torch.arange(400)
    columns = law_columns(found, exact_samples(found, numbers, seed=5), seed=6)
    value, floor, spread = columns["law_fd"], columns["law_fd_floor"], columns["law_fd_floor_std"]
    assert value is not None
    assert floor is not None
    assert spread is not None
    assert abs(value - floor) < 4 * spread
    wider = law_columns(found, 1.3 * exact_samples(found, numbers, seed=5), seed=6)["law_fd"]
    assert wider is not None
    assert wider > floor + 4 * spread
    assert law_columns(found, exact_samples(found, numbers[:100], seed=5), seed=6)["law_fd_floor"] > 2 * floor


def test_samples_of_finite_data_lie_on_points_and_blurred_ones_as_far_as_they_are_blurred() -> None:
    found = LAWS["points"]
    samples = exact_samples(found, torch.arange(500), seed=0)
    assert law_columns(found, samples, seed=0)["law_nearest_rmse"] == 0.0
    blurred = (samples + torch.tensor([0.01, -0.01]).repeat(32).reshape(1, 8, 8)).float()
    assert law_columns(found, blurred, seed=0)["law_nearest_rmse"] == pytest.approx(0.01, rel=1e-4)
    smooth = law_columns(LAWS["gaussian"], samples, seed=0)
    assert smooth["law_nearest_rmse"] is None
    assert smooth["law_occupancy"] is None


def test_the_nearest_point_is_that_of_all_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    points = exact_samples(LAWS["gaussian"], torch.arange(37), seed=0)
    samples = exact_samples(LAWS["gaussian"], torch.arange(50), seed=1)
    expected = torch.cdist(samples.flatten(1), points.flatten(1)).argmin(1)
    assert torch.equal(nearest_points(samples, points), expected)
    monkeypatch.setattr(law, "AT_ONCE", 40)  # a sample at a time
    assert torch.equal(nearest_points(samples, points), expected)


def test_occupancy_is_unbiased_and_as_certain_as_it_says() -> None:
    """Over many repetitions of few samples on many points: 0 if all are equally likely, 1 if half are never reached."""
    generator = torch.Generator().manual_seed(0)
    for reached, expected in ((100, 0.0), (50, 1.0)):
        found = [occupancy(torch.randint(reached, (60,), generator=generator), 100) for _ in range(2000)]
        values = np.array([value for value, _ in found])
        assert abs(values.mean() - expected) < 4 * values.std() / 2000**0.5
        if reached == 100:
            assert values.std() == pytest.approx(found[0][1], rel=0.1)


def test_the_embedded_models_are_what_their_commands_make(tmp_path: Path) -> None:
    for name, make in MAKERS.items():
        made, shipped = (load_model(spec, CPU) for spec in (str(make(tmp_path / name, None, 0, None)), name))
        assert made.card.model_dump(exclude={"files"}) == shipped.card.model_dump(exclude={"files"})
        ours, theirs = made.network, shipped.network
        if isinstance(ours, FiniteData) and isinstance(theirs, FiniteData):
            assert torch.equal(ours.points, theirs.points)
        elif isinstance(ours, GaussianMixture) and isinstance(theirs, GaussianMixture):
            torch.testing.assert_close(ours.covariance, theirs.covariance, rtol=0.0, atol=1e-12)
            assert torch.equal(ours.weights, theirs.weights)
        assert shipped.schedule.train_steps == load_model("digits", CPU).schedule.train_steps


def test_the_oracles_points_are_the_digits() -> None:
    found = load_model("digits-oracle", CPU).network
    assert isinstance(found, FiniteData)
    digits = torch.tensor(load_digits().images)[:, None] / 8.0 - 1.0
    torch.testing.assert_close(found.points, digits, rtol=0.0, atol=1.0 / 255.0)  # half a step of uint8


def test_the_mixtures_components_have_the_moments_of_their_classes() -> None:
    generator = np.random.default_rng(0)
    labels = torch.tensor(generator.integers(0, 3, 200))
    points = torch.tensor(generator.normal(size=(200, 1, 2, 2)))
    points[labels == 1, :, 0, 0] = 0.5  # a pixel that is the same in all images of a class
    found = class_mixture(points, labels)
    for label in range(3):
        members = points[labels == label].flatten(1).numpy()
        assert float(found["weights"][label]) == len(members) / 200
        np.testing.assert_allclose(found["means"][label], members.mean(0), rtol=1e-12)
        expected: Tensor = torch.tensor(np.cov(members.T, ddof=0))
        expected[0, 0] += FLOOR**2 * (label == 1)
        np.testing.assert_allclose(found["covariances"][label], expected, rtol=0.0, atol=1e-12)


def test_a_sampler_on_the_oracle_draws_digits_and_too_few_steps_leave_them_blurred() -> None:
    model = load_model("digits-oracle", CPU)
    assert isinstance(model.network, FiniteData)
    columns = {}
    for steps in (3, 100):
        source = ImageNoise(0, torch.arange(40))
        x = source(torch.empty(40, 1, 8, 8))
        levels = GRIDS.make("trailing")(model.schedule, steps)
        samples = SAMPLERS.make("ddim").sample(Denoiser(model.network, "sample", model.schedule), x, levels, source)
        columns[steps] = law_columns(model.network, samples, 0)
    assert columns[100]["law_nearest_rmse"] < 1e-6 < 0.1 < columns[3]["law_nearest_rmse"]
    assert columns[100]["law_fd"] < columns[3]["law_fd"]
