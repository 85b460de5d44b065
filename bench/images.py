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
    check = SampleCheck(samples.device)
    check.add(samples, shape, dtype)
    check.finish()


class SampleCheck:
    """Checks batches as `check_samples` does, and lets a GPU go on: what was found there is read at the end.

    Args:
        device: of the samples.
    """

    def __init__(self, device: torch.device) -> None:
        self._at_once = device.type == "cpu"
        self._found = list[tuple[Tensor, int]]()  # images that are not finite, and images, of each batch

    def add(self, samples: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Take a batch; BadSamples for another shape or dtype, and on a CPU, where nothing waits, for NaN and Inf."""
        if samples.shape != shape or samples.dtype != dtype:
            raise BadSamples(
                f"expected {dtype} of shape {shape}, the sampler returned {samples.dtype} of shape "
                f"{tuple(samples.shape)}"
            )
        self._found.append(((~samples.isfinite().flatten(1).all(1)).sum(), len(samples)))
        if self._at_once:
            self.finish()

    def finish(self) -> None:
        """BadSamples if there was NaN or Inf in any batch since the last call."""
        found, self._found = self._found, []
        if not found:
            return
        for bad, (_, images) in zip(torch.stack([each for each, _ in found]).tolist(), found, strict=True):
            if bad:
                raise BadSamples(f"{bad} of {images} images of a batch hold NaN or Inf")


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
