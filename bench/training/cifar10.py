"""`run_bench.py train cifar10`: a DDPM of small photographs.

J. Ho et al., arXiv 2006.11239: U-Net, eps prediction, 1,000 linear betas. It goes on where it was when the same command
is given again.
"""

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from bench.quality.compact import EXTRACTOR_CONFIG, EXTRACTOR_WEIGHTS
from bench.quality.datasets import DataSet
from bench.quality.extractors import Chosen, compact_names, load_extractor
from bench.quality.reference import REFERENCE, load_reference
from bench.training.data import Say, announce, has_test_set, open_splits, to_stderr
from bench.training.folder import (
    card_of,
    check_writing,
    command_of,
    to_storage,
    write_card,
    write_folder,
    write_network,
)
from bench.training.loop import Keeping, Reporter, Start, Trained, train
from bench.training.loss_curve import LossCurve
from bench.training.losses import denoising_loss
from bench.training.options import CifarOptions
from bench.training.recipe import Recipe, warmup_of
from bench.training.samples import Samples
from bench.training.unet import begin_at_zero, compiled, unet_config
from models.cards.card import Card
from models.common.errors import UsageError
from models.common.files import read_json
from models.loading.layout import CONFIG
from models.loading.sources import EXTRACTORS, describe_model, extractor_names, load_measuring_card, measuring_folder
from models.loading.zoo import load_model
from models.networks.execution import arithmetic
from models.networks.network import make_unet
from models.plugins.registry import unknown
from models.schedule import DiscreteVP

SCHEDULE = {"kind": "linear", "train_steps": 1000, "beta_start": 1e-4, "beta_end": 0.02}
"""`DiscreteVP.linear`, as cards have it."""

_CURVE_ROWS, _CURVE_EVERY = 50, 100  # rows of a short training, and steps a row of a long one


class _Start(NamedTuple):
    """A model folder that is trained further: the U-Net's config, its weights, and the images that they have seen."""

    config: dict[str, Any]
    weights: Start
    images_seen: int


def train_cifar10(options: CifarOptions, reporter: Reporter, say: Say = to_stderr) -> Path | None:
    """Train the denoiser, as far as time allows, and write the model folder.

    Args:
        options: everything about it.
        reporter: shows progress of a stage.
        say: takes lines for people to read: loss, rate and time left, and what was decided on the way.

    Returns:
        The model folder, `options.out / "model"`; None if time ran out before there was a network to write.

    Raises:
        UsageError: data, device, checkpoint or weights to start from cannot be used.
    """
    began = time.monotonic()
    if options.start is not None:
        options = replace(options, start=options.start.resolve())  # a path, whatever embedded names there are
    check_writing(options.out, Card)
    device = options.torch_device()
    data, test_set = open_splits(options.data)
    announce(data, test_set, device, say)
    start = None if options.start is None else _start(options.start)
    if start is not None:
        data = data.with_channels(start.config.get("in_channels", data.images.shape[1]))
        _check_start(start, options, data, say)
    channels, height, width = data.images.shape[1:]
    config = unet_config(options.width, (channels, height, width)) if start is None else start.config
    samples, measured_by = _samples(options, (channels, height, width), device, say)
    recipe = _recipe(options, start)
    with arithmetic("tf32"):  # while it is trained; what is measured later is in float32 again
        trained = _fit(options, config, data, recipe, start, samples, options.deadline(began), reporter, say)
    if trained.steps == 0:
        say("time ran out before the first step of the denoiser; give the same command again to go on")
        return None
    card = _card(options, config, data, recipe, trained, 0 if start is None else start.images_seen)

    def write(folder: Path) -> None:
        stored = to_storage(trained.state, torch.float16 if options.storage == "fp16" else torch.float32)
        write_network(folder, {"_class_name": "UNet2DModel"} | config, stored, options.shard_mib)
        about = {} if measured_by is None else _measured(measured_by, folder)
        if measured_by is not None:
            unet = make_unet(config)
            unet.load_state_dict(stored)
            about["quality"] = _quality(unet.to(device), samples, test_set)
        write_card(folder, card | about)

    return write_folder(options.out, write)


def _start(folder: Path) -> _Start:
    model = load_model(str(folder), torch.device("cpu"))
    unet = getattr(model.network, "unet", None)
    if not isinstance(unet, nn.Module) or model.card.parametrisation != "epsilon":
        raise UsageError(f"{folder} is not a U-Net that predicts eps on discrete levels, so it cannot be trained on")
    card, found = model.card.training, dict[str, float]()
    for name, kind in (("steps", int), ("images_seen", int), ("seconds", int | float), ("loss", int | float)):
        if not isinstance(value := card.get(name, 0), kind):
            wanted = "a whole number" if kind is int else "a number"
            raise UsageError(f"{folder}: the card's training.{name} is {value!r}; expected {wanted}")
        found[name] = float(value)
    config = {key: value for key, value in read_json(model.folder / CONFIG).items() if not key.startswith("_")}
    weights = Start(unet.state_dict(), int(found["steps"]), found["seconds"], found["loss"], model.sha256)
    return _Start(config, weights, int(found["images_seen"]))


def _check_start(start: _Start, options: CifarOptions, data: DataSet, say: Say) -> None:
    """UsageError for a model that these options cannot train further."""
    config, step = start.config, start.weights.step
    side = config.get("sample_size")
    if (config.get("in_channels"), side, side) != tuple(data.images.shape[1:]):
        raise UsageError(f"{options.start} is a model of other images than {options.data} holds; start from none")
    if step >= options.steps:
        raise UsageError(
            f"{options.start} was trained for {step:,} steps already, and --steps {options.steps} counts them too: "
            "nothing would be left to do. Give more"
        )
    if config["block_out_channels"][0] != options.width != CifarOptions.width:
        say(f"{options.start} has width {config['block_out_channels'][0]} and keeps it; --width has no part in it")


def _samples(
    options: CifarOptions, shape: tuple[int, int, int], device: torch.device, say: Say
) -> tuple[Samples, Path | None]:
    """What is shown on the way and measured in the end, and the folder of the extractor that it is measured with."""
    measured_by, measure = _measured_by(options), None
    if measured_by is None:
        say("no feature extractor, so no distances: train one of the same data first, and give it as --extractor")
    else:
        extractor = load_extractor(Chosen(str(measured_by)), None, device)
        extractor.check((), shape)
        measure = extractor, load_reference(None, extractor)
    steps, images, every = options.sampling_steps, options.quality_images, options.grid_every
    return Samples(DiscreteVP.linear(), shape, steps, images, measure, options.out, every), measured_by


def _measured_by(options: CifarOptions) -> Path | None:
    named = options.extractor
    if named is None and options.start is not None:
        card = describe_model(str(options.start))
        if card.extractor is not None:
            return options.start
        named = card.measured_by
    if named is None and options.data in extractor_names():
        named = options.data
    if named is None:
        return None
    if (folder := measuring_folder(named)) is None:
        raise unknown("extractor (nor is it a folder with one)", named, compact_names())
    return folder.resolve()


def _recipe(options: CifarOptions, start: _Start | None) -> Recipe:
    """DDPM's (arXiv 2006.11239, appendix B); weights that are trained further only need the optimiser's warm-up."""
    return Recipe(
        steps=options.steps,
        batch=options.batch,
        learning_rate=options.learning_rate,
        warmup=options.warmup or warmup_of(options.steps, 500 if start else 5_000),
        ema_decay=0.9999,
        seed=options.seed,
        checkpoint_every=options.checkpoint_every,
        decay="constant",
        flips=options.flips,
    )


def _fit(
    options: CifarOptions,
    config: dict[str, Any],
    data: DataSet,
    recipe: Recipe,
    start: _Start | None,
    samples: Samples,
    deadline: float,
    reporter: Reporter,
    say: Say,
) -> Trained:
    device = options.torch_device()
    bf16, on_cuda = options.use_bf16(device), device.type == "cuda"
    torch.manual_seed(options.seed)  # the initial weights
    unet = begin_at_zero(make_unet(config)).to(device).to(memory_format=torch.channels_last)
    wanted = on_cuda if options.compile is None else options.compile
    predict = compiled(unet, (options.batch, *data.images.shape[1:]), bf16, say) if wanted else None
    loss_of = denoising_loss(unet, data.images, samples.schedule, recipe, bf16=bf16, predict=predict)
    every = min(_CURVE_EVERY, max(1, recipe.steps // _CURVE_ROWS))
    with reporter("denoiser", recipe.steps) as report:
        keep = Keeping(
            options.out / "denoiser",
            report,
            identity={"network": config, "data": data.sha256()},
            shard_mib=options.shard_mib,
            save_seconds=60.0 * options.checkpoint_minutes,
            deadline=deadline,
            curve=LossCurve(options.out / "loss.jsonl", every, recipe.batch, recipe.steps, say),
            watch=samples,
        )
        return train(unet, loss_of, recipe, keep, None if start is None else start.weights)


def _measured(origin: Path, folder: Path) -> dict[str, Any]:
    """What a card says of the extractor; one that is not embedded goes with the model, its reference too."""
    if origin.parent == EXTRACTORS.resolve():
        return {"measured_by": origin.name}
    card = load_measuring_card(origin)
    assert card.extractor is not None  # it was loaded before anything was trained
    for name in (EXTRACTOR_CONFIG, EXTRACTOR_WEIGHTS, REFERENCE):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(origin / name, folder / name)
    return {"extractor": card.extractor.model_dump()}


def _quality(unet: nn.Module, samples: Samples, test_set: DataSet | None) -> dict[str, Any]:
    """The distance of samples to the reference, beside that of as many unseen images of the data set itself."""
    unet = unet.to(memory_format=torch.channels_last).eval().requires_grad_(False)
    with arithmetic("fp32"):
        drawn = samples.of(unet, samples.images)
    quality = {"sampler": "ddim", "grid": "trailing", "steps": samples.steps} | samples.quality(drawn)
    if test_set is None or not has_test_set(test_set):
        return quality
    order = torch.randperm(len(test_set.images), generator=torch.Generator().manual_seed(0))
    unseen = samples.quality(test_set.images[order])
    return quality | {"unseen_images" if name == "images" else f"{name}_unseen": n for name, n in unseen.items()}


def _card(
    options: CifarOptions, config: dict[str, Any], data: DataSet, recipe: Recipe, trained: Trained, seen_before: int
) -> dict[str, Any]:
    channels, height, width = data.images.shape[1:]
    millions = sum(tensor.numel() for tensor in trained.state.values()) / 1e6
    said = {"steps": options.steps, "batch": options.batch, "width": config["block_out_channels"][0]}
    others = ("learning_rate", "warmup", "data", "start", "storage", "name")
    card = card_of(options, data, recipe, trained, options.storage)
    card["training"] |= {
        "steps": trained.steps,
        "images_seen": seen_before + (trained.steps - trained.began) * recipe.batch,
        "continued_from_step": trained.began,
    }
    return card | {
        "description": f"DDPM U-Net (diffusers UNet2DModel, {millions:.1f} million parameters) of "
        f"{width} x {height} photographs.",
        "training_command": command_of("cifar10", options, said | {"seed": options.seed}, others),
        "shape": [channels, height, width],
        "parametrisation": "epsilon",
        "clip": [-1.0, 1.0],
        "schedule": SCHEDULE,
    }
