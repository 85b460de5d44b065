"""A folder of image files as one uint8 tensor.

Files are ordered by name, classes as torchvision's `ImageFolder` orders them: by the sorted names of the subfolders.
Where every file is grey the images have one channel, otherwise all have three, and grey ones repeat it. Transparency
is dropped, and an orientation noted in a file's EXIF data is not applied, as in torchvision's and torch-fidelity's own
loaders. Files with more than 8 bits a channel are refused: each library rounds them differently.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS, has_file_allowed_extension, make_dataset

from models.errors import UsageError

_GREY = ("1", "L", "LA")
_COLOUR = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
_SPLITS = {"train", "test", "val", "valid", "validation"}
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # of Pillow: broken PNGs, SyntaxError
_NAMED = 3  # faulty files that an error names; it counts them all


def read_folder(folder: Path, resize: int | None = None) -> tuple[Tensor, Tensor | None, tuple[str, ...] | None]:
    """Every image of a folder.

    Args:
        folder: holds image files, or one subfolder of them a class.
        resize: side that images are scaled and cropped to, or None where all must have one size.

    Returns:
        images (N, C, H, W) uint8; labels (N,) int64 and the names of the classes, or None and None for a flat folder.

    Raises:
        UsageError: no images, or images beside subfolders of images; a file that cannot be read or has another size.
    """
    if resize is not None and resize < 1:
        raise UsageError(f"resize must be at least 1 pixel, got {resize}")
    files, labels, classes = _list(folder)
    return _read(files, resize), labels, classes


def _list(folder: Path) -> tuple[list[Path], Tensor | None, tuple[str, ...] | None]:
    files = sorted(path for path in folder.iterdir() if path.is_file() and _is_image(path.name))
    subfolders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    filled = [path.name for path in subfolders if _holds_images(path)]
    if files and filled:
        raise UsageError(f"{folder} holds images and also subfolders of images ({filled[0]!r}); expected one or other")
    if files:
        return files, None, None
    if not filled:
        raise UsageError(f"{folder} holds no images; expected files that end in {', '.join(IMG_EXTENSIONS)}")
    if _SPLITS.issuperset(filled):
        raise UsageError(f"{folder} holds whole sets ({', '.join(filled)}); name one, such as {folder / filled[0]}")
    if len(filled) < len(subfolders):
        empty = next(path for path in subfolders if path.name not in filled)
        raise UsageError(f"{empty} holds no images, but is a class beside {filled[0]!r}; fill or remove it")
    found = make_dataset(folder, {name: label for label, name in enumerate(filled)}, extensions=IMG_EXTENSIONS)
    return [Path(path) for path, _ in found], torch.tensor([label for _, label in found]), tuple(filled)


def _is_image(name: str) -> bool:
    return has_file_allowed_extension(name, IMG_EXTENSIONS) and not name.startswith(".")


def _holds_images(folder: Path) -> bool:
    return any(_is_image(name) for _, _, names in os.walk(folder, followlinks=True) for name in names)


def _read(files: Sequence[Path], resize: int | None) -> Tensor:
    expected = _first_shape(files, resize)
    images = np.empty((len(files), 3, *expected[:2]), dtype=np.uint8)

    def fill(at: int) -> tuple[bool, str]:
        """Whether the image is grey, and what is wrong with it, if anything."""
        try:
            pixels, grey = _decode(files[at], resize)
        except _UNREADABLE as error:
            return True, f"{files[at]}: {error}"
        if pixels.shape != expected:
            return True, f"{files[at]} is {_size(pixels.shape)}, others are {_size(expected)}"
        images[at] = pixels.transpose(2, 0, 1)
        return grey, ""

    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(fill, range(len(files))))
    if faults := [fault for _, fault in outcomes if fault]:
        more = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        raise UsageError(
            f"{len(faults)} of {len(files)} images cannot be used: {'; '.join(faults[:_NAMED])}{more}. "
            "Repair or remove them; where only sizes differ, give resize"
        )
    all_grey = all(grey for grey, _ in outcomes)
    return torch.from_numpy(images[:, :1].copy() if all_grey else images)


def _first_shape(files: Sequence[Path], resize: int | None) -> tuple[int, ...]:
    """The shape of the first image that can be read, which the others have to have."""
    for path in files:
        try:
            return _decode(path, resize)[0].shape
        except _UNREADABLE as error:  # the file is named below, with all others, if one can be read
            last = error
    raise UsageError(f"none of the {len(files)} image files like {files[-1]} can be read: {last}")


def _decode(path: Path, resize: int | None) -> tuple[np.ndarray, bool]:
    """The pixels (H, W, 3) uint8 of a file, and whether it is grey."""
    with Image.open(path) as image:
        if image.mode not in _GREY + _COLOUR:
            raise ValueError(f"its pixels are of Pillow's mode {image.mode!r}; expected 8 bits a channel")
        grey = image.mode in _GREY
        pixels = image.convert("RGB")
    if resize is not None:
        pixels = ImageOps.fit(pixels, (resize, resize), Image.Resampling.BICUBIC)
    return np.asarray(pixels), grey


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"
