"""A residual network of nine layers for small photographs, whose pooled activations serve as features.

The network of D. Page, "How to train your ResNet" (2018), which reaches 94 % on CIFAR-10 in about 24 epochs, with half
of its last width: 3x3 convolutions of torchvision's building block (batch norm, ReLU), three of them halved by maximum
pooling, residual pairs after the first and the third, and the maximum over all places of what is left as features. At
width 64 that is 2.4 million parameters and 256 features.
"""

from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from models.networks.image_classifier import ImageClassifier

_LOGIT_SCALE = 0.125  # the author's: logits of the untrained network are near zero


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.pair = nn.Sequential(Conv2dNormActivation(width, width), Conv2dNormActivation(width, width))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.pair(x)
        return out


class ResNet9(ImageClassifier):
    """Maps uint8 images (N, C, S, S), 0 ... 255, to (features (N, 4 width), logits (N, K)), both float32.

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
