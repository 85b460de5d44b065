"""From a network's value range to uint8 images, once, by rounding; and the preview that a record keeps."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from models.common.writing import replacing

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

    def add(self, samples: object, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Take a batch; BadSamples for what is no tensor of this shape and dtype, and on a CPU, where nothing waits,
        for NaN and Inf.
        """
        if type(samples) is not Tensor:  # subclasses may say anything of themselves
            raise BadSamples(f"expected a tensor of shape {shape}, the sampler returned a {type(samples).__name__}")
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


PreviewKind = Literal["pictures", "maps", "points"]

_PICTURES, _POINTS, _MAPS = 10, 2000, 16
"""Samples that a preview holds: pictures, or points of a scatter plot; and channels that are shown as maps."""


def preview_kind(shape: tuple[int, ...]) -> PreviewKind:
    """How samples of a shape (C, H, W) are shown: as pictures of 1 or 3 channels, as a grey map a channel, or, where
    they have a single place or two numbers in all, as points.
    """
    channels, height, width = shape
    if height * width == 1 or channels * height * width == 2:
        return "points"
    return "pictures" if channels in (1, 3) else "maps"


def preview_size(shape: tuple[int, ...]) -> int:
    """Samples of a shape (C, H, W) that a preview holds."""
    return _POINTS if preview_kind(shape) == "points" else _PICTURES


def save_preview(images: Tensor, path: Path) -> None:
    """Write uint8 samples (N, C, H, W) as one PNG, atomically: pictures side by side, with several channels as maps in
    rows, or of points the first two coordinates, one of each a row.
    """
    strip = _strip(images.cpu())
    with replacing(path) as file:
        Image.fromarray(strip.numpy()).save(file, format="PNG")


def read_preview(path: Path, count: int, shape: tuple[int, ...]) -> Tensor:
    """What `save_preview` has written of so many samples of a shape (C, H, W), as `shown` gives it.

    Raises:
        OSError: there is no such file, or it is damaged.
        ValueError: it shows something else.
    """
    kind, (channels, height, width) = preview_kind(shape), shape
    with Image.open(path, formats=["PNG"]) as file:
        strip = torch.from_numpy(np.array(file))
    if kind == "points":
        return strip.T.reshape(count, min(2, channels * height * width))
    if kind == "pictures":
        return strip.reshape(height, count, width, channels).permute(1, 3, 0, 2)
    maps = min(channels, _MAPS)
    across = math.ceil(math.sqrt(maps))
    down = math.ceil(maps / across)
    tiles = strip.reshape(down * (height + 1) - 1, count, across * (width + 1) - 1).movedim(1, 0)
    tiles = torch.nn.functional.pad(tiles, (0, 1, 0, 1)).reshape(count, down, height + 1, across, width + 1)
    return tiles[:, :, :height, :, :width].permute(0, 1, 3, 2, 4).flatten(1, 2)[:, :maps]


def shown(images: Tensor) -> Tensor:
    """What a preview keeps of uint8 samples (N, C, H, W): (N, 2) of points, else as many channels as it shows."""
    kind = preview_kind(tuple(images.shape[1:]))
    return images.flatten(1)[:, :2] if kind == "points" else images[:, :_MAPS]


def _strip(images: Tensor) -> Tensor:
    """(H, W) or (H, W, 3)."""
    kind = preview_kind(tuple(images.shape[1:]))
    if kind == "points":
        return images.flatten(1)[:, :2].T.contiguous()
    tiles = images if kind == "pictures" else torch.stack([_maps(image) for image in images])
    return torch.cat(list(tiles), dim=2).movedim(0, 2).squeeze(2)


def _maps(image: Tensor) -> Tensor:
    """The channels of an image (C, H, W) as grey maps beside and below one another, a white line between: (1, ., .)."""
    shown = image[:_MAPS, None]
    across = math.ceil(math.sqrt(len(shown)))
    grid: Tensor = make_grid(shown, nrow=across, padding=1, pad_value=255)
    return grid[:1, 1:-1, 1:-1]


def size_of(size: Sequence[int]) -> str:
    """Height and width in words."""
    return " x ".join(map(str, size))
