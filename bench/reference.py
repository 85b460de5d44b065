"""Reference statistics: what real data look like to an extractor, in float64, with the features that KID and
precision/recall need."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from bench.features import Extractor, extract
from bench.images import QUANTISER
from models.errors import UsageError
from models.zoo import Model, load_tensors, sha256_of

REFERENCE = "reference.safetensors"


@dataclass(frozen=True)
class Reference:
    """Statistics of a reference data set.

    Attributes:
        name: of the data set.
        mean: (F,) float64.
        covariance: (F, F) float64, of the sample (ddof 1).
        features: (N, F) float64.
        sha256: of the file.
    """

    name: str
    mean: Tensor
    covariance: Tensor
    features: Tensor
    sha256: str

    @property
    def count(self) -> int:
        return len(self.features)


def write_reference(path: Path, extractor: Extractor, images: Tensor) -> None:
    """Compute and store the statistics of uint8 images (N, C, H, W)."""
    features = extract(extractor, images).features
    tensors = {
        "mean": features.mean(0),
        "covariance": torch.cov(features.T),
        "features": features.float(),  # without loss: the extractor's network computes in float32
    }
    metadata = {"extractor": extractor.name, "extractor_sha256": extractor.sha256, "quantiser": QUANTISER}
    save_file(tensors, path, metadata | {"count": str(len(features))})


def load_reference(model: Model, extractor: Extractor) -> Reference:
    """The reference of a model's folder; UsageError if there is none or it does not fit the extractor."""
    path = model.folder / REFERENCE
    if REFERENCE not in model.card.files:
        raise UsageError(f"the card of model {model.card.name!r} lists no {REFERENCE}, so no quality can be measured")
    tensors = load_tensors(path)
    missing = {"mean", "covariance", "features"} - set(tensors)
    if missing:
        raise UsageError(f"{path} lacks {', '.join(sorted(missing))}; make it again with the model's training command")
    size = len(tensors["mean"])
    if tensors["covariance"].shape != (size, size) or tensors["features"].shape[1:] != (size,):
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        raise UsageError(f"{path}: shapes {shapes} do not belong together; expected (F,), (F, F), (N, F)")
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise UsageError(f"{path} holds NaN or Inf; make it again with the model's training command")
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    expected = {"extractor_sha256": extractor.sha256, "quantiser": QUANTISER}
    if any(metadata.get(key) != value for key, value in expected.items()):
        raise UsageError(f"{path} was made with {metadata}, but the extractor and quantiser here are {expected}")
    features = tensors["features"].double()
    return Reference(
        model.card.name, tensors["mean"].double(), tensors["covariance"].double(), features, sha256_of(path)
    )
