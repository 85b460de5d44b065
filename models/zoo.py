"""Model folders: a card, a network and what its quality is measured with, loaded only after every hash is checked.

A folder holds `card.toml` (a `Card`), diffusers' `config.json` and `diffusion_pytorch_model.safetensors`, and, for
quality without a download, `extractor/` and `reference.safetensors`. Nothing is ever unpickled.
"""

import hashlib
import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models.denoiser import ClipRange, Parametrisation
from models.errors import UsageError
from models.networks import IndexedUNet, Network, make_unet
from models.registry import explain, unknown
from models.schedule import DiscreteVP

ZOO = Path(__file__).parent / "zoo"
WEIGHTS = "diffusion_pytorch_model.safetensors"
CONFIG = "config.json"
CARD = "card.toml"


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class ScheduleCard(_Strict):
    """The discrete noise schedule that the network was trained on."""

    kind: Literal["linear", "scaled_linear", "cosine"]
    train_steps: int = Field(ge=1)
    beta_start: float = Field(default=1e-4, gt=0, lt=1)
    beta_end: float = Field(default=0.02, gt=0, lt=1)

    def build(self) -> DiscreteVP:
        makers: dict[str, Callable[[], DiscreteVP]] = {
            "linear": lambda: DiscreteVP.linear(self.train_steps, self.beta_start, self.beta_end),
            "scaled_linear": lambda: DiscreteVP.scaled_linear(self.train_steps, self.beta_start, self.beta_end),
            "cosine": lambda: DiscreteVP.cosine(self.train_steps),
        }
        return makers[self.kind]()


class ExtractorCard(_Strict):
    """The compact feature extractor that quality is measured with."""

    name: str
    description: str
    test_accuracy: float = Field(ge=0, le=1)


class Card(_Strict):
    """What a model is, where it comes from, and the sha256 of every file that belongs to it."""

    schema_version: Literal[1]
    name: str
    description: str
    data: str
    data_licence: str
    training_command: str
    training: dict[str, int | float | str] = {}
    quality: dict[str, int | float | str] = {}
    shape: tuple[int, int, int] = Field(strict=False)
    parametrisation: Parametrisation
    clip: ClipRange | None = Field(default=None, strict=False)
    schedule: ScheduleCard
    extractor: ExtractorCard | None = None
    files: dict[str, str]

    @field_validator("clip")
    @classmethod
    def _ascends(cls, clip: ClipRange | None) -> ClipRange | None:
        if clip is not None and clip[0] >= clip[1]:
            raise ValueError("expected [low, high] with low < high")
        return clip


@dataclass(frozen=True)
class Model:
    """A network ready to be sampled, with all that its results depend on.

    Attributes:
        card: its description.
        folder: where its files are.
        network: maps a state in [-1, 1] scale and its level to the output that the card's parametrisation names.
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
    config = read_json(folder / CONFIG)
    try:
        unet = make_unet(config)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{folder / CONFIG} does not describe a diffusers UNet2DModel: {error}") from None
    load_weights(unet, folder / WEIGHTS)
    channels = (config.get("in_channels"), config.get("out_channels"))
    if channels != (card.shape[0], card.shape[0]):
        raise UsageError(f"{folder}: {CONFIG} has in/out channels {channels}, but the card's shape is {card.shape}")
    content = card.model_dump(mode="json", include={"shape", "parametrisation", "clip", "schedule", "files"})
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return Model(card, folder, IndexedUNet(unet.to(device), schedule), schedule, digest)


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
