"""Models by name: embedded ones, folders, and repositories on the hub, loaded only after every hash is checked.

A folder with a `card.toml` (a `Card`) holds what the card lists: `config.json` and
`diffusion_pytorch_model.safetensors` as diffusers calls them, or weights of another name; the points or the mixture of
a law in closed form; and, for quality without a download, `extractor/` and `reference.safetensors`. A folder as
diffusers saves it needs no card: one follows from its configurations (`models.loading.diffusers_folder`).
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from models.architectures import as_called, make_network, misfit
from models.cards.card import BUILT_BY_DIFFUSERS, DIFFUSERS, Card
from models.cards.changes import Changes
from models.common.errors import PluginError, UsageError
from models.common.files import INDEX, joint_sha256, read_json, sha256_of, shards_of
from models.guidance.guided import label_of_none
from models.loading.decoders import autoencoder, decoder_files, generator
from models.loading.diffusers_folder import check_config
from models.loading.exact import MIXTURE, POINTS, finite_data, mixture
from models.loading.hub import fetch_weights, verify_cached
from models.loading.layout import CONFIG, PIPELINE, WEIGHTS, find_layout, weight_files, weight_patterns, within
from models.loading.model import Model
from models.loading.sources import CARD, Source, describe_source, find_source, verify_files
from models.loading.text_network import encode, prompts_of, with_prompts
from models.loading.weights import load_diffusers, load_weights
from models.networks.autoencoder import Autoencoder
from models.networks.execution import DTYPES, check_mode, in_mode, prepared
from models.networks.modes import Mode
from models.networks.network import (
    ConditionalNetwork,
    Conditioned,
    ConditionedNetwork,
    ConsistencyPreconditioned,
    EDMPreconditioned,
    IndexedUNet,
    LevelBlind,
    Network,
    index_of,
    one_hot,
)
from models.plugins.foreign import foreign
from models.schedule import DiscreteVP, Schedule
from models.text.encoders import Encoders, encoder_patterns
from models.text.pipelines import TextPipeline

TIME_SCALES = {"flow": 1000.0, "vp-continuous": 999.0}


def load_model(
    spec: str,
    device: torch.device,
    changes: Changes | None = None,
    mode: Mode = Mode(),  # noqa: B008  (frozen)
    images: int | None = None,
) -> Model:
    """Load a model in evaluation mode onto a device.

    Args:
        spec: an embedded model's name, a folder, or hf:owner/name[@revision].
        device: where its network goes.
        changes: what a study says about it instead of its own configuration.
        mode: how its network is executed. Its hash does not depend on that.
        images: how many are made, of which each has a prompt; more take prompts of these. 0: none, as where only is
            looked at a network; None: it is not known.

    Raises:
        UsageError: no such model, files or weights that do not fit, or a mode that device or model do not have.
    """
    source = find_source(spec)
    card = describe_source(source, changes)
    check_mode(mode, card, device)
    load = _load_with_card if source.has_card else partial(_load_as_diffusers, images)
    card, network, weights, decoder = load(source, card, device, mode)
    found = joint_sha256([card.files[name] for name in sorted(weights) if not name.endswith(".json")])
    if changes is not None and changes.weights_sha256 not in (None, found):
        raise UsageError(
            f"the weights of {spec!r} have sha256 {found}, but the study's weights_sha256 is {changes.weights_sha256}: "
            "other weights, or a damaged file. Get those that it was written for, or correct the study"
        )
    digest = hashlib.sha256(json.dumps(card.digest_content(), sort_keys=True).encode()).hexdigest()
    schedule, prompts = card.schedule.build(), prompts_of(card)
    return Model(card, source.folder, network, schedule, digest, source.origin, found, mode, decoder, prompts)


_Loaded = tuple[Card, Network, list[str], Autoencoder | None]
"""The card with its files, the network, the files of its weights, and the decoder of its latents."""


def _load_with_card(source: Source, card: Card, device: torch.device, mode: Mode) -> _Loaded:
    folder = source.folder
    if source.hub is not None:
        fetch_weights(source.hub, sorted(card.files), [])
    needed = needed_files(folder, card)
    for name in [*needed, *decoder_files(folder, card)]:
        if name not in card.files:
            found = f" (it is {sha256_of(folder / name)})" if (folder / name).is_file() else ""
            raise UsageError(f"{folder / CARD}: files does not list {name!r} with its sha256{found}")
    verify_files(folder, card)
    return card, build_network(folder, card, device, mode), needed, autoencoder(folder, card, device)


def _load_as_diffusers(images: int | None, source: Source, card: Card, device: torch.device, mode: Mode) -> _Loaded:
    folder, layout = source.folder, find_layout(source.folder)
    for part in layout.parts if source.hub is not None else ():
        assert source.hub is not None
        fetch_weights(source.hub, weight_patterns(part, "safetensors"), weight_patterns(part, "bin"))
    weights = {part: weight_files(folder, part) for part in layout.parts}
    named = [name for part in layout.parts for name in (within(part, CONFIG), *weights[part])]
    if source.hub is not None:
        verify_cached(folder, [*filter(None, [layout.scheduler]), *named])
    files, own = {name: sha256_of(folder / name) for name in named}, weights[layout.network]
    if layout.text is None:
        module = load_diffusers(layout.architecture, folder, layout.network, own)
    else:  # the encoders are released before the network takes its place
        encoders, tables = _encoded(layout.text, source, card, device, mode, images)
        files |= {PIPELINE: sha256_of(folder / PIPELINE), **encoders.files}
        loaded = load_diffusers(layout.architecture, folder, layout.network, own)
        module = with_prompts(layout.text, loaded, card, tables)
    card = card.model_copy(update={"files": files})
    network = tried(module, card, device, mode, source.origin)
    return card, network, own, autoencoder(folder, card, device)


def _encoded(
    pipeline: TextPipeline, source: Source, card: Card, device: torch.device, mode: Mode, images: int | None
) -> tuple[Encoders, dict[str, Tensor]]:
    """The encoders of a pipeline, and the embeddings of as many prompts as images need."""
    if source.hub is not None:
        fetch_weights(source.hub, encoder_patterns(pipeline), [])
    encoders, tables = encode(source.folder, pipeline, card, images, device, DTYPES[mode.precision].itemsize)
    if source.hub is not None:
        verify_cached(source.folder, [PIPELINE, *encoders.files])
    return encoders, tables


def needed_files(folder: Path, card: Card) -> list[str]:
    """The files that a card must list with their hashes, those of the weights last."""
    if card.network == "finite-data":
        return [POINTS]
    if card.network == "mixture":
        return [MIXTURE]
    weights = weights_name(card)
    shards = shards_of(folder / weights) if weights.endswith(INDEX) and (folder / weights).is_file() else []
    config = [CONFIG] if _has_config(folder, card) else []
    return [*config, weights, *(str(Path(weights).parent / shard) for shard in shards)]


def _has_config(folder: Path, card: Card) -> bool:
    """Whether a config.json describes the network; a plugin may need none."""
    return card.architecture in BUILT_BY_DIFFUSERS or CONFIG in card.files or (folder / CONFIG).is_file()


def weights_name(card: Card) -> str:
    """The file of a card's weights, or the index of several."""
    if card.weights is not None:
        return card.weights
    return f"{WEIGHTS}{INDEX}" if f"{WEIGHTS}{INDEX}" in card.files else WEIGHTS


def build_network(folder: Path, card: Card, device: torch.device, mode: Mode) -> Network:
    """The network of a folder with a card, on a device, in a mode; UsageError if its files do not fit one another."""
    if card.network == "finite-data":
        return finite_data(folder / POINTS, card, device)
    if card.network == "mixture":
        return mixture(folder / MIXTURE, card, device)
    if card.network == "decoder":
        return tried(generator(folder, card, weights_name(card)), card, device, mode, str(folder))
    config, origin = {}, f"{folder / CARD} without a {CONFIG}"
    if _has_config(folder, card):
        config, origin = read_json(folder / CONFIG), str(folder / CONFIG)
    module = make_network(card.architecture, config, origin)
    if card.architecture in BUILT_BY_DIFFUSERS:
        check_config(config, card, folder / CONFIG)
    load_weights(module, folder / weights_name(card), card.state_key, card.ignore)
    return tried(module, card, device, mode, str(folder))


def tried(module: nn.Module, card: Card, device: torch.device, mode: Mode, origin: str) -> Network:
    """A module with its weights as a network, on a device and in an execution mode, evaluated once.

    UsageError, which begins with `origin`, if it cannot be evaluated on an image of the card, or gives something else.
    """
    # cast as it is moved, so that a device holds no more than it is to; not diffusers' override, which logs a warning
    nn.Module.to(module, device=device, dtype=DTYPES[mode.precision] if mode.casts else None)
    # before anything is compiled, which takes long
    plain = _wrap(module, card, replace(mode, compile=False))
    try:
        _try(plain, card, device, f"{origin} in mode {mode}")
    except UsageError:
        reason = None if card.network == "decoder" else misfit(card.architecture, module, card.state_shape)
        if reason is None:
            raise
        raise UsageError(f"{origin}: {reason}") from None
    return _wrap(module, card, mode) if mode.compile else plain


def _wrap(module: nn.Module, card: Card, mode: Mode) -> Network:
    """The module in an execution mode, with what the card says that it is given for the level."""
    ready = prepared(module, mode)
    if card.network == "decoder":
        return LevelBlind(in_mode(ready, mode))
    called = as_called(card.architecture, ready)
    if card.null_label == "zeros" and card.classes is not None:
        called = one_hot(called, card.classes)
    schedule, call = card.schedule.build(), in_mode(called, mode)
    if card.network == "unet" and card.architecture == DIFFUSERS and isinstance(schedule, DiscreteVP):
        return IndexedUNet(module, schedule, call, rounded=card.round_time)
    return _conditioned(call, card, schedule)


def _conditioned(module: Conditioned, card: Card, schedule: Schedule) -> ConditionalNetwork:
    if card.network == "edm":
        sign = -1.0 if card.raw_prediction == "v_prediction" else 1.0
        return EDMPreconditioned(module, card.sigma_data or 0.5, sign)
    if card.network == "consistency":
        lowest = schedule.level(schedule.t_min).ratio
        return ConsistencyPreconditioned(module, card.sigma_data or 0.5, lowest)
    if card.network == "sigma":
        return ConditionedNetwork(module, lambda at: at.ratio)
    if isinstance(schedule, DiscreteVP):
        return ConditionedNetwork(module, index_of(schedule, rounded=card.round_time))
    scale = card.time_scale or TIME_SCALES[card.network]
    return ConditionedNetwork(module, lambda at: scale * at.t)


def _try(network: Callable[..., Tensor], card: Card, device: torch.device, origin: str) -> None:
    """Evaluations of one image, of the highest class and of none: only the module knows what it takes and gives."""
    _try_label(network, card, None if card.classes is None else card.classes - 1, device, origin)
    if card.null_label is not None:
        where = f"{origin}: of no class, null_label = {card.null_label!r}"
        _try_label(network, card, label_of_none(card.null_label), device, where)


def _try_label(
    network: Callable[..., Tensor], card: Card, label: int | None, device: torch.device, origin: str
) -> None:
    x, expected = torch.zeros((1, *card.state_shape), device=device), (1, *card.output_shape)
    labels = [] if label is None else [torch.full((1,), label, device=device)]
    given = "a state, a condition and labels" if labels else "a state and a condition"
    failed = f"{origin}: architecture {card.architecture!r} failed on {given} of one image"
    try:
        with foreign(failed), torch.inference_mode():
            found = network(x, card.schedule.build().level(0.5), *labels)
    except PluginError as error:
        raise PluginError(f"{error}{_remedy(card, str(error))}") from None
    if not isinstance(found, Tensor) or found.shape != expected:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise UsageError(f"{origin}: architecture {card.architecture!r} gave {shape}; expected {expected}")


_WANTS_WHOLE = re.compile("indices must be|'indices' to have|index tensor|int64 for index", re.IGNORECASE)
"""In what torch says of a table that is asked at 499.5: by indexing, embedding, one_hot and gather."""
_WANTS_MORE = re.compile(r"missing \d+ required (positional|keyword-only) argument")


def _remedy(card: Card, said: str) -> str:
    """What to do about a network that fails, where what it said tells."""
    if card.network == "unet" and not card.round_time and _WANTS_WHOLE.search(said):
        return (
            ". Samplers ask between the trained levels too: for a network with a table of whole times say round_time = "
            "true on its card, or in the study's [checkpoint] table"
        )
    if card.classes is None and _WANTS_MORE.search(said):
        return ". Where that is the class of each image, say classes = N on the card, the number of classes"
    return ""
