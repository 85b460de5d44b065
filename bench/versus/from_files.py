"""A model's compact extractor for torch-fidelity's own command, which reads every image file as three colours."""

from pathlib import Path

from torch import Tensor
from torch_fidelity import register_feature_extractor
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from bench.quality.compact import CompactExtractor


class FromFiles(CompactExtractor):
    """Takes as many of the three channels as the network was trained on: one of a grey image, whose three are equal."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return super().forward(images[:, : self.image_shape[0]])


def register(folder: Path, name: str) -> None:
    """Enter the extractor of a model folder into torch-fidelity's registry (again, if it is there already)."""
    FEATURE_EXTRACTORS_REGISTRY.pop(name, None)
    register_feature_extractor(name, type(f"FromFiles_{name}", (FromFiles,), {"folder": folder}))
