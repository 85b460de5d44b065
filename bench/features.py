"""Feature extractors, as torch-fidelity knows them, and the stream that turns generated batches into features.

Compact extractors of model folders are registered with torch-fidelity, so that its own `calculate_metrics` runs on them
as well, and our numbers can be compared with its.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch_fidelity import register_feature_extractor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from models.classifier import Classifier
from models.errors import UsageError
from models.zoo import Model, load_weights, read_json, sha256_of

EXTRACTOR = "extractor"
EXTRACTOR_WEIGHTS = f"{EXTRACTOR}/model.safetensors"
EXTRACTOR_CONFIG = f"{EXTRACTOR}/config.json"
EXTRACTOR_BATCH = 250
"""Images an extractor sees at a time, fixed: features vary in their last digits with the batch size."""


class CompactExtractor(FeatureExtractorBase):
    """A model folder's classifier as a torch-fidelity extractor: `features` (N, F) and `logits` (N, K).

    The network runs in float32; its outputs are given in float64, so that all statistics are float64 on both sides.
    """

    folder: ClassVar[Path]

    def __init__(self, name: str, features_list: list[str], **kwargs: Any) -> None:
        super().__init__(name, features_list)
        config = read_json(self.folder / EXTRACTOR_CONFIG)
        try:
            classifier = Classifier.from_config(config)
        except TypeError as error:
            raise UsageError(f"{self.folder / EXTRACTOR_CONFIG} does not describe a classifier: {error}") from None
        self.classifier = load_weights(classifier, self.folder / EXTRACTOR_WEIGHTS)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("features", "logits")

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "features"

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features, logits = self.classifier(images)
        outputs = {"features": features.double(), "logits": logits.double()}
        return tuple(outputs[name] for name in self.features_list)


@dataclass(frozen=True)
class Extractor:
    """A feature extractor ready to be used.

    Attributes:
        name: its name in torch-fidelity's registry; quality columns are called after it.
        module: maps uint8 images to (features, logits).
        sha256: of its weights.
    """

    name: str
    module: FeatureExtractorBase
    sha256: str


def register_compact(name: str, folder: Path) -> None:
    """Enter a folder's extractor into torch-fidelity's registry under a name (again, if it is there already)."""
    FEATURE_EXTRACTORS_REGISTRY.pop(name, None)
    register_feature_extractor(name, type(f"CompactExtractor_{name}", (CompactExtractor,), {"folder": folder}))


def load_extractor(model: Model, device: torch.device) -> Extractor:
    """The extractor of a model's folder; UsageError if it has none."""
    if model.card.extractor is None:
        raise UsageError(
            f"model {model.card.name!r} has no feature extractor, so no quality can be measured on it; name it as the "
            "model of a block, in a study of a model that has one"
        )
    for needed in (EXTRACTOR_CONFIG, EXTRACTOR_WEIGHTS):
        if needed not in model.card.files:
            raise UsageError(f"the card of model {model.card.name!r} names an extractor, but its files lack {needed!r}")
    name = model.card.extractor.name
    register_compact(name, model.folder)
    module = FEATURE_EXTRACTORS_REGISTRY[name](name, ["features", "logits"]).to(device)
    return Extractor(name, module, sha256_of(model.folder / EXTRACTOR_WEIGHTS))


@dataclass(frozen=True)
class Features:
    """What an extractor says about N images: features (N, F) and logits (N, K), float64 on the CPU."""

    features: Tensor
    logits: Tensor


class FeatureStream:
    """Collects generated images into extractor batches of a fixed size, whatever batches they come in."""

    def __init__(self, extractor: Extractor, batch: int = EXTRACTOR_BATCH) -> None:
        self._extractor, self._batch = extractor, batch
        self._waiting: list[Tensor] = []
        self._features: list[Tensor] = []
        self._logits: list[Tensor] = []

    def add(self, images: Tensor) -> None:
        """Take uint8 images (N, C, H, W)."""
        self._waiting.append(images)
        waiting = torch.cat(self._waiting)
        whole = len(waiting) - len(waiting) % self._batch
        for batch in waiting[:whole].split(self._batch):
            self._extract(batch)
        self._waiting = [waiting[whole:]]

    def finish(self) -> Features:
        """The features of all images, in order."""
        rest = torch.cat(self._waiting)
        if len(rest):
            self._extract(rest)
        self._waiting = []
        return Features(torch.cat(self._features), torch.cat(self._logits))

    def _extract(self, images: Tensor) -> None:
        with torch.inference_mode():
            features, logits = self._extractor.module(images)
        self._features.append(features.cpu())
        self._logits.append(logits.cpu())


def extract(extractor: Extractor, images: Tensor) -> Features:
    """The features of uint8 images (N, C, H, W)."""
    stream = FeatureStream(extractor)
    stream.add(images)
    return stream.finish()
