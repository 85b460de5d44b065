"""Folders as diffusers saves them, without a card of ours: what they hold, and the card that follows.

A pipeline's layout is read, with a folder for each of its parts, and the flat one of older checkpoints such as
google/ddpm-cifar10-32: the network in `unet/` or `transformer/`, the `scheduler/` that it was trained with, and of a
latent model `vae/` or `vqvae/`. Pipelines of other parts are refused by name.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.cards.card import BUILT_BY_DIFFUSERS, DIFFUSERS, DIT, Card, Changes, make_card
from models.cards.decoder_card import AUTOENCODERS
from models.cards.schedule_cards import DISCRETE
from models.common.errors import Notice, UsageError
from models.common.files import INDEX, read_json, shards_of
from models.loading.scheduler_config import read_scheduler
from models.text.pipelines import TextPipeline, known_pipeline, parts_of

CONFIG = "config.json"
PIPELINE = "model_index.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
NETWORKS = ("unet", "transformer")
"""Folders of a pipeline that its network may be in."""
DECODERS = ("vae", "vqvae")
"""The same of the autoencoder of a latent model."""
_AVERAGE = "unet_ema"
"""Where diffusers' training scripts save what they average."""
_SCHEDULER = "scheduler_config.json"
_BIN = "diffusion_pytorch_model.bin"
_SUPPORTED = (
    f"a {DIFFUSERS} or a {DIT} with a scheduler, and of a latent model an {' or '.join(AUTOENCODERS.values())} "
    "(DDPMPipeline, DiTPipeline, LDMPipeline and their like)"
)
_NETWORK_OF = {**dict.fromkeys(DISCRETE, "unet"), "flow": "flow", "vp": "vp-continuous"}


@dataclass(frozen=True)
class Layout:
    """Where the parts of a model are in a folder.

    Attributes:
        network: folder of the network, or "".
        architecture: its class.
        scheduler: the scheduler's configuration; None: there is none.
        decoder: folder of the autoencoder; None: there is none.
        text: the text-to-image pipeline that it is, described by `models.loading.text_folder`; None: it is none.
    """

    network: str
    architecture: str
    scheduler: str | None
    decoder: str | None = None
    text: TextPipeline | None = None

    def path(self, name: str) -> str:
        """A file of the network, relative to the model's folder."""
        return within(self.network, name)

    @property
    def parts(self) -> list[str]:
        """The folders that have weights."""
        return [self.network, *([] if self.decoder is None else [self.decoder])]


def within(part: str, name: str) -> str:
    """A file of a part, relative to the model's folder."""
    return f"{part}/{name}" if part else name


def weight_patterns(part: str, kind: str) -> list[str]:
    """Files of a part's weights to look for on the hub, of kind safetensors or bin."""
    stem = within(part, "diffusion_pytorch_model")
    return [f"{stem}.{kind}", f"{stem}-*-of-*.{kind}", f"{stem}.{kind}{INDEX}"]


def find_layout(folder: Path) -> Layout:
    """Where the parts are; UsageError if the folder holds another kind of model."""
    if (folder / PIPELINE).is_file():
        if (text := known_pipeline(folder / PIPELINE)) is not None:
            return _of_text(folder, text)
        _check_pipeline(folder / PIPELINE)
    found = [part for part in NETWORKS if (folder / part / CONFIG).is_file()]
    if len(found) > 1:
        raise UsageError(f"{folder} has two networks, {' and '.join(found)}; expected one: {_SUPPORTED}")
    network = found[0] if found else ""
    if network and (folder / _AVERAGE / CONFIG).is_file():
        warnings.warn(
            f"{folder}: the weights in {network}/ are used, not their average over the training in {_AVERAGE}/ beside "
            f"it, which is mostly better; to use that give a folder where it is called {network}",
            Notice,
            stacklevel=2,
        )
    config = folder / network / CONFIG
    if not config.is_file():
        raise UsageError(
            f"{folder} has no network: no {', '.join(f'{part}/{CONFIG}' for part in NETWORKS)} or {CONFIG}; "
            f"expected {_SUPPORTED}"
        )
    architecture = _architecture(read_json(config))
    if architecture is None:
        raise UsageError(
            f"{config} is of class {read_json(config).get('_class_name')!r}; expected {DIFFUSERS!r} or {DIT!r}: "
            f"{_SUPPORTED}"
        )
    decoder = next((part for part in DECODERS if network and (folder / part / CONFIG).is_file()), None)
    _check_decoder(folder, decoder)
    for scheduler in (f"scheduler/{_SCHEDULER}", _SCHEDULER):
        if (folder / scheduler).is_file():
            return Layout(network, architecture, scheduler, decoder)
    return Layout(network, architecture, None, decoder)


_OLD_DIT = "Transformer2DModel"
"""What diffusers called it before 0.29."""
_CLASSES = {*BUILT_BY_DIFFUSERS, _OLD_DIT}


def _of_text(folder: Path, pipeline: TextPipeline) -> Layout:
    """The layout of a text-to-image pipeline, whose parts are all in folders of their own."""
    wanted = {f"{pipeline.network}/{CONFIG}": pipeline.architecture, f"vae/{CONFIG}": "AutoencoderKL"}
    for name, kind in wanted.items():
        if not (folder / name).is_file():
            raise UsageError(f"{folder} has no {name}, which {PIPELINE} names. Download the whole repository")
        if (found := read_json(folder / name).get("_class_name")) != kind:
            raise UsageError(f"{folder / name} is of class {found!r}; expected {kind!r} in a {pipeline.name}")
    scheduler = f"scheduler/{_SCHEDULER}"
    has = (folder / scheduler).is_file()
    return Layout(pipeline.network, pipeline.architecture, scheduler if has else None, "vae", pipeline)


def _architecture(config: Mapping[str, Any]) -> str | None:
    """The class of a network that is supported; None for any other."""
    found = config.get("_class_name")
    if found == _OLD_DIT and config.get("norm_type") == "ada_norm_zero":
        return DIT
    return found if found in (DIFFUSERS, DIT) else None


def _check_decoder(folder: Path, decoder: str | None) -> None:
    """UsageError for a decoder of a class that is not supported."""
    if decoder is None:
        return
    found = read_json(folder / decoder / CONFIG).get("_class_name")
    if found not in AUTOENCODERS.values():
        raise UsageError(
            f"{folder / decoder / CONFIG} is of class {found!r}; expected {' or '.join(AUTOENCODERS.values())}, or a "
            "card.toml whose [decoder] names what a plugin builds"
        )


def _check_pipeline(path: Path) -> None:
    index = read_json(path)
    parts = parts_of(index)
    networks = {name: parts[name] for name in NETWORKS if name in parts}
    others = parts.keys() - {*NETWORKS, *DECODERS, "scheduler"}
    if others or not networks or not _CLASSES.issuperset(networks.values()):
        found = ", ".join(f"{name} ({parts[name]})" for name in sorted(parts)) or "nothing"
        raise UsageError(
            f"{path} is a {index.get('_class_name')} of {found}: a pipeline that does more than step a scheduler, or "
            f"of other parts, is not supported. Expected {_SUPPORTED}"
        )
    flat = (path.parent / CONFIG).is_file()  # as older checkpoints are, whose network has no folder
    for name in parts:
        if name in DECODERS + NETWORKS * (not flat) and not (path.parent / name / CONFIG).is_file():
            raise UsageError(
                f"{path.parent} has no {name}/{CONFIG}, which {PIPELINE} names; download the whole repository"
            )


def describe_folder(folder: Path, name: str, origin: str, changes: Changes | None) -> Card:
    """The card that follows from a folder's configurations; no weights are read, and `files` stays empty.

    UsageError if it is no model that can be used here; says what was found and what is supported.
    """
    changes, layout = changes or Changes(), find_layout(folder)
    path = folder / layout.path(CONFIG)
    config = read_json(path)
    content: dict[str, Any] = {
        "schema_version": 1,
        "name": name,
        "description": f"diffusers {layout.architecture} from {origin}",
        "architecture": layout.architecture,
        "shape": _shape(config, path),
        "classes": _classes(config, path),
        "files": {},
    }
    content |= scheduler_fields(folder, layout, changes)
    if layout.decoder is not None:
        content |= latent_fields(folder / layout.decoder / CONFIG, layout.decoder, content["shape"])
    if layout.architecture == DIT:
        content |= _of_a_dit(config, content)
    card = make_card(content, changes, str(folder))
    check_config(config, card, path)
    return card


def latent_fields(path: Path, folder: str, latent: tuple[int, int, int]) -> dict[str, Any]:
    """The fields of a card that an autoencoder's configuration settles."""
    config = read_json(path)
    kind = next(kind for kind, name in AUTOENCODERS.items() if name == config["_class_name"])
    levels = config.get("decoder_block_out_channels" if kind == "autoencoder-tiny" else "block_out_channels")
    channels, out = config.get("latent_channels", 4), config.get("out_channels", 3)
    if not isinstance(levels, list) or not levels:
        raise UsageError(f"{path}: it has no channels by level, {levels!r}, by which the size of its images is known")
    if channels != latent[0]:
        raise UsageError(
            f"{path}: latents of {channels} channels, but the network beside it works on {latent[0]}; they do not "
            "belong together"
        )
    factor = 2 ** (len(levels) - 1)
    decoder = {
        "kind": kind,
        "folder": folder,
        "latent_shape": latent,
        "scaling_factor": float(config.get("scaling_factor", _SCALES.get(kind, 1.0))),
        "shift_factor": float(config.get("shift_factor") or 0.0),
    }
    return {"shape": (out, factor * latent[1], factor * latent[2]), "decoder": decoder}


_SCALES = {"autoencoder-kl": 0.18215}
"""Factors of configurations that say none. Those of VQ autoencoders are older than the factor: their latents are not
scaled, although diffusers' VQModel has 0.18215 for them (huggingface/diffusers issue 6725)."""


def _of_a_dit(config: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    """What a DiT's configuration says that its scheduler's does not: its classes, and a variance of twice the channels
    (arXiv 2212.09748, section 3.2, as in 2102.09672).
    """
    classes = config.get("num_embeds_ada_norm", 1000)
    learned = config.get("out_channels") == 2 * config.get("in_channels", 4)
    variance = {"variance": "learned_range"} if learned else {}
    return {"classes": classes, "null_label": classes} | variance


def scheduler_fields(folder: Path, layout: Layout, changes: Changes) -> dict[str, Any]:
    """The fields of a card that a scheduler's configuration settles, or the study instead."""
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
    return (config.get("in_channels", _CHANNELS[_architecture(config) or DIFFUSERS]), pair[0], pair[1])


_CHANNELS = {DIFFUSERS: 3, DIT: 4}
"""What the classes' configurations leave out where it is so."""


def _classes(config: dict[str, Any], path: Path) -> int | None:
    found: int | None = config.get("num_class_embeds")
    if _architecture(config) == DIT:
        return int(config.get("num_embeds_ada_norm", 1000))
    kind = config.get("class_embed_type")
    if kind is not None:
        raise UsageError(
            f"{path}: class_embed_type {kind!r} is conditioning on something else than a class, and not supported; "
            "expected none, with num_class_embeds for a class-conditional network"
        )
    return found


def check_config(config: dict[str, Any], card: Card, path: Path) -> None:
    """UsageError if the config of a diffusers' network and a card disagree about channels, size, or classes."""
    shape, usual = card.sample_shape, _CHANNELS[card.architecture]
    given = config.get("in_channels", usual)
    channels = (given, config.get("out_channels") or (given if card.architecture == DIT else usual))
    expected = shape[0] * (2 if card.learns_variance else 1)
    if channels != (shape[0], expected):
        why = f", with a variance that is {card.variance!r}" if card.learns_variance else ""
        hint = _about_variance(card, channels[1])
        raise UsageError(
            f"{path.parent}: {path.name} has in/out channels {channels}, but the card's shape is {shape}{why}: "
            f"expected {(shape[0], expected)}{hint}"
        )
    if config.get("sample_size") is not None and (size := _shape(config, path)[1:]) != shape[1:]:
        raise UsageError(
            f"{path}: the network is of images of {' x '.join(map(str, size))} (sample_size), but the card's shape is "
            f"{shape}; a network takes other sizes, and makes no such images there: correct what is wrong"
        )
    embeds = _classes(config, path)
    if embeds is None and card.classes is not None:
        raise UsageError(f"{path}: the network has no classes (no num_class_embeds), but the card has {card.classes}")
    if embeds is not None and card.classes is None:
        raise UsageError(f"{path}: the network has {embeds} classes, but the card none: add classes = {embeds}")
    if embeds is not None and card.classes is not None and card.classes > embeds:
        raise UsageError(f"{path}: the network has {embeds} classes, but the card has {card.classes}")
    # a DiT has a row more than classes, for none
    rows = (embeds or 0) + (card.architecture == DIT)
    if card.null_label is not None and card.null_label not in range(rows):
        raise UsageError(
            f"{path}: the network takes labels 0 ... {rows - 1}, so that null_label = {card.null_label!r} is "
            "none: say the one that it was trained with for no class, or leave null_label out"
        )


def _about_variance(card: Card, channels: int) -> str:
    """What to say about a number of channels that comes from another variance than the card's."""
    where = "on the card, or in the study's [checkpoint] table"
    if channels == 2 * card.sample_shape[0]:
        return (
            ". Twice as many out belong to a network that predicts its variance too: say variance = 'learned_range' "
            f"{where}"
        )
    if channels == card.sample_shape[0]:
        return f". A network of as many out predicts no variance: say variance = 'fixed_large' {where}"
    return ""


def weight_files(folder: Path, part: str) -> list[str]:
    """The files of a part's weights that diffusers would read, relative to the folder, an index before its shards.

    UsageError if there are none, or a shard is missing; says what there is.
    """
    for name in (f"{WEIGHTS}{INDEX}", WEIGHTS, f"{_BIN}{INDEX}", _BIN):
        path = folder / within(part, name)
        if not path.is_file():
            continue
        names = [name, *shards_of(path)] if name.endswith(INDEX) else [name]
        missing = [each for each in names if not (path.parent / each).is_file()]
        if missing:
            raise UsageError(f"{path} lists {missing[0]}, which is missing")
        return [within(part, each) for each in names]
    there = sorted(path.name for path in (folder / part).iterdir() if path.is_file())
    raise UsageError(
        f"{folder / part} has no weights: expected {WEIGHTS}, {WEIGHTS}{INDEX} or {_BIN}; there is: {', '.join(there)}"
    )
