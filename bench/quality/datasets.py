"""Data sets by name or by folder, whole and in memory as uint8, in an order that never changes.

`cifar10` and `cifar10-test` come through torchvision, which downloads the archive where it is missing and checks the
MD5 of every file before it reads it; `digits` through scikit-learn; anything else is a folder of images, or an .npz
file of pixels. A folder that is called like one of the names is written as a path, `./cifar10`.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from torch import Tensor
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import check_integrity

from bench.quality.downloads import patient, reason
from bench.quality.image_folder import SPLITS, copies_in, read_folder
from bench.quality.images import to_uint8
from models.common.errors import UsageError
from models.common.files import expanded
from models.common.kept import ROOT_VARIABLE as ROOT_VARIABLE
from models.common.kept import data_root as data_root
from models.common.program import bring
from models.common.words import counted
from models.common.writing import replacing
from models.plugins.registry import unknown

ARCHIVE = ".npz"
_OF_ARCHIVES = ("images", "labels", "classes")
_ALSO_CALLED = {"arr_0": "images", "arr_1": "labels"}
"""What guided-diffusion calls the arrays of an archive."""
_MOST_CLASSES = 100_000
"""Whose names are numbers, unless there are more images; the largest data sets have some 20,000."""


@dataclass(frozen=True)
class DataSet:
    """Images in memory.

    Attributes:
        name: what was asked for: a name, or the folder's path.
        images: (N, C, H, W) uint8 on the CPU; C is 1 where every image is grey, else 3.
        labels: (N,) int64, 0 ... len(classes) - 1; None: the images have no classes.
        classes: their names, in the order of the labels.
        resize: the side that images were scaled and cropped to; None: they are as they were stored.
        remarks: what of a folder was left out or counts more than once, in words.
    """

    name: str
    images: Tensor
    labels: Tensor | None
    classes: tuple[str, ...] | None
    resize: int | None = None
    remarks: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        """What it is, in lines for people to read."""
        size = " x ".join(map(str, self.images.shape[1:]))
        return [f"{self.name}: {counted(len(self.images), 'image')} of {size}", *self.remarks]

    def with_channels(self, channels: int) -> "DataSet":
        """The same images with three equal channels instead of one, where three are wanted."""
        if (channels, self.images.shape[1]) != (3, 1):
            return self
        return replace(self, images=self.images.expand(-1, 3, -1, -1).contiguous())

    def sha256(self) -> str:
        """Hexadecimal sha256 of shape, pixels and labels: the same for the same data wherever they are stored."""
        digest = hashlib.sha256(str(tuple(self.images.shape)).encode())
        digest.update(self.images.contiguous().numpy().data)
        if self.labels is not None:
            digest.update(self.labels.contiguous().numpy().data)
        return digest.hexdigest()


def open_data(spec: str, *, resize: int | None = None, download: bool = True) -> DataSet:
    """The data set of a name or folder.

    Args:
        spec: a name of `DATA_SETS`; the path of a folder of images, flat or with one subfolder a class; or that of an
            .npz file, as `write_archive` writes it and guided-diffusion its samples.
        resize: of a folder's images: their shorter side is scaled to this (Pillow's bicubic filter, which averages
            where it shrinks) and the centre square cut out. None: all must have one size.
        download: whether what is missing may be downloaded.

    Raises:
        UsageError: there is no such data set, it cannot be had or read, or its images do not fit together.
    """
    if spec in DATA_SETS:
        if resize is not None:
            raise UsageError(f"data set {spec!r} has one size; resize is for folders of images, leave it out")
        return DATA_SETS[spec](download)
    path = expanded(spec)
    if path.is_dir():
        found = read_folder(path, resize)
        return DataSet(spec, found.images, found.labels, found.classes, resize, found.remarks)
    if is_archive(path):
        if resize is not None:
            raise UsageError(f"data set {spec!r} has one size; resize is for folders of images, leave it out")
        return _read_archive(path)
    raise _no_data(spec)


def check_data(spec: str) -> None:
    """UsageError unless there is such a data set, before anything is read of it or made for it."""
    path = expanded(spec)
    if spec not in DATA_SETS and not path.is_dir() and not is_archive(path):
        raise _no_data(spec)


def _no_data(spec: str) -> UsageError:
    if expanded(spec).exists() or os.sep in spec:
        return UsageError(
            f"{spec!r} is no folder of images; expected one of {', '.join(DATA_SETS)}, a folder, or an {ARCHIVE} file"
        )
    return unknown("data set (nor is it a folder)", spec, DATA_SETS)


def is_archive(path: Path) -> bool:
    """Whether a path is that of an .npz file, however its suffix is written."""
    return path.is_file() and path.suffix.lower() == ARCHIVE


def name_of(spec: str) -> str:
    """What the data of a name or path are called: a folder or file, but for one that is called after a part, `test`.

    "letters/train" and "letters/test.npz" are both letters.
    """
    path = expanded(spec).resolve()
    path = path.with_suffix("") if is_archive(path) else path
    while path.name.lower() in SPLITS and path.parent.name:
        path = path.parent
    return path.name


def write_archive(path: Path, data: DataSet) -> None:
    """Write a data set as one uncompressed .npz file, which is read in the time that its bytes take.

    The arrays are `images` (N, H, W, C) uint8 and, where there are classes, `labels` (N,) int64 and `classes`.
    """
    arrays = {"images": data.images.movedim(1, 3).numpy()}
    if data.labels is not None:
        arrays |= {"labels": data.labels.numpy(), "classes": np.array(data.classes)}
    with replacing(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stubs take the names for those of its own options


def _read_archive(path: Path) -> DataSet:
    """The data set of an .npz file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            for name, ours in _ALSO_CALLED.items():
                if {name, ours} <= {*file.files}:
                    raise UsageError(f"{str(path)!r} holds {ours} twice, as {ours!r} and as {name!r}; leave one out")
            arrays = {_ALSO_CALLED.get(name, name): file[name] for name in file.files}
    except UsageError:
        raise
    except (OSError, ValueError, BadZipFile) as error:
        raise UsageError(f"cannot read {str(path)!r}: {error}; expected arrays of numbers") from None
    images, labels = arrays.get("images"), arrays.get("labels")
    others = [f"{name} {array.dtype} {array.shape}" for name, array in arrays.items() if name not in _OF_ARCHIVES]
    remarks = (f"left out of {path}: {', '.join(others)}",) if others else ()
    if (
        images is None
        or images.dtype != np.uint8
        or images.ndim != 4
        or images.shape[3] not in (1, 3)
        or not len(images)
    ):
        found = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in arrays.items()) or "nothing"
        raise UsageError(f"{path} holds {found}; expected images (N, H, W, C), uint8, with 1 or 3 channels")
    images = images[..., :1] if (images == images[..., :1]).all() else images  # grey, as of a folder
    pixels = torch.from_numpy(images).movedim(3, 1).contiguous()
    if again := copies_in(pixels):
        copies = f"{len(again)} of {len(pixels)} are copies of others of them, with the same pixels"
        remarks = (*remarks, f"{path}: {copies}, which so count more than once")
    if labels is None:
        return DataSet(str(path), pixels, None, None, remarks=remarks)
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise UsageError(
            f"{path}: its labels are {labels.dtype} {labels.shape}; expected ({len(images)},), 0 and above"
        )
    classes = _classes(path, arrays.get("classes"), int(labels.max()), len(images))
    return DataSet(str(path), pixels, torch.from_numpy(labels.astype(np.int64)), classes, remarks=remarks)


def _classes(path: Path, given: np.ndarray[Any, Any] | None, highest: int, images: int) -> tuple[str, ...]:
    """The names of the classes of an .npz file: those that it gives, or numbers up to the highest label."""
    if given is None:
        if highest >= (most := max(images, _MOST_CLASSES)):
            raise UsageError(
                f"{path} has a label {highest} and no names of classes; expected labels below {most:,}, counted from 0 "
                "without gaps"
            )
        return tuple(map(str, range(highest + 1)))
    if given.ndim != 1:
        raise UsageError(f"{path}: its classes are {given.dtype} {given.shape}; expected a name each")
    classes = tuple(map(str, given))
    if twice := [name for name, times in Counter(classes).items() if times > 1]:
        raise UsageError(f"{path} gives {len(twice)} classes a name that another has, such as {twice[0]!r}; rename one")
    if highest >= len(classes):
        raise UsageError(f"{path} has a label {highest}, but {len(classes)} classes")
    return classes


def holds_images(path: Path) -> bool:
    """Whether an .npz file is a data set, and not statistics of one."""
    try:
        with ZipFile(path) as file:
            return not {"images.npy", "arr_0.npy"}.isdisjoint(file.namelist())
    except (OSError, BadZipFile):
        return False


def load_digits() -> tuple[Tensor, Tensor]:
    """scikit-learn's handwritten digits: images (1797, 1, 8, 8) float32 in [-1, 1], labels (1797,) int64."""
    try:
        from sklearn.datasets import load_digits as load
    except ImportError:
        raise UsageError(
            f"the digits need scikit-learn, which comes with the extra 'train': {bring('train')}"
        ) from None
    data = load()
    return torch.tensor(data.images, dtype=torch.float32)[:, None] / 8.0 - 1.0, torch.tensor(data.target)


def _digits(download: bool) -> DataSet:
    images, labels = load_digits()
    return DataSet("digits", to_uint8(images), labels, tuple("0123456789"))


def _cifar10(name: str, train: bool) -> Callable[[bool], DataSet]:
    def load(download: bool) -> DataSet:
        data = _read_cifar10(data_root(), train, download)
        images = torch.from_numpy(data.data).movedim(3, 1).contiguous()
        return DataSet(name, images, torch.tensor(data.targets), tuple(data.classes))

    return load


def _read_cifar10(root: Path, train: bool, download: bool) -> CIFAR10:
    # an archive that is there already is unpacked, which takes no download
    allowed = download or check_integrity(root / CIFAR10.filename, CIFAR10.tgz_md5)
    try:
        with patient():
            return CIFAR10(root, train=train, download=allowed)
    except (OSError, RuntimeError, EOFError) as error:  # URLError is an OSError; torchvision says RuntimeError
        tried = "cannot be downloaded" if allowed else "is not there, and downloads are off"
        raise UsageError(
            f"CIFAR-10 {tried} ({reason(error, CIFAR10.url)}). Put {CIFAR10.filename} (MD5 {CIFAR10.tgz_md5}) from "
            f"{CIFAR10.url} into {root}, where it is found and unpacked, or name another folder in the environment "
            f"variable {ROOT_VARIABLE}; a folder of images can be given by its path"
        ) from None


DATA_SETS: dict[str, Callable[[bool], DataSet]] = {
    "cifar10": _cifar10("cifar10", train=True),
    "cifar10-test": _cifar10("cifar10-test", train=False),
    "digits": _digits,
}
"""What there is by name; each is told whether it may download."""
