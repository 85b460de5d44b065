"""A batch that does not fit is halved, and the search for the best batch comes to an end."""

from collections.abc import Iterator
from pathlib import Path

import device_cells
import pytest
import torch
from device_cells import apart, cell_of, drawn

from bench.running.generation import Generation
from bench.running.session import Session
from bench.running.trajectory import Trajectory
from bench.timing.capture import CudaGraph
from models.networks.execution import arithmetic

_MIB = 2**20


@pytest.fixture
def scarce(cuda: torch.device) -> Iterator[None]:
    """256 MiB more than is in use."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(cuda).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(cuda) + 256 * _MIB) / total, cuda)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0, cuda)
    torch.cuda.empty_cache()


@pytest.mark.usefixtures("scarce")
@pytest.mark.parametrize("mode", ["fp32", "fp32+graph"])
def test_a_batch_that_does_not_fit_is_halved_and_makes_the_same_images(
    cuda: torch.device, mode: str, tmp_path: Path
) -> None:
    folder = device_cells.cifar_shaped(tmp_path / "model")
    session = Session.load(device_cells.study_of(cuda, (mode, "fp32"), folder, images=700, batch=700))
    cell = cell_of(session, "ddpm", mode)
    trajectory = Trajectory(session, cell, CudaGraph if cell.mode.graph else None)
    generation = Generation(trajectory, range(700), 700, fixed=cell.mode.fixed_batch)
    with torch.inference_mode(), arithmetic("fp32"):
        images = torch.cat([batch.cpu() for batch in generation])
        assert generation.fitting.halvings > 0
        assert generation.fitting.size < 700
        assert len(images) == 700
        trajectory.release()
        plain = Trajectory(session, cell_of(session, "ddpm"), None)
        for first in (0, 350, 692):
            expected = drawn(plain, torch.arange(first, first + 8))
            assert apart(images[first : first + 8], expected) < 1e-3
    assert not trajectory.captured if mode == "fp32" else trajectory.captured


def test_the_search_for_the_fastest_batch_ends_with_one_that_was_tried(device: torch.device) -> None:
    session = Session.load(device_cells.study_of(device, images=64, batch="auto"))
    assert session.batch in (16, 32, 64)
