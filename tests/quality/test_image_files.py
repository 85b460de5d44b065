"""What is read of an image file: all of its picture, or nothing and the reason."""

import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from photographs import picture, write_picture
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from bench.quality.datasets import open_data
from models.common.errors import UsageError


def _png(channels: int, bits: int) -> bytes:
    """A PNG of 4 x 4 pixels of colours; Pillow writes none of 16 bits a channel."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + bytes(range(4 * channels * bits // 8)) for _ in range(4))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, bits, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _tiff(bits: int, *, packed: bool = False) -> bytes:
    """A TIFF of 4 x 4 pixels of three channels."""
    pixels = bytes(range(4 * 4 * 3 * bits // 8))
    pixels = zlib.compress(pixels) if packed else pixels
    tags = [(256, 4), (257, 4), (258, 0), (259, 8 if packed else 1), (262, 2), (273, 0), (277, 3), (278, 4)]
    tags += [(279, len(pixels)), (284, 1)]
    after = 8 + 2 + 12 * len(tags) + 4
    places = {258: after, 273: after + 6}
    content = b"II*\0" + struct.pack("<IH", 8, len(tags))
    for tag, value in tags:
        kind = 4 if tag == 273 else 3
        content += struct.pack("<HHII", tag, kind, 3 if tag == 258 else 1, places.get(tag, value))
    return content + bytes(4) + struct.pack("<HHH", bits, bits, bits) + pixels


def _ppm(kind: bytes, highest: int) -> bytes:
    values = [0, 3, 2] * 16
    plain = b" ".join(b"%d" % value for value in values)
    packed = np.array(values, dtype=">u2" if highest > 255 else "u1").tobytes()
    return kind + b"\n4 4\n%d\n" % highest + (plain if kind == b"P3" else packed)


def _bmp_of_16_bits_a_pixel() -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, 4, 4, 1, 16, 0, 32, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 86, 0, 0, 54) + header + bytes(range(32))


_DEEP = {
    "grey.png": _png(1, 16),
    "grey-alpha.png": _png(2, 16),
    "colour.png": _png(3, 16),
    "colour-alpha.png": _png(4, 16),
    "colour.tif": _tiff(16),
    "packed.tiff": _tiff(16, packed=True),
    "colour.ppm": _ppm(b"P6", 65535),
    "10.ppm": _ppm(b"P6", 1023),
    "plain.ppm": _ppm(b"P3", 256),
    "png-inside.jpg": _png(3, 16),
}
_SHALLOW = {
    "colour.png": _png(3, 8),
    "colour-alpha.png": _png(4, 8),
    "colour.tif": _tiff(8),
    "packed.tif": _tiff(8, packed=True),
    "colour.ppm": _ppm(b"P6", 255),
    "5.ppm": _ppm(b"P6", 31),
    "plain.ppm": _ppm(b"P3", 15),
    "5.bmp": _bmp_of_16_bits_a_pixel(),
}


@pytest.mark.parametrize("name", _DEEP)
def test_more_than_8_bits_a_channel_are_refused_by_name_in_every_format(tmp_path: Path, name: str) -> None:
    write_picture(tmp_path / "another.png", 4)
    (tmp_path / name).write_bytes(_DEEP[name])
    with pytest.raises(UsageError, match=rf"1 of 2 images .*{name}: has \d+ bits a channel; expected 8 bits"):
        open_data(str(tmp_path))


@pytest.mark.parametrize("name", _SHALLOW)
def test_8_bits_a_channel_or_fewer_are_read_as_pillow_reads_them(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(_SHALLOW[name])
    with Image.open(tmp_path / name) as image:
        assert torch.equal(open_data(str(tmp_path)).images[0], pil_to_tensor(image.convert("RGB")))


@pytest.mark.parametrize("kind", ["png", "tiff", "webp"])
def test_files_of_several_pictures_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    picture().save(tmp_path / f"a.{kind}", save_all=True, append_images=[picture()])
    write_picture(tmp_path / "b.png")
    with pytest.raises(UsageError, match=rf"1 of 2 images .*a.{kind}: holds 2 pictures; expected one"):
        open_data(str(tmp_path))


def test_the_photograph_of_a_camera_that_keeps_aids_beside_it_is_read(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[picture()])
    assert len(open_data(str(tmp_path)).images) == 1


def test_files_of_another_format_than_those_that_are_known_are_refused_by_name(tmp_path: Path) -> None:
    write_picture(tmp_path / "b.png")
    picture().save(tmp_path / "a.png", "GIF")
    with pytest.raises(UsageError, match=r"1 of 2 images .*a.png: is none of BMP, JPEG, PNG, PPM, TIFF, WEBP"):
        open_data(str(tmp_path))


def _eps() -> bytes:
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n"


_NOT_MEANT = {
    "avif": b"\0\0\0\x1cftypavif" + bytes(60),
    "dds": b"DDS " + struct.pack("<I", 124) + bytes(20),
    "jpeg 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40),
    "jpeg 2000 codestream": b"\xff\x4f\xff\x51" + bytes(30),
    "eps": _eps(),
    "dos eps": b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 32, len(_eps())) + bytes(20) + _eps(),
}


@pytest.mark.parametrize("content", _NOT_MEANT.values(), ids=_NOT_MEANT)
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_damaged_file_of_a_format_that_is_not_meant_is_listed_and_runs_nothing(
    tmp_path: Path, content: bytes, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)  # Ghostscript, which Pillow reads EPS by
    write_picture(tmp_path / "b.png")
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(UsageError, match=rf"1 of 2 images .*a{suffix}: is none of BMP, JPEG, PNG, PPM, TIFF, WEBP"):
        open_data(str(tmp_path))


_Saver = Callable[[Image.Image, Path], None]


@pytest.mark.parametrize(
    "save",
    [
        lambda image, path: image.convert("RGB").save(path, "PNG"),
        lambda image, path: image.convert("RGB").save(path, "JPEG"),
        lambda image, path: image.convert("RGBA").save(path, "PNG"),
        lambda image, path: image.convert("P").save(path, "PNG"),
        lambda image, path: image.save(path, "PNG"),
    ],
    ids=["RGB", "JPEG", "RGBA", "P", "L"],
)
def test_a_picture_of_equal_channels_is_grey_whatever_the_file_calls_it(tmp_path: Path, save: _Saver) -> None:
    for number in range(2):
        save(picture(channels=1), tmp_path / f"{number}.png")
    data = open_data(str(tmp_path))
    with Image.open(tmp_path / "0.png") as image:
        assert torch.equal(data.images[0], pil_to_tensor(image.convert("RGB"))[:1])
    assert data.images.shape == (2, 1, 6, 6)
    assert data.remarks == ()


def test_damage_beside_the_pixels_is_passed_over_and_that_of_a_second_picture_is_not(tmp_path: Path) -> None:
    picture(4).save(tmp_path / "a.jpg", exif=b"Exif\0\0garbage")
    assert len(open_data(str(tmp_path)).images) == 1
    first = _tiff(8)
    content = first[:130] + struct.pack("<I", len(first)) + first[134:]  # where the second is
    (tmp_path / "b.tif").write_bytes(content + struct.pack("<HHHIII", 1, 999, 3, 1, 0, 0))
    with pytest.raises(UsageError, match=r"1 of 2 images .*b.tif: Missing dimensions"):
        open_data(str(tmp_path))


@pytest.mark.parametrize(
    ("suffix", "compression", "turned"),
    [
        ("png", None, False),
        ("jpg", None, False),
        ("webp", None, False),
        ("tif", None, True),
        ("tif", "tiff_adobe_deflate", True),
    ],
)
def test_an_orientation_that_pillow_does_not_apply_is_told_and_one_that_it_does_is_not(
    tmp_path: Path, suffix: str, compression: str | None, turned: bool
) -> None:
    stored, exif = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10), Image.Exif()
    exif[0x0112] = 6
    more = {} if compression is None else {"compression": compression}
    stored.save(tmp_path / f"a.{suffix}", exif=exif, **more)
    data = open_data(str(tmp_path))
    with Image.open(tmp_path / f"a.{suffix}") as image:
        assert torch.equal(data.images[0], pil_to_tensor(image.convert("RGB")))
    assert data.images.shape[2:] == ((4, 2) if turned else (2, 4))
    told = f"{tmp_path}: an orientation in EXIF data is not applied to 1 of 1 (a.{suffix})"
    assert data.remarks == (() if turned else (told,))
