"""The folders that trainings write: weights, a config, and the card, which has the hash of every file."""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.environment import device_name
from bench.quality.datasets import DATA_SETS, DataSet
from bench.training.checkpoint import write_shards
from bench.training.data import source_of
from bench.training.loop import Trained
from bench.training.options import TrainingOptions
from bench.training.recipe import Recipe
from models.cards.card import Card
from models.cards.folder_card import FolderCard
from models.common.errors import UsageError
from models.common.files import sha256_of
from models.common.program import bring, called
from models.common.writing import write_text
from models.loading.layout import CONFIG, WEIGHTS
from models.loading.sources import CARD, load_measuring_card

MODEL = "model"
"""What comes out, in the folder of a training."""


def check_writing(out: Path, kind: type[FolderCard]) -> None:
    """UsageError if what a training writes could not be written at its end, which is hours away.

    Args:
        out: its folder.
        kind: what it will write into `out / "model"`; something of another kind there is not overwritten.
    """
    if (out / MODEL / CARD).is_file() and not isinstance(load_measuring_card(out / MODEL), kind):
        raise UsageError(f"{out / MODEL} holds something else; write elsewhere with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise UsageError(f"cannot write to {str(out)!r}: {error}; choose another folder with --out") from None
    if find_spec("tomli_w") is None:
        raise UsageError(f"training writes TOML, for which tomli-w comes with the extra 'train': {bring('train')}")


def write_folder(out: Path, write: Callable[[Path], None]) -> Path:
    """Write a folder beside its place, then put it there: a kill leaves the one before, or none, but never a half.

    Args:
        out: folder of the training.
        write: fills an empty folder.

    Returns:
        Its place, `out / "model"`.
    """
    folder, new, old = (out / f"{MODEL}{ending}" for ending in ("", ".new", ".old"))
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    new.mkdir(parents=True)
    write(new)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    return folder


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a config, in a folder that need not be there."""
    path.parent.mkdir(exist_ok=True)
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_network(folder: Path, config: Mapping[str, Any], state: Mapping[str, Tensor], shard_mib: float) -> None:
    """Config and weights as diffusers stores them: in one file, or in shards with an index beside them."""
    write_json(folder / CONFIG, config)
    shards = write_shards(folder, state, WEIGHTS.removesuffix(".safetensors"), shard_mib)
    if len(shards) > 1:
        size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
        where = {name: file for file, names in sorted(shards.items()) for name in names}
        write_json(folder / f"{WEIGHTS}.index.json", {"metadata": {"total_size": size}, "weight_map": where})


def to_storage(state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Weights on the CPU as they are stored: matrices and kernels in a dtype, vectors and counts as they are.

    Variances of batch norm can be too small for half precision, and vectors take no space.
    """
    kept = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    return {
        name: value.to(dtype) if value.is_floating_point() and value.ndim > 1 else value for name, value in kept.items()
    }


def write_card(folder: Path, content: dict[str, Any], kind: type[FolderCard] = Card) -> None:
    """The card of a folder, with the hash of every file that is there."""
    import tomli_w  # only training writes TOML

    present = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CARD)
    files = {path.relative_to(folder).as_posix(): sha256_of(path) for path in present}
    card = content | {"files": files}
    kind.model_validate(card)
    write_text(folder / CARD, tomli_w.dumps(card))


def training_of(recipe: Recipe, trained: Trained) -> dict[str, Any]:
    """What a card says of every training: the recipe, and what came of it."""
    recipe_said = {name: int(value) if isinstance(value, bool) else value for name, value in asdict(recipe).items()}
    return recipe_said | {"weights": "EMA", "seconds": round(trained.seconds), "loss": trained.loss}


def card_of(options: TrainingOptions, data: DataSet, recipe: Recipe, trained: Trained, stored: str) -> dict[str, Any]:
    """What cards of both trainings on images say, but for what made it; weights are `stored` as fp16 or fp32."""
    device = options.torch_device()
    return {
        "schema_version": 1,
        "name": options.called,
        "data": source_of(data, options.data),
        "data_licence": "that of the data",
        "training": training_of(recipe, trained)
        | {
            "weights": f"EMA, stored as {stored}",
            "precision": "bf16" if options.use_bf16(device) else "fp32",
            "hardware": device_name(device),
            "data_sha256": data.sha256(),
        },
    }


def command_of(what: str, options: TrainingOptions, always: Mapping[str, object], others: tuple[str, ...]) -> str:
    """What was typed, as far as the result depends on it, with folders by their names.

    Args:
        what: is trained.
        options: as given.
        always: options that are said in any case.
        others: fields that are said where they are not the default.
    """
    said = {name: str(value) for name, value in always.items()}
    for name in others:
        value = getattr(options, name)
        if value != getattr(type(options), name) and not (name == "data" and value in DATA_SETS):
            named = Path(value).resolve().name if name in ("data", "start") else value
            said["from" if name == "start" else name] = f"{named:g}" if isinstance(named, float) else str(named)
    words = "".join(f" --{name.replace('_', '-')} {value}" for name, value in said.items())
    return f"{called('train')} train {what}{words}{'' if options.flips else ' --no-flips'}"
