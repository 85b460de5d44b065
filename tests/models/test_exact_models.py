"""A model folder may hold a law of data in closed form: its points, or a Gaussian mixture."""

from pathlib import Path

import pytest
import torch
from checkpoints import CPU, folder_of, x0_of
from safetensors.torch import save_file
from torch import Tensor

from models.common.errors import UsageError
from models.loading.sources import describe_model
from models.loading.zoo import load_model

_SHAPE = [1, 2, 2]
_LAW = {"shape": _SHAPE, "parametrisation": "sample", "network": "finite-data"}


def _states(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(3), dtype=dtype)


@pytest.mark.parametrize("value_range", [(-1.0, 1.0), (0.0, 1.0)])
def test_points_are_mapped_to_the_value_range_and_weighed_by_their_likelihood(
    tmp_path: Path, value_range: tuple[float, float]
) -> None:
    points = torch.tensor([[0, 255, 51, 102], [255, 255, 0, 0], [10, 20, 30, 40]], dtype=torch.uint8)
    save_file({"points": points.reshape(3, 1, 2, 2)}, tmp_path / "points.safetensors")
    files = {"points.safetensors": tmp_path / "points.safetensors"}
    model = load_model(str(folder_of(tmp_path, files, value_range=value_range, **_LAW)), CPU)
    assert model.card.is_exact
    assert not model.card.is_generator
    low, high = value_range
    clean = low + (high - low) * points.double() / 255.0
    for t in (0.9, 0.3, 0.02):
        at, x = model.schedule.level(t), _states()
        distance = ((x.double().flatten(1)[:, None] - at.alpha * clean) ** 2).sum(-1)
        weight = torch.softmax(-0.5 * distance / at.sigma**2, dim=1)
        found = x0_of(model, x, t)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.flatten(1).double(), weight @ clean, rtol=0.0, atol=1e-6)


def _mixture(**changes: Tensor) -> dict[str, Tensor]:
    spread = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    means = torch.tensor([[0.5, -0.5, 0.1, 0.0], [-0.3, 0.2, 0.9, -1.0]], dtype=torch.float64)
    weights = torch.tensor([0.25, 0.75], dtype=torch.float64)
    return {"weights": weights, "means": means, "covariances": 0.1 * spread @ spread.mT} | changes


def _with_mixture(folder: Path, mixture: dict[str, Tensor]) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in mixture.items()}, folder / "mixture.safetensors")
    return folder_of(folder, {"mixture.safetensors": folder / "mixture.safetensors"}, **_LAW | {"network": "mixture"})


def test_a_mixture_s_posterior_mean_is_bayes_rule(tmp_path: Path) -> None:
    law = _mixture()
    model = load_model(str(_with_mixture(tmp_path, law)), CPU)
    at, x = model.schedule.level(0.4), _states(torch.float64).flatten(1)
    logs, posterior = [], []
    for weight, mean, covariance in zip(law["weights"], law["means"], law["covariances"], strict=True):
        noisy = at.alpha**2 * covariance + at.sigma**2 * torch.eye(4, dtype=torch.float64)
        density = torch.distributions.MultivariateNormal(at.alpha * mean, noisy).log_prob(x)
        logs.append(weight.log() + density)
        posterior.append(mean + at.alpha * torch.linalg.solve(noisy, (x - at.alpha * mean).T).T @ covariance)
    share = torch.softmax(torch.stack(logs), dim=0)[..., None]
    expected = (share * torch.stack(posterior)).sum(0)
    torch.testing.assert_close(x0_of(model, x.reshape(5, 1, 2, 2), 0.4).flatten(1), expected, rtol=0.0, atol=1e-10)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": torch.tensor([0.5, -0.5])}, "weights above zero"),
        ({"means": torch.full((2, 4), torch.nan)}, "expected finite numbers"),
        ({"covariances": -torch.eye(4).expand(2, 4, 4)}, "a covariance has a negative eigenvalue"),
        ({"covariances": torch.ones(2, 4, 4).triu()}, "a covariance is not symmetric"),
        ({"means": torch.zeros(2, 3)}, "expected weights"),
        ({"more": torch.zeros(1)}, "holds covariances, means, more, weights; expected weights, means, covariances"),
    ],
)
def test_what_is_no_mixture_of_such_images_is_refused(tmp_path: Path, changes: dict[str, Tensor], said: str) -> None:
    folder = _with_mixture(tmp_path, _mixture(**changes))
    with pytest.raises(UsageError, match=said):
        load_model(str(folder), CPU)


@pytest.mark.parametrize(
    "points", [torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 3, dtype=torch.uint8), torch.zeros(0, 1, 2, 2).byte()]
)
def test_points_that_are_no_images_of_the_card_s_shape_are_refused(tmp_path: Path, points: Tensor) -> None:
    save_file({"points": points}, tmp_path / "points.safetensors")
    folder = folder_of(tmp_path, {"points.safetensors": tmp_path / "points.safetensors"}, **_LAW)
    assert describe_model(str(folder)).network == "finite-data"
    with pytest.raises(UsageError, match=r"expected uint8 of shape \(M, 1, 2, 2\), M > 0"):
        load_model(str(folder), CPU)
