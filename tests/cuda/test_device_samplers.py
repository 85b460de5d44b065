"""Every sampler makes on the device the images that it makes on a CPU, and never lets the host wait meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Literal

import device_cells
import pytest
import torch
from device_cells import FIXED, apart, cell_of, drawn
from torch import Tensor

from bench.noise.stream import ImageNoise
from bench.running.session import Session
from bench.running.trajectory import Trajectory
from bench.training.loop import Keeping, _Training
from bench.training.losses import denoising_loss
from bench.training.recipe import Recipe
from models.denoiser import Denoiser
from models.grids import GRIDS
from models.loading.model import Model
from models.loading.zoo import load_model
from models.networks.execution import arithmetic
from models.networks.network import IndexedUNet
from models.schedule import DiscreteVP
from samplers import SAMPLERS

_CPU = torch.device("cpu")


@contextmanager
def _no_waiting(device: torch.device) -> Iterator[None]:
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@cache
def _session(device: torch.device) -> Session:
    return Session.load(device_cells.study_of(device))


@cache
def _in_float64(device: torch.device) -> Model:
    model = load_model("digits", device)
    assert isinstance(model.network, IndexedUNet)
    model.network.unet.double()
    return model


@pytest.mark.parametrize("name", FIXED)
def test_images_in_float32_are_those_of_the_cpu(device: torch.device, name: str) -> None:
    """To 1e-3 root mean square: what errors of 1e-6 in each evaluation grow to; TensorFloat-32 would be at 1e-2."""
    with arithmetic("fp32"):
        found, expected = (
            drawn(Trajectory(_session(at), cell_of(_session(at), name), None), torch.arange(8)) for at in (device, _CPU)
        )
    assert found.device.type == device.type
    assert apart(found, expected) < 1e-3


@pytest.mark.parametrize("name", FIXED)
def test_images_in_float64_are_those_of_the_cpu_to_1e_8(device: torch.device, name: str) -> None:
    """What is left over where no rounding hides anything: the method itself, and its noise."""

    def images(at: torch.device) -> Tensor:
        model, noise = _in_float64(at), ImageNoise(5, torch.arange(4, device=at))
        levels = GRIDS.make("trailing")(model.schedule, 6)
        x = noise(torch.empty(4, *model.card.shape, dtype=torch.float64, device=at))
        denoiser = Denoiser(model.network, model.card.parametrisation, model.schedule, model.card.clip)
        with torch.inference_mode():
            return SAMPLERS.make(name).sample(denoiser, x, levels, noise)

    torch.testing.assert_close(images(device).cpu(), images(_CPU), rtol=0.0, atol=1e-8)


@pytest.mark.parametrize("name", ["ddpm", "dpm++2m", "unipc"])
def test_images_of_a_network_of_cifar_10s_shape_are_those_of_the_cpu(
    device: torch.device, name: str, tmp_path: Path
) -> None:
    folder = device_cells.cifar_shaped(tmp_path / "model")
    sessions = [Session.load(device_cells.study_of(at, model=folder)) for at in (device, _CPU)]
    with arithmetic("fp32"):
        found, expected = (drawn(Trajectory(each, cell_of(each, name), None), torch.arange(4)) for each in sessions)
    assert apart(found, expected) < 1e-3


def test_images_do_not_depend_on_the_batch(device: torch.device) -> None:
    session, numbers = _session(device), torch.arange(24)
    with arithmetic("fp32"):
        trajectory = Trajectory(session, cell_of(session, "ddpm"), None)
        whole = drawn(trajectory, numbers)
        parts = torch.cat([drawn(trajectory, part) for part in numbers.split(7)])
    assert apart(parts, whole) < 1e-3


@pytest.mark.parametrize("name", FIXED)
def test_the_host_never_waits_for_the_device_while_it_samples(cuda: torch.device, name: str) -> None:
    trajectory = Trajectory(_session(cuda), cell_of(_session(cuda), name), None, clocked=True)
    with torch.inference_mode(), arithmetic("fp32"):
        start = trajectory.start(torch.arange(8))
        trajectory(start)  # what is done once only: choices of kernels, coefficients
        with _no_waiting(cuda):
            trajectory(start)


def test_what_waits_is_found_by_that(cuda: torch.device) -> None:
    with pytest.raises(RuntimeError, match="synchronizing"), _no_waiting(cuda):
        torch.ones(1, device=cuda).item()


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_the_host_does_not_wait_in_a_step_of_training_between_readings_of_the_loss(
    device: torch.device, optimiser: Literal["adam", "sgd"], tmp_path: Path
) -> None:
    model, schedule = load_model("digits", device), DiscreteVP.linear()
    assert isinstance(model.network, IndexedUNet)
    unet = model.network.unet.requires_grad_(True).to(memory_format=torch.channels_last)
    images = torch.randint(0, 256, (32, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    recipe = Recipe(steps=100, batch=16, warmup=5, flips=True, optimiser=optimiser)
    loss_of = denoising_loss(unet, images, schedule, recipe, bf16=True)
    training = _Training(unet, recipe, Keeping(tmp_path, lambda step, loss: None, read_every=20), None)
    training._advance(loss_of)
    with _no_waiting(device):
        for _ in range(3):
            training._advance(loss_of)
    assert all(bool(loss.isfinite()) for loss in training.unread)
