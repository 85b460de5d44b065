"""A feature extractor: what it gives, what it takes, and what distances on its features are called."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from bench.quality.exact_arithmetic import exact_arithmetic
from models.common.errors import UsageError

INCEPTION = "inception-v3-compat"
FID_IMAGES = 50_000
"""Images without which a Frechet distance on Inception's features is no FID in the sense of the literature."""
WITHOUT = (
    'metrics = ["solver_error"] needs neither extractor nor reference, as in `run solvers`; models/README.md shows a '
    "study with both"
)
"""What to do where there is no extractor or no reference."""


@dataclass(frozen=True)
class Extractor:
    """A feature extractor ready to be used.

    Attributes:
        name: its name in torch-fidelity's registry.
        module: maps uint8 images to a tuple of layers' outputs.
        sha256: of its weights' file (DINOv2, whose file the hub keeps to itself: of their names and numbers).
        family: what distances are called after.
        official: whether the weights are the authors' own, so far as their published hash says.
        layer: whose outputs are the features.
        logits: the layer of class logits, for the Inception score; None: it has no classes.
        image_shape: (C, H, W) that it needs; None: three channels of any size.
        features: how many there are.
        dtype: of the features.
        batch: images it sees at a time.
        folder: of the model that it belongs to, whose reference is its own.
        classes: how many it has logits of; None: it has no classes.
        test_accuracy: as its card says it; None: it has none.
    """

    name: str
    module: FeatureExtractorBase = field(repr=False)
    sha256: str
    family: str
    official: bool
    layer: str
    logits: str | None
    image_shape: tuple[int, ...] | None
    features: int
    dtype: torch.dtype
    batch: int
    folder: Path | None = None
    classes: int | None = None
    test_accuracy: float | None = None

    @property
    def columns(self) -> dict[str, str | int | bool]:
        """What a record says of it."""
        return {
            "extractor": self.name,
            "extractor_sha256": self.sha256,
            "extractor_weights_sha256": self.sha256,
            "extractor_official": self.official,
            "extractor_layer": self.layer,
            "extractor_batch": self.batch,
        }

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        device: torch.device = next(self.module.parameters()).device
        return device

    @property
    def sees_colours(self) -> bool:
        """Whether it takes three channels, as which grey images are given to it."""
        return self.image_shape is None or self.image_shape[0] == 3

    def column(self, images: int) -> str:
        """Name of the Frechet distance of so many images: fid, or fd_<family>."""
        is_fid = self.name == INCEPTION and self.official and images >= FID_IMAGES
        return "fid" if is_fid else f"fd_{self.family}"

    def check(self, metrics: Sequence[str], shape: Sequence[int]) -> None:
        """UsageError for a metric that it cannot give, or images (C, H, W) that it cannot take."""
        if "inception_score" in metrics and self.logits is None:
            raise UsageError(
                f"extractor {self.name!r} has no classes, so it gives no inception_score; it gives fd, fd_infinity, "
                f"kid and precision_recall. Leave inception_score out of the study's metrics, or take {INCEPTION}"
            )
        in_colour = (3, *shape[1:]) if shape[0] == 1 and self.sees_colours else tuple(shape)
        if self.image_shape not in (None, in_colour):
            raise UsageError(
                f"extractor {self.name!r} takes images of shape {self.image_shape}, but these are {tuple(shape)}; name "
                f"another one in the study, such as extractor = {INCEPTION!r}"
            )
        if self.image_shape is None and shape[0] not in (1, 3):
            raise UsageError(
                f"extractor {self.name!r} takes images of 1 or 3 channels, but these have {shape[0]}; {WITHOUT}"
            )

    def check_classes(self, model: str, classes: int | None) -> None:
        """UsageError for a model whose images it cannot tell the classes of: it has to have as many.

        Args:
            model: its name.
            classes: how many it has; None: its images have none to tell.
        """
        if classes not in (None, self.classes):
            known = "no classes" if self.classes is None else f"{self.classes:,} classes"
            raise UsageError(
                f"metric 'class_accuracy' needs an extractor that tells the {classes:,} classes of model {model!r}, "
                f"but extractor {self.name!r} has {known}; name one in the study that was trained on those classes, or "
                "leave 'class_accuracy' out of its metrics"
            )

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Outputs (N, ...) by layer, on the extractor's device, of uint8 images (N, C, H, W) on any device.

        Grey images are given to a network of colours as three equal channels, which is what torch-fidelity makes of
        grey files. NaN and Inf are for the caller to look for: that would wait for the device here.
        """
        if images.shape[1] == 1 and self.sees_colours:
            images = images.expand(-1, 3, -1, -1)
        with torch.inference_mode(), exact_arithmetic(self.device):
            outputs: dict[str, Tensor] = self.module.convert_features_tuple_to_dict(self.module(images.to(self.device)))
        return outputs
