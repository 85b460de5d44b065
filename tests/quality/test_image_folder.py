"""What of a folder is counted: every picture that was meant, as it is, and a word on all that is not."""

import os
from pathlib import Path

import pytest
import torch
from photographs import picture, write_picture
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms.functional import pil_to_tensor

from bench.quality.datasets import open_data, write_archive
from bench.training.job import open_splits
from models.common.errors import UsageError


def _said(folder: Path, resize: int | None = None) -> str:
    return "\n".join(open_data(str(folder), resize=resize).remarks)


_HIDDEN = (".@__thumb/a.png", "deep/.cache/a.png", "@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", "._a.png", "__MACOSX/a.png")


@pytest.mark.parametrize("below", ["", "cat/", "dog/deep/"])
def test_hidden_pictures_are_not_counted_at_any_depth(tmp_path: Path, below: str) -> None:
    for name in ("cat/a.png", "cat/b.png", "dog/deep/a.png") if below else ("a.png", "b.png"):
        write_picture(tmp_path / name)
    before = open_data(str(tmp_path), resize=6)
    assert before.remarks == ()
    for name in _HIDDEN:
        write_picture(tmp_path / below / name, size=3)
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
            write_picture(tmp_path / split / name)
        write_picture(tmp_path / split / "dark" / ".@__thumb" / "a.png")
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
        write_picture(tmp_path / below / "there.png")


def test_a_class_that_is_a_link_to_nothing_is_refused_by_name(tmp_path: Path) -> None:
    write_picture(tmp_path / "cat" / "a.png")
    (tmp_path / "dog").symlink_to(tmp_path / "gone")
    with pytest.raises(UsageError, match=r"1 links in .* lead nowhere \(dog\)"):
        open_data(str(tmp_path))


@pytest.mark.parametrize("below", ["", "cat/"])
def test_what_is_left_out_is_counted_by_suffix_and_named(tmp_path: Path, below: str) -> None:
    for number in range(5):
        for suffix in ("png", "gif", "jfif", "jpe"):
            write_picture(tmp_path / below / f"{number}.{suffix}")
    (tmp_path / below / "LICENSE").write_text("")
    data = open_data(str(tmp_path))
    assert len(data.images) == 15  # a JPEG by any name is one
    expected = f"left out of {tmp_path}: 1 no suffix ({below}LICENSE), 5 .gif ({below}0.gif, {below}1.gif, {below}2.gif"
    assert data.remarks == (f"{expected}, ...)",)


def test_a_folder_of_what_is_not_read_says_what_it_holds(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.gif")
    with pytest.raises(UsageError, match=r"holds no images \(left out of .*: 1 .gif \(a.gif\)\); expected files"):
        open_data(str(tmp_path))


def test_folders_that_are_linked_in_a_circle_are_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "cat" / "a.png")
    write_picture(tmp_path / "dog" / "a.png")
    (tmp_path / "cat" / "more").symlink_to(tmp_path / "dog")
    assert len(open_data(str(tmp_path)).images) == 3
    (tmp_path / "dog" / "more").symlink_to(tmp_path / "cat")
    with pytest.raises(UsageError, match="is a link to a folder that it is in"):
        open_data(str(tmp_path))


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    with pytest.raises(UsageError, match=r"1 of 2 images .*b.png: is a pipe"):
        open_data(str(tmp_path))


def test_classes_whose_names_begin_alike_are_in_torchvision_s_order(tmp_path: Path) -> None:
    for name in ("ant-hill/a.png", "ant/deep/a.png", "ant/a.png", "ant hill/a.png", "ant/deep-er/b.png"):
        write_picture(tmp_path / name)
    data, expected = open_data(str(tmp_path)), ImageFolder(tmp_path)
    assert torch.equal(data.images, torch.stack([pil_to_tensor(image) for image, _ in expected]))
    assert data.labels is not None
    assert data.labels.tolist() == expected.targets


def test_whole_sets_are_known_whatever_their_case(tmp_path: Path) -> None:
    for name in ("Train/a.png", "Test/a.png", "Validation/a.png"):
        write_picture(tmp_path / name)
    with pytest.raises(UsageError, match=r"holds whole sets \(Test, Train, Validation\)"):
        open_data(str(tmp_path))


def test_a_stray_file_in_colour_is_named(tmp_path: Path) -> None:
    for number in range(3):
        write_picture(tmp_path / f"{number}.png", channels=1)
    write_picture(tmp_path / "stray.png")
    assert open_data(str(tmp_path)).images.shape[1] == 3
    assert "three channels, because of colours in 1 of 4 (stray.png)" in _said(tmp_path)
    for number in range(3):
        write_picture(tmp_path / f"colour{number}.png")
    assert _said(tmp_path) == ""  # some grey ones among colours are usual


def test_what_is_dropped_or_enlarged_is_said_and_named(tmp_path: Path) -> None:
    picture(channels=4).save(tmp_path / "through.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    picture().save(tmp_path / "turned.jpg", exif=turned)
    picture(5).save(tmp_path / "small.png")
    picture().convert("RGBA").save(tmp_path / "opaque.png")
    said = _said(tmp_path, resize=6)
    assert "transparency is dropped from 1 of 4 (through.png)" in said
    assert "an orientation in EXIF data is not applied to 1 of 4 (turned.jpg)" in said
    assert "enlarged, since they are smaller than the side asked for: 1 of 4 (small.png)" in said
    assert len(said.splitlines()) == 3


def test_grey_and_coloured_splits_have_one_number_of_channels_or_the_stray_file_is_named(tmp_path: Path) -> None:
    for split, channels in (("train", 3), ("test", 1)):
        for name in ("dark/a.png", "dark/b.png", "bright/a.png"):
            write_picture(tmp_path / split / name, channels=channels)
    whole, test = open_splits(str(tmp_path))
    assert test is not None
    assert (whole.images.shape[1], test.images.shape[1]) == (3, 3)
    (tmp_path / "train").rename(tmp_path / "colour")
    (tmp_path / "test").rename(tmp_path / "train")
    for name in ("dark/a.png", "dark/b.png", "bright/stray.png", "bright/b.png"):
        write_picture(tmp_path / "test" / name, channels=3 if "stray" in name else 1)
    with pytest.raises(
        UsageError, match=r"have shape \(4, 3, 6, 6\).* because of colours in 1 of 4 \(bright/stray.png\)"
    ):
        open_splits(str(tmp_path))


def test_what_lies_beside_the_splits_is_said(tmp_path: Path) -> None:
    for name in ("train/a.png", "test/a.png", "val/a.png"):
        write_picture(tmp_path / name)
    whole, test = open_splits(str(tmp_path))
    assert test is None
    said = "\n".join(whole.remarks)
    assert f"left out of {tmp_path}: val" in said
    assert f"{tmp_path / 'test'} has no part in it, as {tmp_path / 'train'} has no classes" in said


@pytest.mark.parametrize("kind", ["symbolic", "hard", "folder"])
def test_pictures_that_links_make_count_twice_are_said(tmp_path: Path, kind: str) -> None:
    for name in ("cat/a.png", "cat/b.png", "dog/c.png"):
        write_picture(tmp_path / name)
    assert _said(tmp_path) == ""
    if kind == "folder":
        (tmp_path / "dog" / "more").symlink_to(tmp_path / "cat")
        which = "2 of 5 are links to others of them, which so count more than once (dog/more/a.png, dog/more/b.png)"
    else:
        link = tmp_path / "dog" / "z.png"
        link.symlink_to(tmp_path / "cat" / "a.png") if kind == "symbolic" else link.hardlink_to(
            tmp_path / "cat" / "a.png"
        )
        which = "1 of 4 are links to others of them, which so count more than once (dog/z.png)"
    assert _said(tmp_path) == f"{tmp_path}: {which}"


@pytest.mark.parametrize("below", ["", "cat/"])
def test_copies_of_a_picture_are_counted_and_said(tmp_path: Path, below: str) -> None:
    for name in ("a", "b", "c"):
        write_picture(tmp_path / below / f"{name}.png")
    assert _said(tmp_path) == ""
    first = (tmp_path / below / "a.png").read_bytes()
    (tmp_path / below / "d.png").write_bytes(first)
    with Image.open(tmp_path / below / "b.png") as other:
        other.save(tmp_path / below / "e.bmp")  # other bytes, the same pixels
    told = "2 of 5 are copies of others of them, with the same pixels, which so count more than once"
    data = open_data(str(tmp_path))
    assert data.words[1:] == [f"{tmp_path}: {told} ({below}d.png, {below}e.bmp)"]
    assert len(data.images) == 5
    write_archive(tmp_path / "data.npz", data)
    archive = open_data(str(tmp_path / "data.npz"))
    assert archive.words[1:] == [f"{tmp_path / 'data.npz'}: {told}"]
    assert len(archive.images) == 5
