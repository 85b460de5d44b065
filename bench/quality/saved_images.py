"""All images of a cell in files, for people and for evaluators that are not ours: in a NumPy archive, or a PNG each.

The archive is what the samplers of OpenAI's guided-diffusion (ADM, arXiv 2105.05233) write and its evaluator reads:
`arr_0` (N, H, W, C) uint8 and, of models with classes, `arr_1` (N,) int64. PNGs are called by the numbers of their
images, `000000.png` ..., and a `labels.csv` among them has the classes.
"""

import csv
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from bench.record import IMAGE_FILES, ImageFiles
from models.common.errors import UsageError
from models.common.explain import shown
from models.common.writing import naming, new_folder, replacing

_LABELS = "labels.csv"


def image_files(given: str | None) -> ImageFiles | None:
    """How images are to be saved, as somebody said it; UsageError for what is no way to."""
    for kind in IMAGE_FILES:
        if given == kind:
            return kind
    if given is None:
        return None
    raise UsageError(f"--save-images {shown(given)}; expected {' or '.join(IMAGE_FILES)}")


def refuse_as(kind: ImageFiles, name: str, shape: tuple[int, ...]) -> None:
    """UsageError if images (C, H, W) of the model of this name cannot be saved so."""
    if kind == "png" and shape[0] not in (1, 3):
        raise UsageError(
            f"--save-images png: the images of model {shown(name)} have {shape[0]} channels, and a PNG takes 1 or 3; "
            "npz takes any number"
        )


def save_images(images: Tensor, labels: Tensor | None, path: Path, kind: ImageFiles) -> None:
    """Write images, whole or not at all, in the place of those that are there.

    Args:
        images: uint8 (N, H, W, C), on the CPU.
        labels: their classes, int64 (N,); None: they have none.
        path: file or folder to write.
        kind: which of them, and how.

    Raises:
        NotWritten: names the file.
    """
    arrays = [each.numpy() for each in (images, labels) if each is not None]
    if kind == "npz":
        with replacing(path) as file:
            np.savez(file, *arrays)
        return
    with new_folder(path) as folder, naming(path):
        folder.mkdir()
        digits = max(6, len(str(len(images) - 1)))  # in the order of their names as of their numbers
        names = [f"{number:0{digits}d}.png" for number in range(len(images))]
        for name, image in zip(names, arrays[0], strict=True):
            Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(folder / name)
        if labels is not None:
            with (folder / _LABELS).open("w", newline="", encoding="utf-8") as file_of_labels:
                csv.writer(file_of_labels).writerows([("image", "label"), *zip(names, labels.tolist(), strict=True)])
        if hasattr(os, "sync"):
            os.sync()  # all at once: to flush each takes as long as to make it
        remove_images(path)


def remove_images(path: Path) -> None:
    """Remove what `save_images` has written there, if it has."""
    with naming(path):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
