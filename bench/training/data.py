"""What trainings on images learn from: the data to train on, the data to test on, and what is said of them."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from bench.environment import device_name
from bench.escape import terminal_text
from bench.quality.datasets import DATA_SETS, DataSet, is_archive, open_data
from bench.quality.image_folder import shared
from models.common.errors import UsageError
from models.common.files import expanded

Say = Callable[[str], None]
"""Takes a line for people to read."""

HELD_OUT = 10
"""Of data without a test set every tenth image is kept from the extractor."""

_PART = ", a part"
_SOURCES = {
    "cifar10": "CIFAR-10 (A. Krizhevsky, 2009), the 50,000 training images, through torchvision",
    "digits": "scikit-learn load_digits: the 1,797 test images of UCI's Optical Recognition of Handwritten Digits",
    "cifar10-test": "CIFAR-10 (A. Krizhevsky, 2009), the 10,000 test images, through torchvision",
}


def to_stderr(line: str) -> None:
    """What `say` is unless told otherwise."""
    print(terminal_text(line), file=sys.stderr, flush=True)


def source_of(data: DataSet, spec: str) -> str:
    """What a card says of the data that were asked for as `spec`."""
    return _SOURCES.get(spec, f"{len(data.images):,} images of the folder {Path(spec).resolve().name!r}")


def announce(data: DataSet, test_set: DataSet | None, device: torch.device, say: Say) -> None:
    """Say what is trained on which data, and what of those is left out."""
    for line in (*data.words, *(test_set.words if test_set is not None and has_test_set(test_set) else ())):
        say(line)
    say(f"trained on {device_name(device)}")


def side_of(shape: tuple[int, ...], what: str, multiple_of: int = 1) -> int:
    """The side of square images (C, H, W); UsageError if they are not squares that `what` takes.

    Args:
        shape: of the images.
        what: the network, for the message.
        multiple_of: what the side has to be divisible by.
    """
    _, height, width = shape
    if height != width or height % multiple_of:
        sides = f" whose side is a multiple of {multiple_of}" if multiple_of > 1 else ""
        raise UsageError(
            f"images of {width} x {height} pixels; {what} takes squares{sides}. Give a folder of such images"
        )
    return height


def open_splits(spec: str) -> tuple[DataSet, DataSet | None]:
    """The images to train on, and labelled ones to test a classifier on; None where there are no classes.

    Args:
        spec: as `open_data` takes it, or a folder with `train` in it and perhaps `test`, each a folder or an .npz file.

    Without a test set every tenth image serves as one; the first of the two still holds all.
    """
    train, held_out = _split(expanded(spec), "train"), _split(expanded(spec), "test")
    if spec not in DATA_SETS and train is not None:
        whole = _beside_others(open_data(str(train)), train, held_out)
        test = None if held_out is None else open_data(str(held_out))
    else:
        whole = open_data(spec)
        test = open_data(f"{spec}-test") if f"{spec}-test" in DATA_SETS else None
    if whole.labels is None or len(whole.classes or ()) < 2:  # one class teaches an extractor nothing
        unused = () if test is None else (f"{test.name} has no part in it, as {whole.name} has no classes",)
        return replace(whole, remarks=(*whole.remarks, *unused)), None
    test = part(whole, slice(HELD_OUT - 1, None, HELD_OUT)) if test is None else test
    test = test.with_channels(whole.images.shape[1])
    if test.images.shape[1:] != whole.images.shape[1:] or not len(test.images):
        why = "".join(f". {remark}" for remark in test.remarks)
        raise UsageError(
            f"images of {test.name} have shape {tuple(test.images.shape)}, those of {whole.name} "
            f"{tuple(whole.images.shape)}, each (count, channels, height, width); all but the count must agree, and "
            f"there must be some of each{why}"
        )
    if has_test_set(test) and (again := shared(test.images, whole.images)):
        said = f"{again:,} of {len(test.images):,} are among the images to train on, with the same pixels"
        test = replace(test, remarks=(*test.remarks, f"{test.name}: {said}: what is measured on it looks too good"))
    return whole, test


def _split(folder: Path, name: str) -> Path | None:
    """A part of a data set, a folder or a file in its folder; None if it is not there."""
    if (folder / name).is_dir():
        return folder / name
    there = sorted(folder.iterdir()) if folder.is_dir() else ()
    return next((path for path in there if is_archive(path) and path.stem == name), None)


def _beside_others(train_set: DataSet, train: Path, test: Path | None) -> DataSet:
    """The images to train on with a remark on what lies beside them and those to test on."""
    names = (path.name for path in train.parent.iterdir() if path not in (train, test))
    others = sorted(name for name in names if not name.startswith("."))
    said = (f"left out of {train.parent}: {', '.join(others)}",) if others else ()
    return replace(train_set, remarks=(*train_set.remarks, *said))


def has_test_set(test_set: DataSet | None) -> bool:
    """Whether the images to test on are not among those of the whole."""
    return test_set is not None and not test_set.name.endswith(_PART)


def part(data: DataSet, which: slice | Tensor) -> DataSet:
    """Some of the images."""
    labels = None if data.labels is None else data.labels[which]
    return DataSet(f"{data.name}{_PART}", data.images[which], labels, data.classes, data.resize)
