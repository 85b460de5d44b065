"""The model folder of a training on small photographs: the network, and a card that says how good it is."""

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.environment import device_name
from bench.quality.compact import EXTRACTOR_CONFIG, EXTRACTOR_WEIGHTS
from bench.quality.datasets import DATA_SETS
from bench.quality.reference import REFERENCE
from bench.training.export import settings_of, source_of, to_storage, write_card, write_unet
from bench.training.job import Job, has_test_set
from bench.training.loop import Trained
from bench.training.options import CifarOptions
from bench.training.recipe import Recipe
from bench.training.views import Views, distance, draw
from models.common.program import called
from models.loading.sources import EXTRACTORS, describe_model, load_measuring_card
from models.networks.execution import arithmetic
from models.networks.network import make_unet

_SCHEDULE = {"kind": "linear", "train_steps": 1000, "beta_start": 1e-4, "beta_end": 0.02}


def export(job: Job, trained: Trained, recipe: Recipe, views: Views, folder: Path) -> None:
    """Fill an empty folder with the model.

    Args:
        job: data, network and options.
        trained: the averaged weights.
        recipe: that they were trained with.
        views: measures samples of the weights as they are stored.
        folder: to fill.
    """
    stored = to_storage(trained.state, torch.float16 if job.options.storage == "fp16" else torch.float32)
    write_unet(folder, job.config, stored, job.options.shard_mib)
    card = _card(job, trained, recipe)
    if job.measured_by is not None:
        card |= _measured(job.measured_by, folder) | {"quality": _quality(job, stored, views)}
    write_card(folder, card)


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


def _quality(job: Job, stored: dict[str, Tensor], views: Views) -> dict[str, Any]:
    """The distance of samples to the reference, beside that of as many unseen images of the data set itself."""
    unet = make_unet(job.config)
    unet.load_state_dict(stored)
    unet = unet.to(job.device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
    with arithmetic("fp32"):
        drawn = draw(unet, job.schedule, job.shape, views.steps, views.images)
    found = views.quality(drawn)
    quality = {"sampler": "ddim", "grid": "trailing", "steps": views.steps} | found
    if views.measure is None or job.test_set is None or not has_test_set(job.test_set):
        return quality
    order = torch.randperm(len(job.test_set.images), generator=torch.Generator().manual_seed(0))
    unseen = job.test_set.images[order[: views.images]]
    column = views.measure[0].column(len(unseen))
    return quality | {f"{column}_unseen": distance(*views.measure, unseen), "unseen_images": len(unseen)}


def _card(job: Job, trained: Trained, recipe: Recipe) -> dict[str, Any]:
    options = job.options
    parameters = sum(tensor.numel() for tensor in trained.state.values())
    return {
        "schema_version": 1,
        "name": options.called,
        "description": f"DDPM U-Net (diffusers UNet2DModel, {parameters / 1e6:.1f} million parameters) of "
        f"{job.shape[2]} x {job.shape[1]} photographs.",
        "data": source_of(job.train_set, options.data),
        "data_licence": "that of the data",
        "training_command": _command(job),
        "shape": list(job.shape),
        "parametrisation": "epsilon",
        "clip": [-1.0, 1.0],
        "schedule": _SCHEDULE,
        "training": _training(job, trained, recipe),
    }


def _training(job: Job, trained: Trained, recipe: Recipe) -> dict[str, int | float | str]:
    new = (trained.steps - trained.began) * recipe.batch
    start = job.options.start
    before = 0 if start is None else int(describe_model(str(start)).training.get("images_seen", 0))
    return settings_of(recipe) | {
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
    said += "" if options.data in DATA_SETS else f" --data {Path(options.data).resolve().name}"
    said += "" if options.start is None else f" --from {options.start.name}"
    said += "" if options.storage == CifarOptions.storage else f" --storage {options.storage}"
    said += "" if options.name is None else f" --name {options.name}"
    said += "" if options.flips else " --no-flips"
    return f"{called('train')} train cifar10 {said}"
