"""Laws of data in closed form, from their files."""

from pathlib import Path

import torch
from torch import Tensor

from models.analytic import FiniteData, GaussianMixture
from models.cards.card import Card
from models.common.errors import UsageError
from models.loading.weights import load_tensors

POINTS = "points.safetensors"
MIXTURE = "mixture.safetensors"


def finite_data(path: Path, card: Card, device: torch.device) -> FiniteData:
    points = _named(path, ("points",))["points"]
    if points.dtype != torch.uint8 or points.shape[1:] != card.shape or len(points) == 0:
        raise UsageError(
            f"{path}: points are {points.dtype} of shape {tuple(points.shape)}; expected uint8 of shape "
            f"(M, {', '.join(map(str, card.shape))}), M > 0"
        )
    low, high = card.value_range
    return FiniteData(low + (high - low) * points.to(device=device, dtype=torch.float64) / 255.0)


def mixture(path: Path, card: Card, device: torch.device) -> GaussianMixture:
    found = {name: tensor.double() for name, tensor in _named(path, ("weights", "means", "covariances")).items()}
    weights, covariances = found["weights"], found["covariances"]
    if not all(bool(tensor.isfinite().all()) for tensor in found.values()) or not bool((weights > 0.0).all()):
        raise UsageError(f"{path}: expected finite numbers, and weights above zero")
    if covariances.dim() == 3 and covariances.shape[1] == covariances.shape[2]:
        scale = float(covariances.abs().max())
        if not torch.allclose(covariances, covariances.mT, rtol=0.0, atol=1e-9 * scale):
            raise UsageError(f"{path}: a covariance is not symmetric")
        if float(torch.linalg.eigvalsh(covariances).min()) < -1e-9 * scale:
            raise UsageError(f"{path}: a covariance has a negative eigenvalue; no law has such a one")
    try:
        law = GaussianMixture(weights.to(device), found["means"].to(device), covariances.to(device), card.shape)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None
    if card.classes not in (None, len(weights)) or card.null_label not in (None, "none"):
        raise UsageError(
            f"{path} has {len(weights)} components, which are the classes, and is asked without labels for no class: "
            f"expected classes = {len(weights)} and null_label = 'none', got {card.classes} and {card.null_label!r}"
        )
    return law


def _named(path: Path, names: tuple[str, ...]) -> dict[str, Tensor]:
    found = load_tensors(path)
    if set(found) != set(names):
        raise UsageError(f"{path} holds {', '.join(sorted(found)) or 'nothing'}; expected {', '.join(names)}")
    return found
