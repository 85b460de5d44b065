"""Feature extractors, as torch-fidelity knows them: its own, and the compact ones of folders.

Compact extractors are registered with torch-fidelity, so that its own `calculate_metrics` runs on them as well, and our
numbers can be compared with its. Layers are torch-fidelity's defaults, those of one network for all metrics (by itself
torch-fidelity takes precision and recall from VGG16).
"""

import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_dinov2 import MODEL_METADATA as DINOV2
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from bench.quality import compact
from bench.quality.compact import EXTRACTOR_CONFIG, EXTRACTOR_WEIGHTS, make_compact
from bench.quality.downloads import patient, reason
from bench.quality.exact_arithmetic import exact_arithmetic
from bench.quality.extractor import INCEPTION, WITHOUT
from bench.quality.extractor import Extractor as Extractor
from bench.quality.extractor_weights import checked_weights, checkpoints, plain_tensors_only
from bench.quality.images import preview_kind
from models.cards.card import Card
from models.cards.folder_card import ExtractorFolder
from models.common.errors import UsageError
from models.common.files import sha256_of
from models.common.program import called
from models.loading.model import Model
from models.loading.sources import (
    extractor_names,
    load_card,
    load_measuring_card,
    measuring_folder,
    model_folder,
    verify_files,
    zoo_names,
)
from models.loading.weights import shortened
from models.plugins.registry import unknown

LIBRARY = {name: name.partition("-")[0] for name in FEATURE_EXTRACTORS_REGISTRY}
"""torch-fidelity's own extractors, and what their distance is called after: inception, dinov2, clip, vgg16."""

_RESERVED = {*LIBRARY, *LIBRARY.values()}

_BATCH, _COMPACT_BATCH = 64, 250
"""Images an extractor sees at a time, fixed: features vary in their last digits with it. 64 is torch-fidelity's own."""


class Choice(Protocol):
    """What a study says about its extractor (`bench.study.study.ExtractorChoice`)."""

    @property
    def name(self) -> str: ...
    @property
    def weights(self) -> str | None: ...
    @property
    def sha256(self) -> str | None: ...


@dataclass(frozen=True)
class Chosen:
    """A choice that is no study's: see `Choice`."""

    name: str
    weights: str | None = None
    sha256: str | None = None


def load_extractor(choice: Choice | None, model: Model | None, device: torch.device) -> Extractor:
    """The extractor that a study names, else the compact one that is its model's own or that its model names.

    Raises:
        UsageError: there is none, or its weights are missing, cannot be downloaded or are others than they should be.
    """
    card = None if model is None else model.card
    refuse_choice(choice, card)
    if choice is None:
        if model is not None and model.card.extractor is not None:
            return _compact(model.folder, model.card, device)
        assert card is not None, "refused"
        return _embedded(str(card.measured_by), device)
    if choice.name in LIBRARY:
        return _from_library(choice, device)
    extractor = _embedded(choice.name, device)
    if choice.sha256 not in (None, extractor.sha256):
        raise UsageError(f"extractor {choice.name!r} has sha256 {extractor.sha256}, but the study says {choice.sha256}")
    return extractor


def refuse_choice(choice: Choice | None, card: Card | None) -> None:
    """UsageError for an extractor that there cannot be, told without its weights.

    Args:
        choice: of a study.
        card: of its model, whose own extractor is meant where the study names none; None: there is no model.
    """
    if choice is not None:
        _refuse_named(choice)
    elif card is None or card.extractor is None:
        by = None if card is None else card.measured_by
        if by is None and card is not None and preview_kind(card.shape) == "points":
            raise UsageError(_of_points(card))
        if by is None:
            which = "no model" if card is None else f"model {card.name!r}"
            raise UsageError(
                f"{which} has no feature extractor of its own, so no distance to real data can be measured on it; name "
                f'one in the study, such as extractor = "{INCEPTION}" (or {", ".join(compact_names())}), name it as '
                "the model of a block in a study of a model that has one, or leave out the metrics that need one: "
                f"{WITHOUT}"
            )
        if by not in compact_names():
            raise UsageError(
                f"the model is measured with the embedded extractor {by!r}, and there is none of that name; name one "
                f"in the study: {', '.join(compact_names())}"
            )


def _of_points(card: Card) -> str:
    """What can be measured of a model whose samples are no pictures."""
    law, metrics = ("the distance to its law and ", '"law", ') if card.is_exact else ("", "")
    return (
        f"model {card.name!r} makes points, which no extractor takes. What can be measured is {law}the error of "
        f'solvers: {called()} run solvers --model MODEL, or in a study metrics = [{metrics}"solver_error"]'
    )


def _refuse_named(choice: Choice) -> None:
    if choice.name in LIBRARY:
        return
    if measuring_folder(choice.name) is None:
        raise unknown("extractor (nor is it a folder with one)", choice.name, [*LIBRARY, *compact_names()])
    if choice.weights is not None:
        raise UsageError(
            f"extractor {choice.name!r} is that of a model folder, which has its own weights; leave them out"
        )


def distance_names(choice: Choice | None, card: Card | None) -> list[str]:
    """What the distances of all extractors are called after that there are, as fd_<name>: torch-fidelity's, the
    embedded ones, and that of a study or of its model.
    """
    named = [] if choice is None or choice.name in LIBRARY else [choice.name]
    folders = [folder for name in [*named, *compact_names()] if (folder := measuring_folder(name)) is not None]
    cards = [*map(load_measuring_card, folders), *([] if card is None else [card])]
    return sorted({*LIBRARY.values(), *(each.extractor.name for each in cards if each.extractor is not None)})


def _embedded(name: str, device: torch.device) -> Extractor:
    """The extractor of an embedded folder or of a path, that is there."""
    folder = measuring_folder(name)
    assert folder is not None, "refused"
    return _compact(folder, load_measuring_card(folder), device)


def check_name(name: str, where: str) -> None:
    """UsageError, beginning with `where`, for a name that no compact extractor can have."""
    compact.check(name, _RESERVED, where)


def compact_names() -> list[str]:
    """Names that mean an embedded compact extractor: its own, or its model's."""
    models = [name for name in zoo_names() if load_card(model_folder(name)).extractor is not None]
    return sorted({*extractor_names(), *models})


def _compact(folder: Path, card: Card | ExtractorFolder, device: torch.device) -> Extractor:
    if card.extractor is None:
        there = [card.measured_by] if isinstance(card, Card) and card.measured_by else compact_names()
        raise UsageError(f"model {card.name!r} has no feature extractor of its own; name {' or '.join(there)} instead")
    for needed in (EXTRACTOR_CONFIG, EXTRACTOR_WEIGHTS):
        if needed not in card.files:
            raise UsageError(f"the card of model {card.name!r} names an extractor, but its files lack {needed!r}")
    needed_files = {name: card.files[name] for name in (EXTRACTOR_CONFIG, EXTRACTOR_WEIGHTS)}
    verify_files(folder, card.model_copy(update={"files": needed_files}))
    name = card.extractor.name
    module = make_compact(name, folder, _RESERVED)
    found = _probed(module.to(device), module.image_shape, "features", "logits")
    digest = sha256_of(folder / EXTRACTOR_WEIGHTS)
    return Extractor(
        name,
        module,
        digest,
        name,
        official=False,
        layer="features",
        logits="logits",
        image_shape=module.image_shape,
        batch=_COMPACT_BATCH,
        folder=folder,
        test_accuracy=card.extractor.test_accuracy,
        **found,
    )


def _from_library(choice: Choice, device: torch.device) -> Extractor:
    """One of torch-fidelity's own, with every layer that some metric takes."""
    name, made = choice.name, FEATURE_EXTRACTORS_REGISTRY[choice.name]
    layer = made.get_default_feature_layer_for_metric("fid")
    logits = made.get_default_feature_layer_for_metric("isc") if name == INCEPTION else None
    layers = [layer] if logits is None else [layer, logits]
    if name in DINOV2:
        module, digest, official = *_dinov2(choice, layers), True
    else:
        path, digest, official = checked_weights(name, choice.weights, choice.sha256)
        module = _built(name, layers, path)
    found = _probed(module.to(device), (3, 32, 32), layer, logits)
    return Extractor(
        name,
        module,
        digest,
        LIBRARY[name],
        official,
        layer=layer,
        logits=logits,
        image_shape=None,
        **found,
        batch=_BATCH,
    )


def _built(name: str, layers: list[str], path: Path) -> FeatureExtractorBase:
    try:
        with plain_tensors_only():
            return FEATURE_EXTRACTORS_REGISTRY[name](
                name, layers, feature_extractor_weights_path=str(path), verbose=False
            )
    except pickle.UnpicklingError:
        raise UsageError(
            f"{path} does not hold plain weights of extractor {name!r}, but what would have to be unpickled, which "
            "runs code: it is not read. Where you trust it, save its tensors: torch.save(network.state_dict(), FILE)"
        ) from None
    except (RuntimeError, EOFError, TypeError, AttributeError) as error:
        reason = shortened(str(error)) or "it is empty"
        raise UsageError(f"{path} does not hold plain weights of extractor {name!r}: {reason}") from None


_DINOV2 = "the repository facebookresearch/dinov2 of github.com, or its weights of dl.fbaipublicfiles.com,"


def _dinov2(choice: Choice, layers: list[str]) -> tuple[FeatureExtractorBase, str]:
    """DINOv2 as torch's hub gives it, which needs its authors' repository as well as the weights."""
    repository = Path(torch.hub.get_dir()) / "facebookresearch_dinov2_main"
    weights = checkpoints() / f"{DINOV2[choice.name]}_pretrain.pth"
    if choice.weights is not None:
        raise UsageError(
            f"torch-fidelity takes no weights of {choice.name!r} by path; put the file to {weights} and leave them out"
        )
    try:
        with patient(), plain_tensors_only():
            module = FEATURE_EXTRACTORS_REGISTRY[choice.name](choice.name, layers, verbose=False)
    except (OSError, RuntimeError, ImportError, pickle.UnpicklingError) as error:
        raise UsageError(
            f"extractor {choice.name!r} cannot be had from torch's hub ({reason(error, _DINOV2)}). Where there is a "
            f"network, run torch.hub.load('facebookresearch/dinov2', '{DINOV2[choice.name]}') once; copy {repository} "
            f"and {weights}"
        ) from None
    digest = _hash_of(module)
    if choice.sha256 not in (None, digest):
        raise UsageError(f"the weights of {choice.name!r} have sha256 {digest}, but the study says {choice.sha256}")
    return module, digest


def _hash_of(module: FeatureExtractorBase) -> str:
    """Hexadecimal sha256 over names, shapes, dtypes and numbers of a module's state."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _probed(module: FeatureExtractorBase, shape: Sequence[int], layer: str, logits: str | None) -> dict[str, Any]:
    """Number and dtype of the features, and the number of classes, seen on a black image; UsageError for NaN, which
    weights with NaN give.
    """
    device = next(module.parameters()).device
    with torch.inference_mode(), exact_arithmetic(device):
        outputs = module.convert_features_tuple_to_dict(
            module(torch.zeros(1, *shape, dtype=torch.uint8, device=device))
        )
    if not all(bool(output.isfinite().all()) for output in outputs.values()):
        raise UsageError(f"extractor {module.get_name()!r} gives NaN or Inf on a black image: its weights are damaged")
    classes = None if logits is None else outputs[logits].shape[1]
    return {"features": outputs[layer].shape[1], "dtype": outputs[layer].dtype, "classes": classes}
