"""`run_bench.py train extractor`: a small residual network that tells the classes of images apart, for its features.

With it come the statistics of the same data, and how far other real images are from them: what a perfect generator
would get.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.environment import device_name, versions
from bench.quality.compact import EXTRACTOR_CONFIG, EXTRACTOR_WEIGHTS
from bench.quality.datasets import DATA_SETS, DataSet
from bench.quality.extractor import Extractor
from bench.quality.extractors import Chosen, check_name, load_extractor
from bench.quality.features import extract
from bench.quality.floors import between, halves
from bench.quality.metrics import QualityStream
from bench.quality.reference import LEAST_FEATURES, REFERENCE, load_reference
from bench.quality.reference_maker import write_statistics
from bench.training.export import replace_folder, settings_of, source_of, to_storage, write_card
from bench.training.job import (
    HELD_OUT,
    MODEL,
    Say,
    announce,
    check_writing,
    deadline_of,
    has_test_set,
    open_splits,
    part,
    to_stderr,
)
from bench.training.losses import Keeping, Numerics, Recipe, Reporter, Trained, cropping_loss, train
from bench.training.options import ExtractorOptions, side_of
from models.cards.card import ExtractorFolder
from models.common.errors import UsageError
from models.common.program import called
from models.common.sealed import save_tensors
from models.common.writing import write_text
from models.networks.classifier import make_classifier
from models.networks.execution import arithmetic

_PAD = 4
_BATCH = 500
_LEAST = 16
"""Images without which metrics have no meaning: as of a study."""
_FAINT = 0.25
"""Of the way from guessing to no error at all: less says little of what images show."""
_METRICS = ("fd", "kid", "inception_score", "precision_recall")


def train_extractor(options: ExtractorOptions, reporter: Reporter, say: Say = to_stderr) -> Path | None:
    """Train a feature extractor, as far as time allows, and write its folder.

    Args:
        options: everything about it.
        reporter: shows progress.
        say: takes lines for people to read.

    Returns:
        The folder, `options.out / "model"`; None if time ran out before the end: the same command goes on.

    Raises:
        UsageError: data or device cannot be used; the data have no classes to tell apart.
    """
    began = time.monotonic()
    check_writing(options.out, ExtractorFolder)
    unnamed = f"--name is not given, and {options.data!r}"
    check_name(options.called, unnamed if options.name is None else f"--name {options.name!r}")
    device = options.torch_device()
    whole, test_set = open_splits(options.data)
    announce(whole, test_set, device, say)
    if test_set is None or test_set.labels is None:
        raise UsageError(
            f"{options.data} has no classes, which an extractor learns to tell apart; expected a folder with one "
            "subfolder a class, and two or more of them"
        )
    if options.features != 0 and len(whole.images) < (least := max(LEAST_FEATURES.values())):
        raise UsageError(f"{whole.name} holds {len(whole.images)} images; {least} are the least that metrics need")
    if options.features is not None and options.features > len(whole.images):
        raise UsageError(f"features of {options.features} images are to be kept, and there are {len(whole.images)}")
    kept = torch.arange(len(whole.images)) % HELD_OUT != HELD_OUT - 1
    seen = whole if has_test_set(test_set) else part(whole, kept)
    config = _config(options, whole)
    with arithmetic("tf32"):
        trained, recipe = _fit(options, config, seen, test_set, device, deadline_of(options, began), reporter)
    if trained.steps < recipe.steps:
        say("time ran out while the extractor was trained; give the same command again to go on")
        return None
    state = to_storage(trained.state, torch.float16)
    with arithmetic("fp32"):
        accuracy = accuracy_of(_network(config, state, device), test_set.images, test_set.labels)
    say(f"accuracy {accuracy:.4f} on {len(test_set.images):,} unseen images")
    if (doubt := doubt_of(accuracy, test_set.labels, options)) is not None:
        say(f"warning: {doubt}")
    card = _card(options, whole, recipe, trained, accuracy) | {"data": source_of(whole, options.data)}

    def write(folder: Path) -> None:
        (folder / EXTRACTOR_CONFIG).parent.mkdir()
        write_text(folder / EXTRACTOR_CONFIG, json.dumps(config, indent=1) + "\n")
        save_tensors(folder / EXTRACTOR_WEIGHTS, state)
        write_card(folder, card, ExtractorFolder)
        extractor = load_extractor(Chosen(str(folder)), None, device)
        about = {name: str(version) for name, version in versions().items()}
        about |= {"data": options.called, "images_sha256": replace(whole, labels=None).sha256()}
        write_statistics(folder / REFERENCE, extractor, whole.images, features=options.features, about=about)
        write_card(folder, card, ExtractorFolder)
        floors = _floors(extractor, whole, test_set, _METRICS if options.features != 0 else ("fd", "inception_score"))
        write_card(folder, card | {"quality": floors}, ExtractorFolder)
        say(", ".join(f"{name} {value}" for name, value in floors.items()))

    replace_folder(options.out / MODEL, write)
    return options.out / MODEL


def _config(options: ExtractorOptions, data: DataSet) -> dict[str, Any]:
    shape = tuple(data.images.shape[1:])
    return {
        "_class_name": "ResNet9",
        "size": side_of(shape, "the extractor"),
        "channels": shape[0],
        "width": options.width,
        "classes": len(data.classes or ()),
    }


def _fit(
    options: ExtractorOptions,
    config: dict[str, Any],
    train_set: DataSet,
    test_set: DataSet,
    device: torch.device,
    deadline: float,
    reporter: Reporter,
) -> tuple[Trained, Recipe]:
    """Train it, or go on where a training was, until a deadline as in `Keeping`."""
    if train_set.labels is None or train_set.classes != test_set.classes:
        raise UsageError(f"{train_set.name} has classes {train_set.classes}, {test_set.name} {test_set.classes}")
    torch.manual_seed(options.seed)  # the initial weights
    network = make_classifier(config).to(device).to(memory_format=torch.channels_last)
    recipe = options.recipe(len(train_set.images))
    numerics = Numerics(bf16=options.use_bf16(device))
    loss_of = cropping_loss(network, train_set.images, train_set.labels, recipe, numerics, _PAD)
    with reporter("feature extractor", recipe.steps) as report:
        keep = Keeping(
            options.out / "extractor",
            report,
            identity={"network": config, "data": train_set.sha256()},
            shard_mib=options.shard_mib,
            deadline=deadline,
            read_every=options.read_every(device),
        )
        return train(network, loss_of, recipe, keep), recipe


def _network(config: dict[str, Any], state: dict[str, Tensor], device: torch.device) -> nn.Module:
    """With weights as they are stored, in float32."""
    network = make_classifier(config)
    network.load_state_dict(state)
    return network.to(device).eval().requires_grad_(False)


@torch.inference_mode()
def accuracy_of(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The fraction of uint8 images (N, C, H, W) whose largest logit is at their label (N,)."""
    device = next(network.parameters()).device
    found = torch.cat([network(batch.to(device))[1].argmax(1).cpu() for batch in images.split(_BATCH)])
    return float((found == labels).double().mean())


def doubt_of(accuracy: float, labels: Tensor, options: ExtractorOptions) -> str | None:
    """Why an extractor's features are worth nothing, in words; None: its accuracy says no such thing.

    Args:
        accuracy: on unseen images.
        labels: (N,) of these.
        options: that it was trained with.
    """
    guessed = float(labels.bincount().max()) / len(labels)
    spread = (guessed * (1.0 - guessed) / len(labels)) ** 0.5
    if accuracy > guessed + max(_FAINT * (1.0 - guessed), 3.0 * spread):
        return None
    flips = ", with --no-flips if a mirrored image is of another class or none" if options.flips else ""
    return (
        f"to name the most frequent class every time gives {guessed:.4f}, so this extractor has learned next to "
        f"nothing: distances in its features tell little of images. Train it for more --epochs{flips}, or on more "
        "images"
    )


def _card(
    options: ExtractorOptions, data: DataSet, recipe: Recipe, trained: Trained, accuracy: float
) -> dict[str, Any]:
    said = f"--epochs {options.epochs} --width {options.width} --seed {options.seed} --name {options.called}"
    said += "" if options.data in DATA_SETS else f" --data {Path(options.data).resolve().name}"
    said += "" if options.features is None else f" --features {options.features}"
    said += "" if options.flips else " --no-flips"
    return {
        "schema_version": 1,
        "kind": "extractor",
        "name": options.called,
        "description": "A feature extractor and reference statistics of the data, without a model.",
        "data_licence": "that of the data",
        "training_command": f"{called('train')} train extractor {said}",
        "extractor": {
            "name": options.called,
            "description": "ResNet9 trained on the classes of the data; its pooled activations are the features.",
            "test_accuracy": accuracy,
        },
        "training": settings_of(recipe)
        | {
            "weights": "EMA, stored as fp16",
            "precision": "bf16" if options.use_bf16(options.torch_device()) else "fp32",
            "seconds": round(trained.seconds),
            "hardware": device_name(options.torch_device()),
            "loss": trained.loss,
            "data_sha256": data.sha256(),
        },
    }


def _floors(extractor: Extractor, whole: DataSet, test_set: DataSet, metrics: Sequence[str]) -> dict[str, Any]:
    """What real images get: halves of the data from one another, and images that the extractor was not trained on."""
    features = extract(extractor, whole.images).features
    distances = [between(one, other) for one, other in halves(features)]
    count = len(features) // 2
    floors = {"halves_images": count, f"halves_{extractor.column(count)}": sum(distances) / len(distances)}
    if not has_test_set(test_set) or len(test_set.images) < _LEAST:
        return floors
    stream = QualityStream(extractor, load_reference(None, extractor, metrics), metrics)
    stream.add(test_set.images)
    unseen = {f"unseen_{name}": value for name, value in stream.values().items() if value is not None}
    return floors | {"unseen_images": len(test_set.images)} | unseen
