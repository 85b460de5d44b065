"""The model folder of a training on small photographs: network, extractor, reference, and a card that says how good."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from bench.datasets import DATA_SETS
from bench.environment import device_name
from bench.quality.extractors import load_extractor
from bench.quality.reference import REFERENCE
from bench.quality.reference_file import write_statistics
from bench.training.export import write_card, write_unet
from bench.training.extractor import Fitted, to_storage
from bench.training.job import Job
from bench.training.options import CifarOptions
from bench.training.views import Views, distance, draw, feature_moments
from models.description import load_card
from models.networks import make_unet
from models.recipe import Recipe
from models.training_loop import Trained
from models.zoo import load_model

_COMMAND = "uv run --extra train run_bench.py train cifar10"
_SCHEDULE = {"kind": "linear", "train_steps": 1000, "beta_start": 1e-4, "beta_end": 0.02}
_SOURCE = {
    "cifar10": "CIFAR-10 (A. Krizhevsky, 2009), the 50,000 training images, through torchvision",
    "cifar10-test": "CIFAR-10 (A. Krizhevsky, 2009), the 10,000 test images, through torchvision",
}


def export(job: Job, trained: Trained, recipe: Recipe, fitted: Fitted | None, views: Views, folder: Path) -> None:
    """Fill an empty folder with the model.

    Args:
        job: data, network and options.
        trained: the averaged weights.
        recipe: that they were trained with.
        fitted: the extractor; None: the data have no classes.
        views: measures samples of the weights as they are stored.
        folder: to fill.
    """
    options, cpu = job.options, torch.device("cpu")
    dtype = torch.float16 if options.storage == "fp16" else torch.float32
    write_unet(folder, job.config, to_storage(trained.state, dtype), options.shard_mib)
    card = _card(job, trained, recipe, fitted)
    if fitted is not None:
        fitted.write(folder)
        write_card(folder, card)
        extractor = load_extractor(None, load_model(str(folder), cpu), job.device)
        about = {"data": Path(job.train_set.name).name, "images_sha256": job.train_set.sha256()}
        images, path = job.train_set.images, folder / REFERENCE
        write_statistics(path, extractor, images, features=options.keep_features, about=about)
        card["quality"] = _quality(job, trained, views)
    write_card(folder, card)


def _quality(job: Job, trained: Trained, views: Views) -> dict[str, Any]:
    """The distance of samples to the data, beside that of as many unseen images of the data set itself."""
    dtype = torch.float16 if job.options.storage == "fp16" else torch.float32
    unet = make_unet(job.config)
    unet.load_state_dict(to_storage(trained.state, dtype))
    unet = unet.to(job.device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
    found = views.measure(draw(unet, job.schedule, job.shape, views.steps, views.images))
    if found is None or views.extractor is None or views.real is None or job.test_set is None:
        return {}
    quality = {"sampler": "ddim", "grid": "trailing", "steps": views.steps} | found
    if not job.has_test_set:  # its stand-in is among the images that the distance is taken to
        return quality
    order = torch.randperm(len(job.test_set.images), generator=torch.Generator().manual_seed(0))
    unseen = job.test_set.images[order[: views.images]]
    floor = distance(feature_moments(views.extractor, unseen), views.real)
    return quality | {f"{views.column}_unseen": floor, "unseen_images": len(unseen)}


def _card(job: Job, trained: Trained, recipe: Recipe, fitted: Fitted | None) -> dict[str, Any]:
    options = job.options
    parameters = sum(tensor.numel() for tensor in trained.state.values())
    card: dict[str, Any] = {
        "schema_version": 1,
        "name": options.name,
        "description": f"DDPM U-Net (diffusers UNet2DModel, {parameters / 1e6:.1f} million parameters) of "
        f"{job.shape[2]} x {job.shape[1]} photographs.",
        "data": _SOURCE.get(
            options.data, f"{len(job.train_set.images):,} images of the folder {Path(options.data).name!r}"
        ),
        "data_licence": "that of the data",
        "training_command": _command(job),
        "shape": list(job.shape),
        "parametrisation": "epsilon",
        "clip": [-1.0, 1.0],
        "schedule": _SCHEDULE,
        "training": _training(job, trained, recipe),
    }
    if fitted is not None:
        card["extractor"] = {
            "name": options.name,
            "description": f"{fitted.config['_class_name']} trained on the classes of the same data; "
            "its pooled activations are the features.",
            "test_accuracy": fitted.accuracy,
        }
    return card


def _training(job: Job, trained: Trained, recipe: Recipe) -> dict[str, int | float | str]:
    new = (trained.steps - trained.began) * recipe.batch
    before = 0 if job.options.start is None else int(load_card(job.options.start).training.get("images_seen", 0))
    settings = {name: int(value) if isinstance(value, bool) else value for name, value in asdict(recipe).items()}
    return settings | {
        "steps": trained.steps,
        "images_seen": before + new,
        "weights": f"EMA, stored as {job.options.storage}",
        "precision": "bf16" if job.options.use_bf16(job.device) else "fp32",
        "seconds": round(trained.seconds),
        "hardware": device_name(job.device),
        "loss": trained.loss,
        "data_sha256": job.train_set.sha256(),
        "continued_from_step": trained.began,
    }


def _command(job: Job) -> str:
    """What was typed, as far as the weights depend on it, with folders by their names."""
    options, width = job.options, job.config["block_out_channels"][0]
    said = f"--steps {options.steps} --batch {options.batch} --width {width} --seed {options.seed}"
    said += f" --learning-rate {options.learning_rate:g}" if options.learning_rate != CifarOptions.learning_rate else ""
    said += "" if options.warmup is None else f" --warmup {options.warmup}"
    said += "" if options.data in DATA_SETS else f" --data {Path(options.data).name}"
    said += "" if options.start is None else f" --from {options.start.name}"
    return f"{_COMMAND} {said}"
