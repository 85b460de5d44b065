"""A folder of image files as one uint8 tensor.

Files are ordered by name, classes as torchvision's `ImageFolder` orders them: by the sorted names of the subfolders.
Where every picture is grey (its channels are equal, whatever the file calls them) the images have one channel,
otherwise all have three. Names that begin with a dot are passed over at every depth, and so are those under which
systems keep thumbnails and waste. `Images.remarks` says so, as it does of all else that was left out, and of pictures
that count more than once, through links or as copies.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from bench.quality.image_file import COLOUR, ENLARGED, SUFFIXES, TRANSPARENT, TURNED, UNREADABLE, read_image
from models.common.errors import UsageError

SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation"}
"""What the parts of a data set are called."""

_SYSTEMS = {"@eadir", "@recycle", "#recycle", "$recycle.bin", "__macosx", "thumbs.db", "desktop.ini"}
_NAMED = 3  # files that a message names; it counts them all
_TOLD = {
    COLOUR: "all images have three channels, because of colours in",
    TRANSPARENT: "transparency is dropped from",
    TURNED: "an orientation in EXIF data is not applied to",
    ENLARGED: "enlarged, since they are smaller than the side asked for:",
}


@dataclass(frozen=True)
class Images:
    """What a folder holds.

    Attributes:
        images: (N, C, H, W) uint8; C is 1 where all are grey, else 3.
        labels: (N,) int64, 0 ... len(classes) - 1; None for a flat folder.
        classes: their names; None for a flat folder.
        remarks: what was left out, dropped, made larger or counted more than once, in words.
    """

    images: Tensor
    labels: Tensor | None
    classes: tuple[str, ...] | None
    remarks: tuple[str, ...]


def read_folder(folder: Path, resize: int | None = None) -> Images:
    """Every image of a folder.

    Args:
        folder: holds image files, or one subfolder of them a class.
        resize: side that images are scaled and cropped to, or None where all must have one size.

    Raises:
        UsageError: no images, or images beside subfolders of images; a file that cannot be read, has another size, more
            than 8 bits a channel or several pictures; a link to no file.
    """
    if resize is not None and resize < 1:
        raise UsageError(f"resize must be at least 1 pixel, got {resize}")
    seen, hidden = walk(folder)
    if broken := [path for path in seen if path.is_symlink() and not path.exists()]:
        raise UsageError(
            f"{len(broken)} links in {folder} lead nowhere ({_names(folder, broken)}); mend or remove them"
        )
    files, others = [path for path in seen if _is_image(path)], [path for path in seen if not _is_image(path)]
    left_out = _left_out(folder, others, hidden)
    labels, classes = _classes(folder, files, left_out)
    images, remarks = _read(folder, files, resize)
    return Images(images, labels, classes, (*left_out, *_repeated(folder, files, images), *remarks))


def copies_in(images: Tensor) -> list[int]:
    """Which of some images (N, C, H, W) have the pixels of one before them, in order."""
    seen, again = set[bytes](), list[int]()
    for number, digest in enumerate(_digests(images)):
        if digest in seen:
            again.append(number)
        seen.add(digest)
    return again


def shared(images: Tensor, others: Tensor) -> int:
    """How many of some images (N, C, H, W) have the pixels of one of others."""
    known = set(_digests(others))
    return sum(digest in known for digest in _digests(images))


def _digests(images: Tensor) -> Iterator[bytes]:
    return (hashlib.sha256(image.tobytes()).digest() for image in images.numpy())


def walk(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files below a folder by class, folder and name, links to nothing too, and what is passed over of images and
    folders.

    Raises:
        UsageError: a folder that cannot be read, or a link to one that the link is in, whose files would count twice.
    """
    found: list[Path] = []
    hidden: list[Path] = []
    for root, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        here = Path(root)
        hidden += [here / name for name in folders + names if _is_hidden(name) and (name in folders or _is_image(name))]
        folders[:] = [name for name in folders if not _is_hidden(name)]
        found += [here / name for name in names if not _is_hidden(name)]
        for link in (here / name for name in folders if (here / name).is_symlink()):
            if link.resolve() in {each.resolve() for each in (here, *here.parents)}:
                raise UsageError(f"{link} is a link to a folder that it is in, {link.resolve()}; remove it")
    return sorted(found, key=lambda path: _order(folder, path)), sorted(hidden)


def _order(folder: Path, path: Path) -> tuple[str, str, str]:
    first, *rest = path.relative_to(folder).parts
    return first if rest else "", str(path.parent), path.name


def _refuse(error: OSError) -> NoReturn:
    raise UsageError(f"cannot read all of the folder: {error}")


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEMS


def _is_image(path: Path | str) -> bool:
    return Path(path).suffix.lower() in SUFFIXES


def _left_out(folder: Path, others: Sequence[Path], hidden: Sequence[Path]) -> list[str]:
    """A remark on files that are not read, if there are any."""
    by_suffix = sorted(others, key=lambda path: path.suffix.lower())
    groups = {suffix or "no suffix": list(each) for suffix, each in groupby(by_suffix, lambda p: p.suffix.lower())}
    groups |= {"hidden": list(hidden)} if hidden else {}
    said = [f"{len(paths)} {kind} ({_names(folder, paths)})" for kind, paths in groups.items()]
    return [f"left out of {folder}: {', '.join(said)}"] if said else []


def _repeated(folder: Path, files: Sequence[Path], images: Tensor) -> list[str]:
    """Remarks on files that are others by another name, through links, and on those that have the pixels of others."""
    seen, links = set[tuple[int, int]](), list[Path]()
    for path in files:
        found = path.stat()
        if found.st_ino and (found.st_dev, found.st_ino) in seen:
            links.append(path)
        seen.add((found.st_dev, found.st_ino))
    linked = set(links)
    copies = [path for path in (files[number] for number in copies_in(images)) if path not in linked]
    told = {"links to others of them": links, "copies of others of them, with the same pixels": copies}
    return [
        f"{folder}: {len(again)} of {len(files)} are {what}, which so count more than once ({_names(folder, again)})"
        for what, again in told.items()
        if again
    ]


def _names(folder: Path, paths: Sequence[Path]) -> str:
    more = ", ..." if len(paths) > _NAMED else ""
    return ", ".join(str(path.relative_to(folder)) for path in paths[:_NAMED]) + more


def _classes(
    folder: Path, files: Sequence[Path], left_out: Sequence[str]
) -> tuple[Tensor | None, tuple[str, ...] | None]:
    """Labels and names of the classes, None and None for a flat folder; UsageError for what is no one data set."""
    parts = [path.relative_to(folder).parts for path in files]
    filled = tuple(sorted({part[0] for part in parts if len(part) > 1}))
    if filled and len(filled) < len({part[0] for part in parts}):
        raise UsageError(f"{folder} holds images and also subfolders of images ({filled[0]!r}); expected one or other")
    why = "".join(f" ({each})" for each in left_out)
    if not files:
        raise UsageError(f"{folder} holds no images{why}; expected files that end in {', '.join(SUFFIXES)}")
    if not filled:
        return None, None
    if {name.lower() for name in filled} <= SPLITS:
        raise UsageError(f"{folder} holds whole sets ({', '.join(filled)}); name one, such as {folder / filled[0]}")
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not _is_hidden(path.name) and path.name not in filled:
            raise UsageError(f"{path} holds no images{why}, but is a class beside {filled[0]!r}; fill or remove it")
    number = {name: label for label, name in enumerate(filled)}
    return torch.tensor([number[part[0]] for part in parts]), filled


def _read(folder: Path, files: Sequence[Path], resize: int | None) -> tuple[Tensor, list[str]]:
    """The images (N, C, H, W) of files, and remarks on them."""
    expected = _first_shape(files, resize)
    images = np.empty((len(files), 3, *expected[:2]), dtype=np.uint8)

    def fill(at: int) -> frozenset[str] | str:
        """The traits of an image, or what is wrong with it."""
        try:
            picture = read_image(files[at], resize)
        except UNREADABLE as error:
            return f"{files[at]}: {error}"
        if picture.pixels.shape != expected:
            return f"{files[at]} is {_size(picture.pixels.shape)}, others are {_size(expected)}"
        images[at] = picture.pixels.transpose(2, 0, 1)
        return picture.traits

    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(fill, range(len(files))))
    if faults := [outcome for outcome in outcomes if isinstance(outcome, str)]:
        more = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        raise UsageError(
            f"{len(faults)} of {len(files)} images cannot be used: {'; '.join(faults[:_NAMED])}{more}. "
            "Repair or remove them; where only sizes differ, give resize"
        )
    traits = [outcome for outcome in outcomes if not isinstance(outcome, str)]
    coloured = any(COLOUR in each for each in traits)
    return torch.from_numpy(images if coloured else images[:, :1].copy()), _remarks(folder, files, traits)


def _remarks(folder: Path, files: Sequence[Path], traits: Sequence[frozenset[str]]) -> list[str]:
    """What was dropped or enlarged, and which colours are out of line."""
    having = {trait: [file for file, has in zip(files, traits, strict=True) if trait in has] for trait in _TOLD}
    if 2 * len(having[COLOUR]) >= len(files):  # a folder of colours with some grey ones is as it should be
        del having[COLOUR]
    return [
        f"{folder}: {_TOLD[trait]} {len(some)} of {len(files)} ({_names(folder, some)})"
        for trait, some in having.items()
        if some
    ]


def _first_shape(files: Sequence[Path], resize: int | None) -> tuple[int, ...]:
    """The shape of the first image that can be read, which the others have to have."""
    for path in files:
        try:
            return tuple(read_image(path, resize).pixels.shape)
        except UNREADABLE as error:  # the file is named below, with all others, if one can be read
            last = error
    raise UsageError(f"none of the {len(files)} image files like {files[-1]} can be read: {last}")


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"
