"""The card that follows from a folder as diffusers saves it, without a card of ours: from its configurations alone."""

from pathlib import Path
from typing import Any

from models.cards.card import DIFFUSERS, DIT, Card
from models.cards.changes import Changes, make_card
from models.cards.decoder_card import AUTOENCODERS
from models.cards.schedule_cards import DISCRETE
from models.common.errors import UsageError
from models.common.files import read_json
from models.loading.layout import CONFIG, SCHEDULER, Layout, architecture_of, find_layout
from models.loading.scheduler_config import read_scheduler

_NETWORK_OF = {**dict.fromkeys(DISCRETE, "unet"), "flow": "flow", "vp": "vp-continuous"}


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
            f"{folder} has no {SCHEDULER}, so what the network predicts and on which noise is not known: add it, or "
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
    return (config.get("in_channels", _CHANNELS[architecture_of(config) or DIFFUSERS]), pair[0], pair[1])


_CHANNELS = {DIFFUSERS: 3, DIT: 4}
"""What the classes' configurations leave out where it is so."""


def _classes(config: dict[str, Any], path: Path) -> int | None:
    found: int | None = config.get("num_class_embeds")
    if architecture_of(config) == DIT:
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
