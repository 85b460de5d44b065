"""Models by name: embedded ones, folders, and repositories on the hub, loaded only after every hash is checked.

A folder with a `card.toml` (a `Card`) holds what the card lists: `config.json` and
`diffusion_pytorch_model.safetensors` as diffusers calls them, or weights of another name; the points or the mixture of
a law in closed form; and, for quality without a download, `extractor/` and `reference.safetensors`. A folder as
diffusers saves it needs no card: one follows from its configurations (`models.diffusers_folder`).
"""

import hashlib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

import torch

from models.building import build_network, needed_files, wrap
from models.card import Card, Changes, make_card
from models.diffusers_folder import describe_folder, find_layout, load_unet, weight_files
from models.errors import UsageError
from models.hub import fetch_weights, verify_cached
from models.networks import Network
from models.schedule import Schedule
from models.sources import CARD, CONFIG, WEIGHTS, ZOO, Source, find_source, missing_file, model_folder, zoo_names
from models.weights import joint_sha256, load_tensors, load_weights, read_json, sha256_of

__all__ = [
    "CARD",
    "CONFIG",
    "WEIGHTS",
    "ZOO",
    "Model",
    "describe_model",
    "load_card",
    "load_model",
    "load_tensors",
    "load_weights",
    "model_folder",
    "read_json",
    "sha256_of",
    "verify_files",
    "zoo_names",
]


@dataclass(frozen=True)
class Model:
    """A network ready to be sampled, with all that its results depend on.

    Attributes:
        card: its description.
        folder: where its files are.
        network: maps a state in the scale of the card's value range (a decoder: standard normal noise) and its level,
            with a third argument of labels if the card has classes, to the output that its parametrisation names.
        schedule: the noise schedule.
        sha256: hash of the card's content that matters and of all weights; changes when any result could.
        source: the name of an embedded model, the folder as it was given, or hf:owner/name@commit.
    """

    card: Card
    folder: Path
    network: Network
    schedule: Schedule
    sha256: str
    source: str


def load_card(folder: Path, changes: Changes | None = None) -> Card:
    """Read and check a card, with a study's changes made; UsageError with the place of what is wrong."""
    path = folder / CARD
    try:
        content = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from None
    return make_card(content, changes, str(path))


def verify_files(folder: Path, card: Card) -> None:
    """Compare every file of the card with its hash; UsageError for one that is missing or differs."""
    for name, expected in card.files.items():
        path = folder / name
        if not path.is_file():
            raise missing_file(card, path)
        actual = sha256_of(path)
        if actual != expected:
            again = f", or train the model again with: {card.training_command}" if card.training_command else ""
            raise UsageError(
                f"{path} has sha256 {actual}, but the card of {card.name!r} says {expected}: the file is damaged or "
                f"was changed. Restore it{again}"
            )


def describe_model(spec: str, changes: Changes | None = None) -> Card:
    """The card of a model, or the one that follows from a folder's configurations; no weights are read.

    Args:
        spec: an embedded model's name, a folder, or hf:owner/name[@revision], whose configurations are fetched.
        changes: what a study says about it instead of its own configuration.

    Raises:
        UsageError: there is no such model, or it cannot be used; says why and what to do.
    """
    return _describe(find_source(spec), changes)


def _describe(source: Source, changes: Changes | None) -> Card:
    if source.has_card:
        return load_card(source.folder, changes)
    return describe_folder(source, changes)


def load_model(spec: str, device: torch.device, changes: Changes | None = None) -> Model:
    """Load a model in evaluation mode onto a device.

    Args:
        spec: an embedded model's name, a folder, or hf:owner/name[@revision].
        device: where its network goes.
        changes: what a study says about it instead of its own configuration.

    Raises:
        UsageError: no such model, a card that does not fit, a missing or changed file, weights that do not fit the
            network that the config describes.
    """
    source = find_source(spec)
    card = _describe(source, changes)
    load = _load_with_card if source.has_card else _load_as_diffusers
    card, network, weights = load(source, card, device)
    _check_weights(spec, card, weights, changes)
    digest = hashlib.sha256(json.dumps(card.digest_content(), sort_keys=True).encode()).hexdigest()
    return Model(card, source.folder, network, card.schedule.build(), digest, source.origin)


def _load_with_card(source: Source, card: Card, device: torch.device) -> tuple[Card, Network, list[str]]:
    folder = source.folder
    if source.hub is not None:
        fetch_weights(source.hub, sorted(card.files), [])
    needed = needed_files(folder, card)
    for name in needed:
        if name not in card.files:
            found = f" (it is {sha256_of(folder / name)})" if (folder / name).is_file() else ""
            raise UsageError(f"{folder / CARD}: files does not list {name!r} with its sha256{found}")
    verify_files(folder, card)
    return card, build_network(folder, card, device), needed


def _load_as_diffusers(source: Source, card: Card, device: torch.device) -> tuple[Card, Network, list[str]]:
    folder, layout = source.folder, find_layout(source.folder)
    if source.hub is not None:
        fetch_weights(source.hub, layout.weight_patterns("safetensors"), layout.weight_patterns("bin"))
    weights = weight_files(folder, layout)
    if source.hub is not None:
        verify_cached(folder, weights)
    files = {name: sha256_of(folder / name) for name in (layout.path(CONFIG), *weights)}
    card = card.model_copy(update={"files": files})
    module = load_unet(folder, layout, weights).to(device)
    return card, wrap(module, card, card.schedule.build()), weights


def _check_weights(spec: str, card: Card, names: list[str], changes: Changes | None) -> None:
    if changes is None or changes.weights_sha256 is None:
        return
    found = joint_sha256([card.files[name] for name in sorted(names) if name != CONFIG and not name.endswith(".json")])
    if found != changes.weights_sha256:
        raise UsageError(
            f"the weights of {spec!r} have sha256 {found}, but the study's weights_sha256 is {changes.weights_sha256}: "
            "other weights, or a damaged file. Get those that it was written for, or correct the study"
        )
