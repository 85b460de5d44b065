"""Model folders: a card, a network and what its quality is measured with, loaded only after every hash is checked.

A folder holds `card.toml` (a `Card`), `config.json` and `diffusion_pytorch_model.safetensors` as diffusers calls them,
and, for quality without a download, `extractor/` and `reference.safetensors`; a model that is only ever compared with
another one does without the last two. Nothing is ever unpickled.
"""

import hashlib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models.card import Card
from models.errors import UsageError
from models.networks import IndexedUNet, LevelBlind, Network, make_unet
from models.registry import explain, unknown
from models.schedule import DiscreteVP
from models.vae import Decoder

ZOO = Path(__file__).parent / "zoo"
WEIGHTS = "diffusion_pytorch_model.safetensors"
CONFIG = "config.json"
CARD = "card.toml"


@dataclass(frozen=True)
class Model:
    """A network ready to be sampled, with all that its results depend on.

    Attributes:
        card: its description.
        folder: where its files are.
        network: maps a state in [-1, 1] scale (a decoder: standard normal noise) and its level to the output that the
            card's parametrisation names.
        schedule: the noise schedule.
        sha256: hash of the card's content that matters and of all weights; changes when any result could.
    """

    card: Card
    folder: Path
    network: Network
    schedule: DiscreteVP
    sha256: str


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def zoo_names() -> list[str]:
    """Names of the embedded models."""
    return sorted(path.parent.name for path in ZOO.glob(f"*/{CARD}"))


def model_folder(name_or_path: str) -> Path:
    """The folder of an embedded model's name or of a path; UsageError if there is no card."""
    for folder in (ZOO / name_or_path, Path(name_or_path)):
        if (folder / CARD).is_file():
            return folder
    if Path(name_or_path).is_dir():
        raise UsageError(f"the folder {name_or_path!r} has no {CARD}; a model folder needs one")
    raise unknown("model", name_or_path, zoo_names())


def load_card(folder: Path) -> Card:
    """Read and check a card; UsageError with the place of what is wrong."""
    path = folder / CARD
    try:
        return Card.model_validate(tomllib.loads(path.read_text()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from None
    except ValidationError as error:
        raise UsageError(f"{path}: {explain(error)}") from None


def verify_files(folder: Path, card: Card) -> None:
    """Compare every file of the card with its hash; UsageError for one that is missing or differs."""
    for name, expected in card.files.items():
        path = folder / name
        if not path.is_file():
            raise UsageError(
                f"{path} is missing; the card of {card.name!r} lists it. Restore it or train the model again"
            )
        actual = sha256_of(path)
        if actual != expected:
            raise UsageError(
                f"{path} has sha256 {actual}, but the card of {card.name!r} says {expected}: the file is damaged or "
                f"was changed. Restore it, or train the model again with: {card.training_command}"
            )


def load_model(name_or_path: str, device: torch.device) -> Model:
    """Load a model in evaluation mode onto a device.

    Raises:
        UsageError: no such model, a card that does not fit, a missing or changed file, weights that do not fit the
            network that the config describes.
    """
    folder = model_folder(name_or_path)
    card = load_card(folder)
    for needed in (CONFIG, WEIGHTS):
        if needed not in card.files:
            raise UsageError(f"{folder / CARD}: files does not list {needed!r} with its sha256")
    verify_files(folder, card)
    schedule = card.schedule.build()
    network: Network
    if card.network == "unet":
        network = IndexedUNet(_load_unet(folder, card).to(device), schedule)
    else:
        network = LevelBlind(_load_decoder(folder, card).to(device))
    content = card.model_dump(mode="json", include={"shape", "parametrisation", "clip", "schedule", "files"})
    # only where they say something, so that hashes of cards that were written before these fields stay
    content |= card.model_dump(mode="json", include={"network", "noise_shape"}, exclude_defaults=True)
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return Model(card, folder, network, schedule, digest)


def _load_unet(folder: Path, card: Card) -> nn.Module:
    config = read_json(folder / CONFIG)
    try:
        unet = make_unet(config)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{folder / CONFIG} does not describe a diffusers UNet2DModel: {error}") from None
    channels = (config.get("in_channels"), config.get("out_channels"))
    if channels != (card.shape[0], card.shape[0]):
        raise UsageError(f"{folder}: {CONFIG} has in/out channels {channels}, but the card's shape is {card.shape}")
    return load_weights(unet, folder / WEIGHTS)


def _load_decoder(folder: Path, card: Card) -> nn.Module:
    try:
        decoder = Decoder.from_config(read_json(folder / CONFIG))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{folder / CONFIG} does not describe a decoder: {error}") from None
    shapes = (decoder.latent_shape, decoder.image_shape)
    if shapes != (card.state_shape, card.shape):
        raise UsageError(
            f"{folder}: {CONFIG} has noise and images of shapes {shapes}, but the card's are "
            f"{(card.state_shape, card.shape)}"
        )
    return load_weights(decoder, folder / WEIGHTS)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; UsageError if it is not one."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path} as JSON: {error}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path} holds a {type(content).__name__}; expected a JSON object")
    return content


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; UsageError if it cannot be read."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"cannot read {path} as safetensors: {error}") from None


def load_weights(network: nn.Module, path: Path) -> nn.Module:
    """The network with the weights of a safetensors file, frozen and in evaluation mode."""
    try:
        network.load_state_dict(load_tensors(path))
    except RuntimeError as error:
        raise UsageError(f"the weights in {path} do not fit the network of its config: {error}") from None
    return network.eval().requires_grad_(False)
