"""What all classifiers share: uint8 images in, features and logits out."""

import torch
from torch import Tensor, nn


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
