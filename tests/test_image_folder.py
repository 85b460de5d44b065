"""What of a folder is counted: every picture that was meant, as it is, and a word on all that is not."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms.functional import pil_to_tensor

from bench.datasets import open_data
from bench.training.job import open_splits
from models.errors import UsageError

_DRAWS = np.random.default_rng(0)


def _picture(size: int = 6, channels: int = 3) -> Image.Image:
    shape = (size, size, channels) if channels > 1 else (size, size)
    return Image.fromarray(_DRAWS.integers(0, 256, shape, dtype=np.uint8))


def _write(path: Path, size: int = 6, channels: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    _picture(size, channels).save(path, "JPEG" if path.suffix in (".jfif", ".jpe") else None)
    return path


def _said(folder: Path, resize: int | None = None) -> str:
    return "\n".join(open_data(str(folder), resize=resize).remarks)


_HIDDEN = (".@__thumb/a.png", "deep/.cache/a.png", "@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", "._a.png", "__MACOSX/a.png")


@pytest.mark.parametrize("below", ["", "cat/", "dog/deep/"])
def test_hidden_pictures_are_not_counted_at_any_depth(tmp_path: Path, below: str) -> None:
    for name in ("cat/a.png", "cat/b.png", "dog/deep/a.png") if below else ("a.png", "b.png"):
        _write(tmp_path / name)
    before = open_data(str(tmp_path), resize=6)
    assert before.remarks == ()
    for name in _HIDDEN:
        _write(tmp_path / below / name, size=3)
    (tmp_path / below / ".DS_Store").write_bytes(b"no picture, and nothing to speak of")
    (tmp_path / below / "Thumbs.db").write_bytes(b"so is this")
    after = open_data(str(tmp_path), resize=6)
    assert after.sha256() == before.sha256()
    assert after.classes == before.classes
    assert len(after.remarks) == 1
    assert f"5 hidden ({below}.@__thumb, {below}._a.png, {below}@eaDir, ...)" in after.remarks[0]
    assert "DS_Store" not in after.remarks[0]
    assert "Thumbs" not in after.remarks[0]


def test_trainings_do_not_count_hidden_pictures_either(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("dark/a.png", "dark/b.png", "bright/a.png", "bright/b.png"):
            _write(tmp_path / split / name)
        _write(tmp_path / split / "dark" / ".@__thumb" / "a.png")
    whole, test = open_splits(str(tmp_path))
    assert test is not None
    assert (len(whole.images), len(test.images)) == (4, 4)


@pytest.mark.parametrize("below", ["", "cat/"])
def test_links_that_lead_nowhere_are_refused_by_name_in_every_layout(tmp_path: Path, below: str) -> None:
    for number in range(5):
        link = tmp_path / below / f"{number}.png"
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(tmp_path / "gone.png")
    for _ in range(2):  # at first there is nothing else
        with pytest.raises(UsageError, match=rf"5 links in .* lead nowhere \({below}0.png, {below}1.png, .*, ...\)"):
            open_data(str(tmp_path))
        _write(tmp_path / below / "there.png")


def test_a_class_that_is_a_link_to_nothing_is_refused_by_name(tmp_path: Path) -> None:
    _write(tmp_path / "cat" / "a.png")
    (tmp_path / "dog").symlink_to(tmp_path / "gone")
    with pytest.raises(UsageError, match=r"1 links in .* lead nowhere \(dog\)"):
        open_data(str(tmp_path))


@pytest.mark.parametrize("below", ["", "cat/"])
def test_what_is_left_out_is_counted_by_suffix_and_named(tmp_path: Path, below: str) -> None:
    for number in range(5):
        for suffix in ("png", "gif", "jfif", "jpe"):
            _write(tmp_path / below / f"{number}.{suffix}")
    (tmp_path / below / "LICENSE").write_text("")
    data = open_data(str(tmp_path))
    assert len(data.images) == 15  # a JPEG by any name is one
    expected = f"left out of {tmp_path}: 1 no suffix ({below}LICENSE), 5 .gif ({below}0.gif, {below}1.gif, {below}2.gif"
    assert data.remarks == (f"{expected}, ...)",)


def test_a_folder_of_what_is_not_read_says_what_it_holds(tmp_path: Path) -> None:
    _write(tmp_path / "a.gif")
    with pytest.raises(UsageError, match=r"holds no images \(left out of .*: 1 .gif \(a.gif\)\); expected files"):
        open_data(str(tmp_path))


def test_folders_that_are_linked_in_a_circle_are_refused(tmp_path: Path) -> None:
    _write(tmp_path / "cat" / "a.png")
    _write(tmp_path / "dog" / "a.png")
    (tmp_path / "cat" / "more").symlink_to(tmp_path / "dog")
    assert len(open_data(str(tmp_path)).images) == 3
    (tmp_path / "dog" / "more").symlink_to(tmp_path / "cat")
    with pytest.raises(UsageError, match="is a link to a folder that it is in"):
        open_data(str(tmp_path))


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    _write(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    with pytest.raises(UsageError, match=r"1 of 2 images .*b.png: is a pipe"):
        open_data(str(tmp_path))


def test_classes_whose_names_begin_alike_are_in_torchvision_s_order(tmp_path: Path) -> None:
    for name in ("ant-hill/a.png", "ant/deep/a.png", "ant/a.png", "ant hill/a.png", "ant/deep-er/b.png"):
        _write(tmp_path / name)
    data, expected = open_data(str(tmp_path)), ImageFolder(tmp_path)
    assert torch.equal(data.images, torch.stack([pil_to_tensor(image) for image, _ in expected]))
    assert data.labels is not None
    assert data.labels.tolist() == expected.targets


def test_whole_sets_are_known_whatever_their_case(tmp_path: Path) -> None:
    for name in ("Train/a.png", "Test/a.png", "Validation/a.png"):
        _write(tmp_path / name)
    with pytest.raises(UsageError, match=r"holds whole sets \(Test, Train, Validation\)"):
        open_data(str(tmp_path))


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
    _write(tmp_path / "another.png", 4)
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
    _picture().save(tmp_path / f"a.{kind}", save_all=True, append_images=[_picture()])
    _write(tmp_path / "b.png")
    with pytest.raises(UsageError, match=rf"1 of 2 images .*a.{kind}: holds 2 pictures; expected one"):
        open_data(str(tmp_path))


def test_the_photograph_of_a_camera_that_keeps_aids_beside_it_is_read(tmp_path: Path) -> None:
    _picture().save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[_picture()])
    assert len(open_data(str(tmp_path)).images) == 1


def test_files_of_another_format_than_those_that_are_known_are_refused_by_name(tmp_path: Path) -> None:
    _write(tmp_path / "b.png")
    _picture().save(tmp_path / "a.png", "GIF")
    with pytest.raises(UsageError, match=r"1 of 2 images .*a.png: is none of BMP, JPEG, PNG, PPM, TIFF, WEBP"):
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
        save(_picture(channels=1), tmp_path / f"{number}.png")
    data = open_data(str(tmp_path))
    with Image.open(tmp_path / "0.png") as image:
        assert torch.equal(data.images[0], pil_to_tensor(image.convert("RGB"))[:1])
    assert data.images.shape == (2, 1, 6, 6)
    assert data.remarks == ()


def test_a_stray_file_in_colour_is_named(tmp_path: Path) -> None:
    for number in range(3):
        _write(tmp_path / f"{number}.png", channels=1)
    _write(tmp_path / "stray.png")
    assert open_data(str(tmp_path)).images.shape[1] == 3
    assert "three channels, because of colours in 1 of 4 (stray.png)" in _said(tmp_path)
    for number in range(3):
        _write(tmp_path / f"colour{number}.png")
    assert _said(tmp_path) == ""  # some grey ones among colours are usual


def test_what_is_dropped_or_enlarged_is_said_and_named(tmp_path: Path) -> None:
    _picture(channels=4).save(tmp_path / "through.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    _picture().save(tmp_path / "turned.jpg", exif=turned)
    _picture(5).save(tmp_path / "small.png")
    _picture().convert("RGBA").save(tmp_path / "opaque.png")
    said = _said(tmp_path, resize=6)
    assert "transparency is dropped from 1 of 4 (through.png)" in said
    assert "an orientation in EXIF data is not applied to 1 of 4 (turned.jpg)" in said
    assert "enlarged, since they are smaller than the side asked for: 1 of 4 (small.png)" in said
    assert len(said.splitlines()) == 3


def test_grey_and_coloured_splits_have_one_number_of_channels_or_the_stray_file_is_named(tmp_path: Path) -> None:
    for split, channels in (("train", 3), ("test", 1)):
        for name in ("dark/a.png", "dark/b.png", "bright/a.png"):
            _write(tmp_path / split / name, channels=channels)
    whole, test = open_splits(str(tmp_path))
    assert test is not None
    assert (whole.images.shape[1], test.images.shape[1]) == (3, 3)
    (tmp_path / "train").rename(tmp_path / "colour")
    (tmp_path / "test").rename(tmp_path / "train")
    for name in ("dark/a.png", "dark/b.png", "bright/stray.png", "bright/b.png"):
        _write(tmp_path / "test" / name, channels=3 if "stray" in name else 1)
    with pytest.raises(
        UsageError, match=r"have shape \(4, 3, 6, 6\).* because of colours in 1 of 4 \(bright/stray.png\)"
    ):
        open_splits(str(tmp_path))


def test_what_lies_beside_the_splits_is_said(tmp_path: Path) -> None:
    for name in ("train/a.png", "test/a.png", "val/a.png"):
        _write(tmp_path / name)
    whole, test = open_splits(str(tmp_path))
    assert test is None
    said = "\n".join(whole.remarks)
    assert f"left out of {tmp_path}: val" in said
    assert f"{tmp_path / 'test'} has no part in it, as {tmp_path / 'train'} has no classes" in said


def test_damage_beside_the_pixels_is_passed_over_and_that_of_a_second_picture_is_not(tmp_path: Path) -> None:
    _picture(4).save(tmp_path / "a.jpg", exif=b"Exif\0\0garbage")
    assert len(open_data(str(tmp_path)).images) == 1
    first = _tiff(8)
    content = first[:130] + struct.pack("<I", len(first)) + first[134:]  # where the second is
    (tmp_path / "b.tif").write_bytes(content + struct.pack("<HHHIII", 1, 999, 3, 1, 0, 0))
    with pytest.raises(UsageError, match=r"1 of 2 images .*b.tif: Missing dimensions"):
        open_data(str(tmp_path))
