"""Models by name: embedded ones, folders, and repositories on the hub, loaded only after every hash is checked.

A folder with a `card.toml` (a `Card`) holds what the card lists: `config.json` and
`diffusion_pytorch_model.safetensors` as diffusers calls them, or weights of another name; the points or the mixture of
a law in closed form; and, for quality without a download, `extractor/` and `reference.safetensors`. A folder as
diffusers saves it needs no card: one follows from its configurations (`models.loading.diffusers_folder`).
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch

from models.cards.card import Card, Changes
from models.common.errors import UsageError
from models.common.files import joint_sha256, sha256_of
from models.loading.building import build_network, needed_files, tried
from models.loading.description import describe_source, verify_files
from models.loading.diffusers_folder import find_layout, weight_files
from models.loading.hub import fetch_weights, verify_cached
from models.loading.sources import CARD, CONFIG, Source, find_source
from models.loading.weights import load_unet
from models.networks.execution import check_mode
from models.networks.modes import Mode
from models.networks.network import Network
from models.schedule import Schedule


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
        weights_sha256: hash of the weights alone, as a study may pin it (`Changes.weights_sha256`); None: not known.
        source: the name of an embedded model, the folder as it was given, or hf:owner/name@commit.
        mode: how the network is executed.
    """

    card: Card
    folder: Path
    network: Network
    schedule: Schedule
    sha256: str
    source: str
    weights_sha256: str | None = None
    mode: Mode = field(default_factory=Mode)


def load_model(
    spec: str,
    device: torch.device,
    changes: Changes | None = None,
    mode: Mode = Mode(),  # noqa: B008  (frozen)
) -> Model:
    """Load a model in evaluation mode onto a device.

    Args:
        spec: an embedded model's name, a folder, or hf:owner/name[@revision].
        device: where its network goes.
        changes: what a study says about it instead of its own configuration.
        mode: how its network is executed. Its hash does not depend on that.

    Raises:
        UsageError: no such model, a card that does not fit, a missing or changed file, weights that do not fit the
            network that the config describes, a network that cannot be evaluated, a mode that device or model do not
            have.
    """
    source = find_source(spec)
    card = describe_source(source, changes)
    check_mode(mode, card, device)
    load = _load_with_card if source.has_card else _load_as_diffusers
    card, network, weights = load(source, card, device, mode)
    found = _weights_sha256(card, weights)
    _check_weights(spec, found, changes)
    digest = hashlib.sha256(json.dumps(card.digest_content(), sort_keys=True).encode()).hexdigest()
    return Model(card, source.folder, network, card.schedule.build(), digest, source.origin, found, mode)


def _load_with_card(source: Source, card: Card, device: torch.device, mode: Mode) -> tuple[Card, Network, list[str]]:
    folder = source.folder
    if source.hub is not None:
        fetch_weights(source.hub, sorted(card.files), [])
    needed = needed_files(folder, card)
    for name in needed:
        if name not in card.files:
            found = f" (it is {sha256_of(folder / name)})" if (folder / name).is_file() else ""
            raise UsageError(f"{folder / CARD}: files does not list {name!r} with its sha256{found}")
    verify_files(folder, card)
    return card, build_network(folder, card, device, mode), needed


def _load_as_diffusers(source: Source, card: Card, device: torch.device, mode: Mode) -> tuple[Card, Network, list[str]]:
    folder, layout = source.folder, find_layout(source.folder)
    if source.hub is not None:
        fetch_weights(source.hub, layout.weight_patterns("safetensors"), layout.weight_patterns("bin"))
    weights = weight_files(folder, layout)
    if source.hub is not None:
        verify_cached(folder, [layout.path(CONFIG), *filter(None, [layout.scheduler]), *weights])
    files = {name: sha256_of(folder / name) for name in (layout.path(CONFIG), *weights)}
    card = card.model_copy(update={"files": files})
    return card, tried(load_unet(folder, layout, weights), card, device, mode, source.origin), weights


def _weights_sha256(card: Card, names: list[str]) -> str:
    return joint_sha256([card.files[name] for name in sorted(names) if name != CONFIG and not name.endswith(".json")])


def _check_weights(spec: str, found: str, changes: Changes | None) -> None:
    if changes is not None and changes.weights_sha256 not in (None, found):
        raise UsageError(
            f"the weights of {spec!r} have sha256 {found}, but the study's weights_sha256 is {changes.weights_sha256}: "
            "other weights, or a damaged file. Get those that it was written for, or correct the study"
        )
