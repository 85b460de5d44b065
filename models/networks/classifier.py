"""Classifiers of small images, whose pooled or penultimate activations serve as features.

Real Inception features need 299 x 299 photographs and a download; a classifier trained on the very data tells small
images apart far better. An extractor's `config.json` says in `_class_name` which of the two it is.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from models.common.errors import UsageError
from models.plugins.registry import unknown

_LOGIT_SCALE = 0.125  # of `ResNet9`, its author's: logits of the untrained network are near zero


class ImageClassifier(nn.Module):
    """Maps uint8 images (N, C, S, S), 0 ... 255, to (features (N, F), logits (N, K)), both float32.

    Args:
        image_shape: (C, S, S).
    """

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.image_shape = image_shape

    def centred(self, images: Tensor) -> Tensor:
        """The images as float32 in [-1, 1]; ValueError unless they are uint8 of the shape that the network takes."""
        if images.dtype != torch.uint8 or images.shape[1:] != self.image_shape:
            raise ValueError(
                f"expected uint8 images of shape (N, {', '.join(map(str, self.image_shape))}), "
                f"got {images.dtype} of shape {tuple(images.shape)}"
            )
        return images.float() / 127.5 - 1.0


class Classifier(ImageClassifier):
    """For digits: three convolutions (3x3, batch norm, SiLU), two of stride 2, then features and logits linearly."""

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

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(self.centred(images))
        return features, self.head(features)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.pair = nn.Sequential(Conv2dNormActivation(width, width), Conv2dNormActivation(width, width))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.pair(x)
        return out


class ResNet9(ImageClassifier):
    """For photographs: D. Page, "How to train your ResNet" (2018), with half of its last width.

    Residual pairs after the first and the third halving; features are the maximum over all places. It reaches 94 % on
    CIFAR-10 in about 24 epochs; at width 64 it has 2.4 million parameters and 256 features.

    Args:
        size: S, at least 8.
        channels: C.
        width: channels of the first layer; the following ones have two and four times as many.
        classes: K.
    """

    def __init__(self, *, size: int, channels: int, width: int, classes: int) -> None:
        if size < 8:
            raise ValueError(f"images of {size} x {size} pixels cannot be halved three times; expected at least 8 x 8")
        super().__init__((channels, size, size))
        self.trunk = nn.Sequential(
            Conv2dNormActivation(channels, width),
            *_halving(width, 2 * width),
            _Residual(2 * width),
            *_halving(2 * width, 4 * width),
            *_halving(4 * width, 4 * width),
            _Residual(4 * width),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(4 * width, classes, bias=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(self.centred(images))
        return features.float(), _LOGIT_SCALE * self.head(features).float()


def _halving(given: int, width: int) -> tuple[nn.Module, nn.Module]:
    return Conv2dNormActivation(given, width), nn.MaxPool2d(2)


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
