"""Classifiers whose penultimate layer serves as a compact feature extractor: the one for digits, and all by name.

Three convolutions of torchvision's building block (3x3, batch norm, SiLU), the second and third of stride 2, then a
linear layer to the features and one to the class logits. Real Inception features need 299 x 299 photographs and a
download; for 8 x 8 digits a classifier trained on those very digits tells digits apart far better.
"""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from models.common.errors import UsageError
from models.networks.image_classifier import ImageClassifier
from models.networks.resnet import ResNet9
from models.plugins.registry import unknown


class Classifier(ImageClassifier):
    """Maps uint8 images (N, C, S, S), 0 ... 255, to (features (N, F), logits (N, K)), both float32."""

    def __init__(self, *, size: int, channels: int, width: int, features: int, classes: int) -> None:
        super().__init__((channels, size, size))
        block = {"kernel_size": 3, "activation_layer": nn.SiLU}
        self.trunk = nn.Sequential(
            Conv2dNormActivation(channels, width, **block),
            Conv2dNormActivation(width, 2 * width, stride=2, **block),
            Conv2dNormActivation(2 * width, 2 * width, stride=2, **block),
            nn.Flatten(),
            nn.Linear(2 * width * math.ceil(size / 4) ** 2, features),
            nn.SiLU(),
        )
        self.head = nn.Linear(features, classes)

    @staticmethod
    def from_config(config: dict[str, Any]) -> ImageClassifier:
        """As `make_classifier`."""
        return make_classifier(config)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(self.centred(images))
        return features, self.head(features)


CLASSIFIERS: dict[str, Callable[..., ImageClassifier]] = {"Classifier": Classifier, "ResNet9": ResNet9}


def make_classifier(config: dict[str, Any]) -> ImageClassifier:
    """The network that an extractor's `config.json` describes; `_class_name` says which, without it a `Classifier`.

    Raises:
        UsageError: there is no such network, or its parameters are others.
    """
    name = config.get("_class_name", "Classifier")
    if not isinstance(name, str) or name not in CLASSIFIERS:
        raise unknown("classifier", str(name), CLASSIFIERS)
    try:
        return CLASSIFIERS[name](**{key: value for key, value in config.items() if not key.startswith("_")})
    except (TypeError, ValueError) as error:
        raise UsageError(f"{config} does not describe a {name}: {error}") from None
