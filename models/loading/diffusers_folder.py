"""Folders as diffusers saves them, without a card of ours: what they hold, and the card that follows.

Both layouts are read: a pipeline's, with `unet/` and `scheduler/`, and the flat one of older checkpoints such as
google/ddpm-cifar10-32. Only pixel-space `UNet2DModel`s with a scheduler are models here; pipelines with anything else
(text, latents, transformers) are refused by name.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.cards.card import DIFFUSERS, Card, Changes, make_card
from models.cards.schedule_cards import DISCRETE
from models.common.errors import Notice, UsageError
from models.common.files import INDEX, read_json, shards_of
from models.loading.scheduler_config import read_scheduler

CONFIG = "config.json"
PIPELINE = "model_index.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
_AVERAGE = "unet_ema"
"""Where diffusers' training scripts save what they average."""
_SCHEDULER = "scheduler_config.json"
_BIN = "diffusion_pytorch_model.bin"
_SUPPORTED = "a pipeline of a UNet2DModel and a scheduler (DDPMPipeline and its like), in pixels"
_NETWORK_OF = {**dict.fromkeys(DISCRETE, "unet"), "flow": "flow", "vp": "vp-continuous"}


@dataclass(frozen=True)
class Layout:
    """Where the network ("unet" or "") and the scheduler's configuration (None: there is none) are in a folder."""

    unet: str
    scheduler: str | None

    def path(self, name: str) -> str:
        """A file of the network, relative to the model's folder."""
        return f"{self.unet}/{name}" if self.unet else name

    def weight_patterns(self, kind: str) -> list[str]:
        """Files of weights to look for on the hub, of kind safetensors or bin."""
        stem = self.path("diffusion_pytorch_model")
        return [f"{stem}.{kind}", f"{stem}-*-of-*.{kind}", f"{stem}.{kind}{INDEX}"]


def find_layout(folder: Path) -> Layout:
    """Where network and scheduler are; UsageError if the folder holds another kind of model."""
    if (folder / PIPELINE).is_file():
        _check_pipeline(folder / PIPELINE)
    unet = "unet" if (folder / "unet" / CONFIG).is_file() else ""
    if unet and (folder / _AVERAGE / CONFIG).is_file():
        warnings.warn(
            f"{folder}: the weights in {unet}/ are used, not their average over the training in {_AVERAGE}/ beside "
            f"it, which is mostly better; to use that give a folder where it is called {unet}",
            Notice,
            stacklevel=2,
        )
    config = folder / unet / CONFIG
    if not config.is_file():
        raise UsageError(f"{folder} has no network: neither unet/{CONFIG} nor {CONFIG}; expected {_SUPPORTED}")
    found = read_json(config).get("_class_name")
    if found != DIFFUSERS:
        raise UsageError(f"{config} is of class {found!r}; expected {DIFFUSERS!r}: {_SUPPORTED}")
    for scheduler in (f"scheduler/{_SCHEDULER}", _SCHEDULER):
        if (folder / scheduler).is_file():
            return Layout(unet, scheduler)
    return Layout(unet, None)


def _check_pipeline(path: Path) -> None:
    index = read_json(path)
    parts = {
        name: value[1]
        for name, value in index.items()
        if not name.startswith("_") and isinstance(value, list) and len(value) == 2 and value[1] is not None
    }
    others = sorted(set(parts) - {"unet", "scheduler"})
    if others or parts.get("unet") != DIFFUSERS:
        found = ", ".join(f"{name} ({parts[name]})" for name in sorted(parts)) or "nothing"
        raise UsageError(
            f"{path} is a {index.get('_class_name')} of {found}: latents, text and other networks than a UNet2DModel "
            f"are not supported. Expected {_SUPPORTED}"
        )


def describe_folder(folder: Path, name: str, origin: str, changes: Changes | None) -> Card:
    """The card that follows from a folder's configurations; no weights are read, and `files` stays empty.

    UsageError if it is no model that can be used here; says what was found and what is supported.
    """
    changes, layout = changes or Changes(), find_layout(folder)
    path = folder / layout.path(CONFIG)
    config = read_json(path)
    content = {
        "schema_version": 1,
        "name": name,
        "description": f"diffusers {DIFFUSERS} from {origin}",
        "shape": _shape(config, path),
        "classes": _classes(config, path),
        "files": {},
    }
    card = make_card(content | _read(folder, layout, changes), changes, str(folder))
    check_config(config, card, path)
    return card


def _read(folder: Path, layout: Layout, changes: Changes) -> dict[str, Any]:
    if layout.scheduler is not None:
        return read_scheduler(read_json(folder / layout.scheduler), changes, str(folder / layout.scheduler))
    if changes.schedule is None or changes.parametrisation is None or changes.schedule.kind not in _NETWORK_OF:
        raise UsageError(
            f"{folder} has no {_SCHEDULER}, so what the network predicts and on which noise is not known: add it, or "
            "give parametrisation and schedule (discrete, vp or flow) in the study's [checkpoint] table, or write a "
            "card.toml"
        )
    return {
        "network": _NETWORK_OF[changes.schedule.kind],
        "schedule": changes.schedule,
        "parametrisation": changes.parametrisation,
    }


def _shape(config: dict[str, Any], path: Path) -> tuple[int, int, int]:
    size = config.get("sample_size")
    pair = [size, size] if isinstance(size, int) else size
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(side, int) for side in pair):
        raise UsageError(
            f"{path}: sample_size {size!r}; expected the height and width of the images, one number or two"
        )
    return (config.get("in_channels", 3), pair[0], pair[1])


def _classes(config: dict[str, Any], path: Path) -> int | None:
    kind = config.get("class_embed_type")
    if kind is not None:
        raise UsageError(
            f"{path}: class_embed_type {kind!r} is conditioning on something else than a class, and not supported; "
            "expected none, with num_class_embeds for a class-conditional network"
        )
    found: int | None = config.get("num_class_embeds")
    return found


def check_config(config: dict[str, Any], card: Card, path: Path) -> None:
    """UsageError if a UNet2DModel's config and a card disagree about channels, size, or whether there are classes."""
    channels = (config.get("in_channels", 3), config.get("out_channels", 3))
    expected = card.shape[0] * (2 if card.learns_variance else 1)
    if channels != (card.shape[0], expected):
        why = f", with a variance that is {card.variance!r}" if card.learns_variance else ""
        hint = _about_variance(card, channels[1])
        raise UsageError(
            f"{path.parent}: {path.name} has in/out channels {channels}, but the card's shape is {card.shape}{why}: "
            f"expected {(card.shape[0], expected)}{hint}"
        )
    if config.get("sample_size") is not None and (size := _shape(config, path)[1:]) != card.shape[1:]:
        raise UsageError(
            f"{path}: the network is of images of {' x '.join(map(str, size))} (sample_size), but the card's shape is "
            f"{card.shape}; a network takes other sizes, and makes no such images there: correct what is wrong"
        )
    embeds = _classes(config, path)
    if embeds is None and card.classes is not None:
        raise UsageError(f"{path}: the network has no classes (no num_class_embeds), but the card has {card.classes}")
    if embeds is not None and card.classes is None:
        raise UsageError(f"{path}: the network has {embeds} classes, but the card none: add classes = {embeds}")
    if embeds is not None and card.classes is not None and card.classes > embeds:
        raise UsageError(f"{path}: the network has {embeds} classes, but the card has {card.classes}")
    if card.null_label is not None and card.null_label not in range(embeds or 0):
        raise UsageError(
            f"{path}: the network takes labels 0 ... {(embeds or 0) - 1}, so that null_label = {card.null_label!r} is "
            "none: say the one that it was trained with for no class, or leave null_label out"
        )


def _about_variance(card: Card, channels: int) -> str:
    """What to say about a number of channels that comes from another variance than the card's."""
    where = "on the card, or in the study's [checkpoint] table"
    if channels == 2 * card.shape[0]:
        return (
            ". Twice as many out belong to a network that predicts its variance too: say variance = 'learned_range' "
            f"{where}"
        )
    if channels == card.shape[0]:
        return f". A network of as many out predicts no variance: say variance = 'fixed_large' {where}"
    return ""


def weight_files(folder: Path, layout: Layout) -> list[str]:
    """The files of weights that diffusers would read, relative to the folder, an index before its shards.

    UsageError if there are none, or a shard is missing; says what there is.
    """
    for name in (f"{WEIGHTS}{INDEX}", WEIGHTS, f"{_BIN}{INDEX}", _BIN):
        path = folder / layout.path(name)
        if not path.is_file():
            continue
        names = [name, *shards_of(path)] if name.endswith(INDEX) else [name]
        missing = [each for each in names if not (path.parent / each).is_file()]
        if missing:
            raise UsageError(f"{path} lists {missing[0]}, which is missing")
        return [layout.path(each) for each in names]
    there = sorted(path.name for path in (folder / layout.unet).iterdir() if path.is_file())
    raise UsageError(
        f"{folder / layout.unet} has no weights: expected {WEIGHTS}, {WEIGHTS}{INDEX} or {_BIN}; there is: "
        f"{', '.join(there)}"
    )
