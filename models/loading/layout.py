"""Folders as diffusers saves them: where the parts of a model are, and whether they are supported.

A pipeline's layout is read, with a folder for each of its parts, and the flat one of older checkpoints such as
google/ddpm-cifar10-32: the network in `unet/` or `transformer/`, the `scheduler/` that it was trained with, and of a
latent model `vae/` or `vqvae/`. Pipelines of other parts are refused by name.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.cards.card import BUILT_BY_DIFFUSERS, DIFFUSERS, DIT
from models.cards.decoder_card import AUTOENCODERS
from models.common.errors import Notice, UsageError
from models.common.files import INDEX, read_json, with_shards
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
SCHEDULER = "scheduler_config.json"
_BIN = "diffusion_pytorch_model.bin"
_SUPPORTED = (
    f"a {DIFFUSERS} or a {DIT} with a scheduler, and of a latent model an {' or '.join(AUTOENCODERS.values())} "
    "(DDPMPipeline, DiTPipeline, LDMPipeline and their like)"
)


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
    architecture = architecture_of(read_json(config))
    if architecture is None:
        raise UsageError(
            f"{config} is of class {read_json(config).get('_class_name')!r}; expected {DIFFUSERS!r} or {DIT!r}: "
            f"{_SUPPORTED}"
        )
    decoder = next((part for part in DECODERS if network and (folder / part / CONFIG).is_file()), None)
    _check_decoder(folder, decoder)
    for scheduler in (f"scheduler/{SCHEDULER}", SCHEDULER):
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
    scheduler = f"scheduler/{SCHEDULER}"
    has = (folder / scheduler).is_file()
    return Layout(pipeline.network, pipeline.architecture, scheduler if has else None, "vae", pipeline)


def architecture_of(config: Mapping[str, Any]) -> str | None:
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


def weight_files(folder: Path, part: str) -> list[str]:
    """The files of a part's weights that diffusers would read, relative to the folder, an index before its shards.

    UsageError if there are none, or a shard is missing; says what there is.
    """
    if found := with_shards(folder / part, (f"{WEIGHTS}{INDEX}", WEIGHTS, f"{_BIN}{INDEX}", _BIN)):
        return [within(part, each) for each in found]
    there = sorted(path.name for path in (folder / part).iterdir() if path.is_file())
    raise UsageError(
        f"{folder / part} has no weights: expected {WEIGHTS}, {WEIGHTS}{INDEX} or {_BIN}; there is: {', '.join(there)}"
    )
