"""A small convolutional classifier whose penultimate layer serves as a compact feature extractor.

Three convolutions of torchvision's building block (3x3, batch norm, SiLU), the second and third of stride 2, then a
linear layer to the features and one to the class logits. Real Inception features need 299 x 299 photographs and a
download; for 8 x 8 digits a classifier trained on those very digits tells digits apart far better.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation


class Classifier(nn.Module):
    """Maps uint8 images (N, C, S, S), 0 ... 255, to (features (N, F), logits (N, K)), both float32."""

    def __init__(self, *, size: int, channels: int, width: int, features: int, classes: int) -> None:
        super().__init__()
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
        self.image_shape = (channels, size, size)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Classifier":
        return cls(**config)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        if images.dtype != torch.uint8 or images.shape[1:] != self.image_shape:
            raise ValueError(
                f"expected uint8 images of shape (N, {', '.join(map(str, self.image_shape))}), "
                f"got {images.dtype} of shape {tuple(images.shape)}"
            )
        features = self.trunk(images.float() / 127.5 - 1.0)
        return features, self.head(features)
