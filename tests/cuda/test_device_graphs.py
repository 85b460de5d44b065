"""A replayed graph gives other images as a plain call does, beside other graphs, and again and again."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import device_cells
import pytest
import torch
from device_cells import FIXED, apart, cell_of, drawn
from tape import Tape, noise_of_tensors
from torch import Tensor

from bench.running.session import Session
from bench.running.trajectory import Trajectory
from bench.timing.capture import CudaGraph, Graph
from bench.timing.memory import release_cache
from models.networks.execution import arithmetic

_FIRST, _OTHER = torch.arange(8), torch.arange(500, 508)


@pytest.fixture
def graphs(device: torch.device) -> Iterator[Callable[[], Graph]]:
    """Makes graphs of the device; on a CPU those of tests/tape.py, which see no numpy."""
    if device.type == "cuda":
        yield CudaGraph
        return
    with noise_of_tensors():
        yield Tape


@cache
def _session(device: torch.device) -> Session:
    return Session.load(device_cells.study_of(device, modes=("fp32", "bf16", "bf16+channels_last")))


def _captured(
    session: Session, graphs: Callable[[], Graph], name: str, mode: str = "fp32", numbers: Tensor = _FIRST
) -> Trajectory:
    trajectory = Trajectory(session, cell_of(session, name, mode), graphs)
    with torch.inference_mode():
        trajectory.prepare(numbers)
    assert trajectory.captured, trajectory.refusal
    return trajectory


def _check(session: Session, graphs: Callable[[], Graph], name: str, mode: str) -> None:
    with arithmetic("fp32"):
        replayed = _captured(session, graphs, name, mode)
        plain = Trajectory(session, cell_of(session, name, mode), None)
        other = drawn(replayed, _OTHER)
        assert apart(other, drawn(replayed, _FIRST)) > 0.1
        for numbers, images in ((_OTHER, other), (_FIRST, drawn(replayed, _FIRST))):
            torch.testing.assert_close(images, drawn(plain, numbers), rtol=0.0, atol=1e-5)
        assert torch.equal(drawn(replayed, _OTHER), other)


@pytest.mark.parametrize("name", FIXED)
def test_a_graph_gives_other_images_as_a_plain_call_does(
    device: torch.device, graphs: Callable[[], Graph], name: str
) -> None:
    _check(_session(device), graphs, name, "fp32")


@pytest.mark.parametrize("name", ["ddim", "ddpm", "heun", "unipc"])
@pytest.mark.parametrize("mode", ["bf16", "bf16+channels_last"])
def test_a_graph_in_bf16_gives_what_a_plain_call_in_bf16_does(
    device: torch.device, graphs: Callable[[], Graph], name: str, mode: str
) -> None:
    _check(_session(device), graphs, name, mode)


def test_a_network_with_attention_of_cifar_10s_shape_is_captured(
    device: torch.device, graphs: Callable[[], Graph], tmp_path: Path
) -> None:
    modes = ("fp32", "bf16+channels_last")
    session = Session.load(device_cells.study_of(device, modes, device_cells.cifar_shaped(tmp_path / "model")))
    for mode in modes:
        _check(session, graphs, "ddpm", mode)


def test_graphs_of_several_batches_and_modes_live_beside_one_another(
    device: torch.device, graphs: Callable[[], Graph]
) -> None:
    """One is given back meanwhile: what the others keep in memory stays theirs."""
    session, few = _session(device), torch.arange(3)
    with arithmetic("fp32"):
        large, small = _captured(session, graphs, "ddpm"), _captured(session, graphs, "ddpm", numbers=few)
        other = _captured(session, graphs, "heun", "bf16")
        images = drawn(large, _OTHER)
        for _ in range(3):
            assert apart(drawn(small, few), drawn(large, _FIRST)[:3]) < 1e-3
            assert torch.equal(drawn(large, _OTHER), images)
        kept, expected = drawn(small, few), drawn(other, _OTHER)
        large.release()
        release_cache()
        filler = torch.full((64 * 2**20,), float("nan"), device=device)
        assert torch.equal(drawn(small, few), kept)
        assert torch.equal(drawn(other, _OTHER), expected)
        del filler


def test_a_graph_after_a_graph_that_was_given_back_can_be_captured(
    device: torch.device, graphs: Callable[[], Graph]
) -> None:
    session = _session(device)
    for _ in range(3):
        trajectory = _captured(session, graphs, "ddim")
        trajectory.release()
        release_cache()


def test_adaptive_steps_fall_back_to_plain_calls_and_say_so(device: torch.device, graphs: Callable[[], Graph]) -> None:
    session, numbers = _session(device), torch.arange(2)
    trajectory = Trajectory(session, cell_of(session, "rk45[rtol=0.1,atol=0.1]"), graphs)
    with torch.inference_mode(), arithmetic("fp32"):
        trajectory.prepare(numbers)
    assert trajectory.captured is False
    assert "could not be captured in a graph, so that it ran eagerly" in str(trajectory.refusal)
    expected = drawn(Trajectory(session, cell_of(session, "rk45[rtol=0.1,atol=0.1]"), None), numbers)
    assert apart(drawn(trajectory, numbers), expected) < 1e-3


def test_the_device_works_on_after_a_call_that_no_graph_can_hold(cuda: torch.device) -> None:
    """Found before it spoils a capture: the next one succeeds."""
    session = _session(cuda)
    refused = Trajectory(session, cell_of(session, "rk45[rtol=0.1,atol=0.1]"), CudaGraph)
    with torch.inference_mode(), arithmetic("fp32"):
        refused.prepare(torch.arange(2))
        assert torch.cuda.get_sync_debug_mode() == 0
        assert _captured(session, CudaGraph, "ddim").captured
