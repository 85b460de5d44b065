"""`run_bench.py train extractor`: a network that learns to tell the classes of images apart, for its features.

With it come the statistics of the same data, and how far other real images are from them: what a perfect generator
would get.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.environment import versions
from bench.quality.compact import EXTRACTOR_CONFIG, EXTRACTOR_WEIGHTS
from bench.quality.datasets import DataSet
from bench.quality.extractor import Extractor
from bench.quality.extractors import Chosen, check_name, load_extractor
from bench.quality.features import extract
from bench.quality.floors import between, halves
from bench.quality.metrics import QualityStream
from bench.quality.reference import LEAST_FEATURES, REFERENCE, load_reference
from bench.quality.reference_maker import write_statistics
from bench.training.data import HELD_OUT, Say, announce, has_test_set, open_splits, part, side_of, to_stderr
from bench.training.folder import card_of, check_writing, command_of, to_storage, write_card, write_folder, write_json
from bench.training.loop import Keeping, Reporter, Trained, train
from bench.training.losses import cropping_loss
from bench.training.options import FEWEST_FEATURES, ExtractorOptions
from bench.training.recipe import Recipe
from models.cards.folder_card import ExtractorFolder
from models.common.errors import UsageError
from models.common.sealed import save_tensors
from models.networks.classifier import make_classifier
from models.networks.execution import arithmetic

_PAD = 4
_BATCH = 500
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
    test_set = _checked(options, whole, test_set)
    kept = torch.arange(len(whole.images)) % HELD_OUT != HELD_OUT - 1
    seen = whole if has_test_set(test_set) else part(whole, kept)
    config = {
        "_class_name": "ResNet9",
        "size": side_of(whole.images.shape[1:], "the extractor"),
        "channels": whole.images.shape[1],
        "width": options.width,
        "classes": len(whole.classes or ()),
    }
    recipe = recipe_of(options, len(seen.images))
    with arithmetic("tf32"):
        trained = _fit(options, config, recipe, seen, options.deadline(began), reporter)
    if trained.steps < recipe.steps:
        say("time ran out while the extractor was trained; give the same command again to go on")
        return None
    state = to_storage(trained.state, torch.float16)
    network = make_classifier(config)
    network.load_state_dict(state)  # as it is stored, in float32
    assert test_set.labels is not None
    with arithmetic("fp32"):
        accuracy = accuracy_of(network.to(device).eval(), test_set.images, test_set.labels)
    say(f"accuracy {accuracy:.4f} on {len(test_set.images):,} unseen images")
    if (doubt := doubt_of(accuracy, test_set.labels, options)) is not None:
        say(f"warning: {doubt}")
    card = _card(options, whole, recipe, trained, accuracy)

    def write(folder: Path) -> None:
        write_json(folder / EXTRACTOR_CONFIG, config)
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

    return write_folder(options.out, write)


def _checked(options: ExtractorOptions, whole: DataSet, test_set: DataSet | None) -> DataSet:
    """The images to test on; UsageError for data that no extractor, or not this one, can be made of."""
    if test_set is None or test_set.labels is None:
        raise UsageError(
            f"{options.data} has no classes, which an extractor learns to tell apart; expected a folder with one "
            "subfolder a class, and two or more of them"
        )
    if whole.labels is None or whole.classes != test_set.classes:
        raise UsageError(f"{whole.name} has classes {whole.classes}, {test_set.name} {test_set.classes}")
    if options.features != 0 and len(whole.images) < (least := max(LEAST_FEATURES.values())):
        raise UsageError(f"{whole.name} holds {len(whole.images)} images; {least} are the least that metrics need")
    if options.features is not None and options.features > len(whole.images):
        raise UsageError(f"features of {options.features} images are to be kept, and there are {len(whole.images)}")
    return test_set


def recipe_of(options: ExtractorOptions, images: int) -> Recipe:
    """D. Page's (2018): one cycle of SGD with momentum, peak 0.4 at a batch of 512."""
    batch = min(512, images)
    steps = max(1, options.epochs * images // batch)
    return Recipe(
        steps=steps,
        batch=batch,
        learning_rate=0.4 * batch / 512,
        warmup=max(1, steps // 5),
        ema_decay=0.995,
        seed=options.seed,
        checkpoint_every=max(100, steps // 5),
        optimiser="sgd",
        weight_decay=5e-4,
        clip_norm=0.0,
        flips=options.flips,
    )


def _fit(
    options: ExtractorOptions,
    config: dict[str, Any],
    recipe: Recipe,
    data: DataSet,
    deadline: float,
    reporter: Reporter,
) -> Trained:
    """Train it, or go on where a training was."""
    assert data.labels is not None
    device = options.torch_device()
    torch.manual_seed(options.seed)  # the initial weights
    network = make_classifier(config).to(device).to(memory_format=torch.channels_last)
    loss_of = cropping_loss(network, data.images, data.labels, recipe, _PAD, bf16=options.use_bf16(device))
    with reporter("feature extractor", recipe.steps) as report:
        identity = {"network": config, "data": data.sha256()}
        keep = Keeping(options.out / "extractor", report, identity, options.shard_mib, deadline=deadline)
        return train(network, loss_of, recipe, keep)


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
    said = {"epochs": options.epochs, "width": options.width, "seed": options.seed, "name": options.called}
    return card_of(options, data, recipe, trained, "fp16") | {
        "kind": "extractor",
        "description": "A feature extractor and reference statistics of the data, without a model.",
        "training_command": command_of("extractor", options, said, ("data", "features")),
        "extractor": {
            "name": options.called,
            "description": "ResNet9 trained on the classes of the data; its pooled activations are the features.",
            "test_accuracy": accuracy,
        },
    }


def _floors(extractor: Extractor, whole: DataSet, test_set: DataSet, metrics: Sequence[str]) -> dict[str, Any]:
    """What real images get: halves of the data from one another, and images that the extractor was not trained on."""
    features = extract(extractor, whole.images).features
    distances = [between(one, other) for one, other in halves(features)]
    count = len(features) // 2
    floors = {"halves_images": count, f"halves_{extractor.column(count)}": sum(distances) / len(distances)}
    if not has_test_set(test_set) or len(test_set.images) < FEWEST_FEATURES:
        return floors
    stream = QualityStream(extractor, load_reference(None, extractor, metrics), metrics)
    stream.add(test_set.images)
    # a card holds numbers; values without a block each, for differences between rows, are a record's
    unseen = {f"unseen_{name}": value for name, value in stream.values().items() if isinstance(value, (int, float))}
    return floors | {"unseen_images": len(test_set.images)} | unseen
