"""A network of CIFAR-10's photographs, trained for as long as the stage lasts, and its samples."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from bench.training.cifar10 import train_cifar10
from bench.training.loop import Report
from bench.training.options import CifarOptions
from bench.training.samples import Samples, save_grid
from models.loading.sources import ZOO
from models.loading.zoo import load_model
from models.networks.execution import arithmetic
from models.networks.network import IndexedUNet
from models.schedule import DiscreteVP

from .job import Job
from .prepare import data_folder, training_shape

_SHIPPED = ZOO / "cifar10"
_GRID, _STEPS = 64, 20


def run(job: Job) -> None:
    """Train, export, draw a grid; a second call goes on from the checkpoint of the first."""
    width, batch = training_shape(job)
    export_s = 15.0 if job.rehearse else 60.0
    options = CifarOptions(
        out=job.work / "train",
        data=str(data_folder(job)),
        minutes=max(0.05, (job.left_s - export_s) / 60.0),
        steps=3 if job.rehearse else 200_000,
        batch=batch,
        width=width,
        device=str(job.device),
        precision="bf16",
        learning_rate=4e-4,
        warmup=500,
        grid_every=0,
        checkpoint_minutes=1.5,
        start=_SHIPPED if _SHIPPED.is_dir() and not job.rehearse else None,
        storage="fp16",
        extractor="cifar10",
        sampling_steps=2 if job.rehearse else _STEPS,
        quality_images=16 if job.rehearse else 1_000,
        name="cifar10",
    )
    folder = train_cifar10(options, _every_hundred, lambda line: print(line, flush=True))
    if folder is None:
        raise RuntimeError("time ran out before the first step")
    model = load_model(str(folder), job.device)
    training, unet = model.card.training, model.network
    job.put(training=training, quality=model.card.quality, images_per_s=_rate(training))
    assert isinstance(unet, IndexedUNet)
    assert isinstance(model.schedule, DiscreteVP)
    with arithmetic("tf32" if job.device.type == "cuda" else "fp32"):
        samples = Samples(model.schedule, (3, 32, 32), options.sampling_steps)
        drawn = samples.of(unet.unet, _GRID if not job.rehearse else 8)
    save_grid(drawn, job.work / "train" / "samples.png")
    job.put(parameters=sum(parameter.numel() for parameter in unet.unet.parameters()), torch=torch.__version__)


def trained(job: Job) -> Path:
    """The model folder that the stage leaves."""
    return job.work / "train" / "model"


def _rate(training: dict[str, int | float | str]) -> float:
    return float(training["images_seen"]) / max(1.0, float(training["seconds"]))


@contextmanager
def _every_hundred(stage: str, steps: int) -> Iterator[Report]:
    def report(step: int, loss: float) -> None:
        if step % 100 == 0:
            print(f"{stage}: step {step}, loss {loss:.4f}", flush=True)

    yield report
