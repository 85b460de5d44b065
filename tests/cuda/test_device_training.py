"""Training on the device, compiled and in bf16: it goes on after a kill, and what it makes loads and samples."""

import json
from pathlib import Path

import device_cells
import pytest
import torch
from device_cells import drawn
from photographs import Killed, killing, silent, write_photographs

from bench.running.session import Session
from bench.running.trajectory import Trajectory
from bench.training.cifar10 import train_cifar10
from bench.training.extractor import train_extractor
from bench.training.options import CifarOptions, ExtractorOptions
from models.loading.zoo import load_model


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 images of 32 x 32 in two classes, dark and bright."""
    return write_photographs(tmp_path_factory.mktemp("photographs"), 32, train=100) / "train"


@pytest.fixture(scope="module")
def extractor(device: torch.device, photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an extractor that tells the two classes apart."""
    out = tmp_path_factory.mktemp("extractor")
    options = ExtractorOptions(out, str(photographs), device=str(device), precision="bf16", epochs=40, width=8)
    folder = train_extractor(options, silent, lambda line: None)
    assert folder is not None
    return folder


def test_a_training_that_was_killed_goes_on_and_its_model_samples(
    device: torch.device, photographs: Path, extractor: Path, tmp_path: Path
) -> None:
    on_cuda, said = device.type == "cuda", list[str]()
    options = CifarOptions(
        tmp_path,
        str(photographs),
        device=str(device),
        steps=30,
        batch=32 if on_cuda else 2,
        width=8,
        compile=on_cuda,
        precision="bf16",
        checkpoint_every=10,
        grid_every=15,
        sampling_steps=2,
        quality_images=64,
        extractor=str(extractor),
    )
    with pytest.raises(Killed):
        train_cifar10(options, killing(20, "denoiser"), said.append)
    assert train_cifar10(options, silent, said.append) == tmp_path / "model"
    assert not [line for line in said if "torch.compile cannot be used" in line]
    rows = [json.loads(line) for line in (tmp_path / "loss.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 31))
    assert all(0.0 < row["loss"] < 2.0 for row in rows)
    measured = [json.loads(line) for line in (tmp_path / "quality.jsonl").read_text().splitlines()]
    assert [row["step"] for row in measured] == [15, 30]
    card = load_model(str(tmp_path / "model"), device).card
    assert (card.training["steps"], card.training["images_seen"]) == (30, 30 * options.batch)
    assert card.training["precision"] == "bf16"
    session = Session.load(device_cells.study_of(device, model=str(tmp_path / "model"), metrics=("fd", "kid")))
    images = drawn(Trajectory(session, device_cells.cell_of(session, "ddim"), None), torch.arange(4))
    assert images.shape == (4, 3, 32, 32)
    assert bool(images.isfinite().all())
