"""What runs beside the first stage, on processors that would stand still: the data, and what the compiler makes.

A network that is compiled here is found in the compiler's cache on disk by the stage that needs it.
"""

import io
import tarfile
import time
from pathlib import Path

import checkpoints
import numpy as np
import torch
from photographs import write_photographs
from PIL import Image

from bench.quality.datasets import DataSet, open_data, write_archive
from bench.training.unet import begin_at_zero, compiled, unet_config
from bench.versus.ours import Ours
from bench.versus.peers import Setting
from models.networks.execution import arithmetic
from models.networks.modes import parse_mode
from models.networks.network import make_unet

from .job import Job
from .stages import ARCHIVES, DATA

COMPILED = "bf16+channels_last+compile"
_SIZE = 32


def data(job: Job) -> None:
    """Decode the photographs into one folder, an .npz file of the training and one of the test images."""
    folder = data_folder(job)
    if folder.is_dir():
        return
    began, new = time.monotonic(), folder.with_name(f"{DATA}.new")
    new.mkdir(parents=True, exist_ok=True)
    for split, name in ARCHIVES.items():
        found = _stand_in(job, split) if job.data is None else unpacked(job.data / name, split)
        write_archive(new / f"{split}.npz", found)
        print(f"{split}: {len(found.images):,} images of {len(found.classes or ())} classes", flush=True)
    new.rename(folder)
    job.put(seconds=time.monotonic() - began)


def data_folder(job: Job) -> Path:
    """Where the data are."""
    return job.work / DATA


def unpacked(path: Path, split: str) -> DataSet:
    """The images of a tar of `<split>/<class>/*.jpg`, ordered as in a folder, without writing them to a disk."""
    with tarfile.open(path) as tar:
        files = {member.name: file.read() for member in tar if member.isfile() and (file := tar.extractfile(member))}
    names = sorted((tuple(Path(name).parts[-2:]), name) for name in files if name.endswith(".jpg"))
    classes = sorted({where[0] for where, _ in names})
    images = torch.empty(len(names), 3, _SIZE, _SIZE, dtype=torch.uint8)
    for number, (_, name) in enumerate(names):
        pixels = np.array(Image.open(io.BytesIO(files[name])).convert("RGB"))
        images[number] = torch.from_numpy(pixels).movedim(2, 0)
    labels = torch.tensor([classes.index(where[0]) for where, _ in names])
    return DataSet(split, images, labels, tuple(classes))


def _stand_in(job: Job, split: str) -> DataSet:
    folder = job.work / f"photographs-{split}"
    return open_data(str(write_photographs(folder, _SIZE, **{split: 40}) / split))


def training_shape(job: Job) -> tuple[int, int]:
    """Width and batch of the training."""
    return (8, 4) if job.rehearse else (80, 512)


def warm_training(job: Job) -> None:
    """Compile the network that is trained, forwards and backwards."""
    if job.rehearse:
        return  # on a CPU trainings are not compiled
    width, batch = training_shape(job)
    shape = (3, _SIZE, _SIZE)
    unet = begin_at_zero(make_unet(unet_config(width, shape))).to(job.device).to(memory_format=torch.channels_last)
    began = time.monotonic()
    with arithmetic("tf32"):  # as trainings have it: the compiler keeps what it made by that, too
        found = compiled(unet, (batch, *shape), True, print)
    job.put(seconds=time.monotonic() - began, compiled=found is not None)


def ddpm(job: Job) -> str:
    """The folder of DDPM's U-Net, untrained; in a rehearsal a small stand-in."""
    folder = job.work / "ddpm"
    if not folder.is_dir():
        new = folder.with_name(f"ddpm.{job.stage}")
        network = {"sample_size": _SIZE} if job.rehearse else unet_config(128, (3, _SIZE, _SIZE))
        checkpoints.make(new, flat=True, **network)
        if folder.is_dir():  # another stage was faster
            return str(new)
        new.rename(folder)
    return str(folder)


def speed_batches(job: Job) -> tuple[int, ...]:
    """Batches that evaluations are timed at, the largest first."""
    return (4, 1) if job.rehearse else (512, 128, 16, 1)


def compiled_batches(job: Job) -> tuple[int, ...]:
    """Those that a compiled network is timed at, each of which costs a compilation."""
    return speed_batches(job)[:1] if job.rehearse else (speed_batches(job)[0], 1)


def warm_speed(job: Job) -> None:
    """Compile the network that evaluations are timed with."""
    for batch in compiled_batches(job):
        began, setting = time.monotonic(), Setting(2, batch, job.device)
        cell = Ours.load(ddpm(job), ["ddim"], parse_mode(COMPILED), setting, ["solver_error"], 16)[0]
        with torch.inference_mode(), arithmetic(parse_mode(COMPILED).precision):
            cell.bare(batch, 1)()
        job.append("compiled", {"batch": batch, "seconds": time.monotonic() - began})
