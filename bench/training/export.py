"""What trainings write: a card, a config, weights in shards if they are large."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.quality.datasets import DataSet
from bench.training.checkpoint import write_shards
from bench.training.recipe import Recipe
from models.cards.card import Card, FolderCard
from models.common.files import sha256_of
from models.common.writing import write_text
from models.loading.diffusers_folder import CONFIG, WEIGHTS
from models.loading.sources import CARD

_SOURCES = {
    "cifar10": "CIFAR-10 (A. Krizhevsky, 2009), the 50,000 training images, through torchvision",
    "digits": "scikit-learn load_digits: the 1,797 test images of UCI's Optical Recognition of Handwritten Digits",
    "cifar10-test": "CIFAR-10 (A. Krizhevsky, 2009), the 10,000 test images, through torchvision",
}


def write_weights(folder: Path, state: Mapping[str, Tensor], shard_mib: float) -> None:
    """Weights as diffusers stores them: in one file, or in shards with an index beside them."""
    shards = write_shards(folder, state, WEIGHTS.removesuffix(".safetensors"), shard_mib)
    if len(shards) == 1:
        return
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    index = {
        "metadata": {"total_size": size},
        "weight_map": {name: file for file, names in sorted(shards.items()) for name in names},
    }
    write_text(folder / f"{WEIGHTS}.index.json", json.dumps(index, indent=1) + "\n")


def write_unet(folder: Path, config: dict[str, Any], state: Mapping[str, Tensor], shard_mib: float) -> None:
    """Config and weights of a U-Net of diffusers."""
    write_weights(folder, state, shard_mib)
    write_text(folder / CONFIG, json.dumps({"_class_name": "UNet2DModel"} | config, indent=1) + "\n")


def to_storage(state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Weights on the CPU as they are stored: matrices and kernels in a dtype, vectors and counts as they are.

    Variances of batch norm can be too small for half precision, and vectors take no space.
    """
    kept = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    return {
        name: value.to(dtype) if value.is_floating_point() and value.ndim > 1 else value for name, value in kept.items()
    }


def source_of(data: DataSet, spec: str) -> str:
    """What a card says of the data that were asked for as `spec`."""
    return _SOURCES.get(spec, f"{len(data.images):,} images of the folder {Path(spec).resolve().name!r}")


def settings_of(recipe: Recipe) -> dict[str, int | float | str]:
    """A recipe as a card states it."""
    return {name: int(value) if isinstance(value, bool) else value for name, value in asdict(recipe).items()}


def write_card(folder: Path, content: dict[str, Any], kind: type[FolderCard] = Card) -> None:
    """The card of a folder, with the hash of every file that is there."""
    import tomli_w  # only training writes TOML

    present = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CARD)
    files = {path.relative_to(folder).as_posix(): sha256_of(path) for path in present}
    card = content | {"files": files}
    kind.model_validate(card)
    write_text(folder / CARD, tomli_w.dumps(card))


def replace_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Write a folder beside its place, then put it there: a kill leaves the one before, or none, but never a half.

    Args:
        folder: its place.
        write: fills an empty folder.
    """
    new, old = folder.with_name(f"{folder.name}.new"), folder.with_name(f"{folder.name}.old")
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    new.mkdir(parents=True)
    write(new)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
