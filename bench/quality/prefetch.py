"""Work on a batch while the device makes the next one."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor


class SideStream:
    """A second queue of a CUDA device; on a CPU there is none, and all is done in turn.

    Args:
        device: of the queue.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = _second_queue(device) if device.type == "cuda" else None

    @contextmanager
    def behind(self, *read: Tensor) -> Iterator[None]:
        """What is started inside runs behind all that the current stream has been given by now; the host never waits.

        Args:
            read: tensors of the current stream that the work takes: their memory is not given away before it is done.
        """
        if self._stream is None:
            yield
            return
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        for tensor in read:
            tensor.record_stream(self._stream)
        with torch.cuda.stream(self._stream):
            yield

    def hand_over(self, *made: Tensor) -> None:
        """Let the current stream wait for all that was started behind it, before it reads what was made there."""
        if self._stream is None:
            return
        current = torch.cuda.current_stream(self._stream.device)
        current.wait_stream(self._stream)
        for tensor in made:
            tensor.record_stream(current)


@cache
def _second_queue(device: torch.device) -> torch.cuda.Stream:
    """One for all cells: torch keeps the memory that work on a stream has freed for that stream alone."""
    return torch.cuda.Stream(device)
