"""One image file as uint8 pixels: what is read of it, and what is refused because it would be read in part.

Pixels are those of torchvision's and torch-fidelity's own loaders, which are Pillow's: transparency is dropped, and an
orientation noted in a file's EXIF data is not applied, but to TIFFs, which Pillow turns as it loads them. Whoever reads
a folder is told of what is left out. Files with more than 8 bits a channel are refused, since each library rounds them
differently, and so are those of several pictures, of which one would be taken.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile
from torchvision.datasets.folder import IMG_EXTENSIONS

SUFFIXES = (*IMG_EXTENSIONS, ".jfif", ".jpe", ".jif")
"""Of the files that are read: torchvision's, and what JPEG files are called beside."""

UNREADABLE = (OSError, EOFError, SyntaxError, TypeError, ValueError, struct.error, Image.DecompressionBombError)
"""What `read_image` raises: Pillow for a broken PNG SyntaxError, for a broken TIFF TypeError."""

_FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # whatever a file is called: of others no depth is known
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")

COLOUR, TRANSPARENT, TURNED, ENLARGED = "colour", "transparent", "turned", "enlarged"


@dataclass(frozen=True)
class Picture:
    """What a file holds.

    Attributes:
        pixels: (H, W, 3) uint8.
        traits: COLOUR unless the three channels are equal, TRANSPARENT and TURNED where something of the file was left
            out, ENLARGED where it was smaller than it is now.
    """

    pixels: np.ndarray[Any, np.dtype[np.uint8]]
    traits: frozenset[str]


def read_image(path: Path, resize: int | None) -> Picture:
    """The picture of a file.

    Args:
        path: the file.
        resize: side that it is scaled and cropped to (Pillow's bicubic filter), or None.

    Raises:
        one of `UNREADABLE`: it cannot be used; says why.
    """
    if not path.is_file():
        raise ValueError("is a pipe, a socket or a device")
    try:
        image = Image.open(path, formats=_FORMATS)
    except UnidentifiedImageError:
        raise ValueError(f"is none of {', '.join(_FORMATS)}, or damaged") from None
    with image:
        _check(image)
        traits = {TRANSPARENT} if _shows_through(image) else set()
        image.load()  # what is turned now has its orientation no longer
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            traits.add(TURNED)
        if resize is not None and min(image.size) < resize:
            traits.add(ENLARGED)
        found = image.convert("RGB")
    if resize is not None:
        found = ImageOps.fit(found, (resize, resize), Image.Resampling.BICUBIC)
    pixels = np.asarray(found)
    if (pixels != pixels[:, :, :1]).any():
        traits.add(COLOUR)
    return Picture(pixels, frozenset(traits))


def _check(image: Image.Image) -> None:
    """ValueError if not all of a file would be read, or not as it is."""
    bits = _bits(image)
    if bits > 8:
        raise ValueError(f"has {bits} bits a channel; expected 8 bits")
    if image.mode not in _MODES:
        raise ValueError(f"its pixels are of Pillow's mode {image.mode!r}; expected 8 bits a channel")
    pictures = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # MPO: a photograph, and aids beside it
    if pictures > 1:
        raise ValueError(f"holds {pictures} pictures; expected one")


def _bits(image: Image.Image) -> int:
    """Bits of a file's widest channel. Pillow keeps the upper 8 of 16 and calls that RGB too."""
    if isinstance(image, TiffImageFile):
        return int(max(image.tag_v2.get(BITSPERSAMPLE, (1,))))
    said = [part for tile in getattr(image, "tile", ()) for part in (tile[3] if type(tile[3]) is tuple else tile[3:4])]
    if image.format == "PPM":  # the highest value is an argument of its decoder
        return max([8, *(part.bit_length() for part in said if isinstance(part, int))])
    return 16 if image.format == "PNG" and any(str(part).endswith(";16B") for part in said) else 8


def _shows_through(image: Image.Image) -> bool:
    if "A" not in image.getbands() and "transparency" not in image.info:
        return False
    return image.convert("RGBA").getchannel("A").getextrema() != (255, 255)
