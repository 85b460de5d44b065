"""What is done to images before a CLIP sees them, as its preprocessor_config.json says.

They are resized by Pillow, on any device: as CLIP's authors do, and transformers' processors that work on Pillow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class Preprocessor:
    """What makes of uint8 images what a CLIP sees.

    Attributes:
        size: (height, width) that they are resized to, or one number that their shorter side is; None: they are not.
        resample: Pillow's filter.
        crop: (height, width) of the middle that is kept; None: all is.
        scale: what values 0 ... 255 are multiplied by.
        mean, std: of each channel, subtracted and divided by.
    """

    size: int | tuple[int, int] | None
    resample: Image.Resampling
    crop: tuple[int, int] | None
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Preprocessor":
        """That of a configuration; KeyError, TypeError or ValueError if it says something else."""
        has = {name: content.get(name, True) for name in ("do_resize", "do_center_crop", "do_rescale", "do_normalize")}
        found = cls(
            _size(content["size"]) if has["do_resize"] else None,
            Image.Resampling(content.get("resample", Image.Resampling.BICUBIC)),
            _sides(content["crop_size"]) if has["do_center_crop"] else None,
            float(content.get("rescale_factor", 1 / 255)) if has["do_rescale"] else 1.0,
            tuple(map(float, content["image_mean"])) if has["do_normalize"] else (0.0,) * 3,
            tuple(map(float, content["image_std"])) if has["do_normalize"] else (1.0,) * 3,
        )
        if len(found.mean) != 3 or len(found.std) != 3 or not all(found.std):
            raise ValueError("image_mean and image_std: expected three numbers each, those of image_std not 0")
        return found

    def __call__(self, images: Tensor) -> Tensor:
        """(N, 3, h, w) float32 on the CPU, of uint8 images (N, C, H, W), whose C is 1 or 3."""
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        rows = images.movedim(1, 3).cpu().contiguous().numpy()
        pixels = torch.from_numpy(np.stack([self._cut(Image.fromarray(each)) for each in rows])).movedim(3, 1)
        mean, std = (torch.tensor(each).view(3, 1, 1) for each in (self.mean, self.std))
        return (pixels.double() * self.scale).float().sub(mean).div(std)

    def _cut(self, image: Image.Image) -> np.ndarray[Any, Any]:
        if self.size is not None:
            image = image.resize(self._resized(image.width, image.height), self.resample)
        if self.crop is not None:
            height, width = self.crop
            top, left = (image.height - height) // 2, (image.width - width) // 2
            image = image.crop((left, top, left + width, top + height))  # black where it reaches beyond
        return np.asarray(image)

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        assert self.size is not None
        if isinstance(self.size, tuple):
            return self.size[1], self.size[0]
        longer = int(self.size * max(width, height) / min(width, height))
        return (self.size, longer) if width <= height else (longer, self.size)


def _size(said: object) -> int | tuple[int, int]:
    """What `size` says: a number and {shortest_edge} mean the shorter side."""
    if isinstance(said, dict) and set(said) == {"shortest_edge"}:
        said = said["shortest_edge"]
    if type(said) is int and said > 0:
        return said
    return _sides(said)


def _sides(said: object) -> tuple[int, int]:
    """(height, width), of a number both."""
    table = said if isinstance(said, dict) else {"height": said, "width": said}
    height, width = table.get("height"), table.get("width")
    if type(height) is int and type(width) is int and min(height, width) > 0 and len(table) == 2:
        return height, width
    raise ValueError(f"expected a number of pixels, or height and width, got {said!r}")
