"""Work on a side stream starts behind what it reads, and its memory is not given away before; shown on fake streams."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pytest
import torch
from torch import Tensor

from bench.quality.prefetch import SideStream, _second_queue

_CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def no_queues() -> Iterator[None]:
    """No fake stays behind."""
    _second_queue.cache_clear()
    yield
    _second_queue.cache_clear()


class _Stream:
    def __init__(self, log: list[str], name: str) -> None:
        self.log, self.name, self.device = log, name, _CUDA

    def wait_stream(self, other: "_Stream") -> None:
        self.log.append(f"{self.name} waits for {other.name}")


class _Pixels:
    def __init__(self, log: list[str]) -> None:
        self.log = log

    def record_stream(self, stream: _Stream) -> None:
        self.log.append(f"pixels are kept for {stream.name}")


def test_work_on_a_gpu_waits_on_the_device_for_what_was_started_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    log = list[str]()

    @contextmanager
    def entered(stream: _Stream) -> Iterator[None]:
        log.append(f"on {stream.name}")
        yield
        log.append("left")

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: _Stream(log, "side"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: _Stream(log, "main"))
    monkeypatch.setattr(torch.cuda, "stream", entered)
    side = SideStream(_CUDA)
    with side.behind(cast(Tensor, _Pixels(log))):
        log.append("work")
    assert log == ["side waits for main", "pixels are kept for side", "on side", "work", "left"]


def test_all_cells_work_on_one_second_queue_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    made = list[torch.device]()
    monkeypatch.setattr(torch.cuda, "Stream", made.append)
    SideStream(_CUDA)
    SideStream(_CUDA)
    assert made == [_CUDA]


def test_work_on_a_cpu_is_done_in_turn() -> None:
    with SideStream(torch.device("cpu")).behind(torch.zeros(2)):
        assert not torch.cuda.is_initialized()
