"""From a network's value range to uint8 images, once, by rounding; and the preview that a record keeps."""

import os
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

QUANTISER = "round"
"""Name of the rule below, recorded with every row: values are rounded, not cut."""


class BadSamples(ValueError):
    """A sampler returned something that is no image: wrong shape, or NaN or Inf."""


def check_samples(samples: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """BadSamples unless the samples are finite, of this shape and dtype.

    A cast to uint8 would turn NaN into black pixels and hide the failure.
    """
    if samples.shape != shape or samples.dtype != dtype:
        raise BadSamples(
            f"expected {dtype} of shape {shape}, the sampler returned {samples.dtype} of shape {tuple(samples.shape)}"
        )
    bad = int((~samples.isfinite().flatten(1).all(1)).sum())
    if bad:
        raise BadSamples(f"{bad} of {samples.shape[0]} images of a batch hold NaN or Inf")


def to_uint8(samples: Tensor, value_range: tuple[float, float] = (-1.0, 1.0)) -> Tensor:
    """From the range of a network's images to 0 ... 255, clamped and rounded to nearest (halves to even)."""
    low, high = value_range
    return ((samples.clamp(low, high) - low) * (255.0 / (high - low))).round().to(torch.uint8)


def save_preview(images: Tensor, path: Path) -> None:
    """Write uint8 images (N, C, H, W), C = 1 or 3, side by side as one PNG, atomically."""
    strip = torch.cat(list(images.cpu()), dim=2).movedim(0, 2)  # (H, N * W, C)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    Image.fromarray(strip.squeeze(2).numpy()).save(temporary, format="PNG")
    os.replace(temporary, path)
