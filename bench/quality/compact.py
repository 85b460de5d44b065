"""The compact extractor of a model folder: a small classifier of the very data that the model was trained on."""

from collections.abc import Container
from pathlib import Path
from typing import Any, ClassVar, cast

from torch import Tensor
from torch_fidelity import register_feature_extractor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from bench.record_schema import DERIVED
from models.common.errors import UsageError
from models.common.files import read_json
from models.loading.weights import load_weights
from models.networks.classifier import make_classifier
from models.plugins.names import check_name

EXTRACTOR = "extractor"
EXTRACTOR_WEIGHTS = f"{EXTRACTOR}/model.safetensors"
EXTRACTOR_CONFIG = f"{EXTRACTOR}/config.json"


class CompactExtractor(FeatureExtractorBase):  # type: ignore[misc, unused-ignore] # torch-fidelity has no types
    """A model folder's classifier as a torch-fidelity extractor: `features` (N, F) and `logits` (N, K).

    The network runs in float32; its outputs are given in float64, so that all statistics are float64 on both sides.
    """

    folder: ClassVar[Path]

    def __init__(self, name: str, features_list: list[str], **kwargs: Any) -> None:
        super().__init__(name, features_list)
        path = self.folder / EXTRACTOR_CONFIG
        try:
            classifier = make_classifier(read_json(path))
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None
        self.image_shape = cast(tuple[int, ...], classifier.image_shape)  # every classifier has one
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


def check(name: str, reserved: Container[str], where: str) -> None:
    """UsageError, beginning with `where`, for a name that no extractor can have."""
    try:
        check_name(name, "extractor")
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    if name in reserved or name.endswith(DERIVED):
        raise UsageError(
            f"{where} calls its extractor {name!r}, which means something else in a table; call it after its data, "
            "such as 'digits'"
        )


def make_compact(name: str, folder: Path, reserved: Container[str]) -> CompactExtractor:
    """A folder's extractor, entered into torch-fidelity's registry under a name (again, if it is there already).

    Raises:
        UsageError: the name is one of torch-fidelity's own, or would be read as another column.
    """
    check(name, reserved, f"the card in {folder}")
    made = type(f"CompactExtractor_{name}", (CompactExtractor,), {"folder": folder})
    FEATURE_EXTRACTORS_REGISTRY.pop(name, None)
    register_feature_extractor(name, made)
    extractor: CompactExtractor = made(name, ["features", "logits"])
    return extractor
