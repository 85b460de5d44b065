"""Whole-trajectory graphs: a complete `sample` call is captured once and replayed as a single launch.

That works for any sampler that takes fixed steps, since a sampler is a pure function of tensors and Python floats:
which kernels run depends on the levels alone, and noise is computed from image numbers that stand in memory. Nothing
about a sampler has to change. One that reads a number back from the device (an adaptive step size, a solver on the CPU)
or that copies from the host cannot be captured.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

Pool = Any
"""torch's handle of a memory pool, whose type it does not export."""


class NotCapturable(RuntimeError):
    """A call that does something which no graph can repeat."""


class Graph(Protocol):
    """Work that is recorded once and can be done again on the same memory."""

    def capture(self, call: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Tensor:
        """Record call(*inputs); what it returns is written again, in place, by every replay."""

    def replay(self) -> None:
        """Do it again, on what the inputs hold now."""


class CudaGraph:
    """A CUDA graph.

    Args:
        pool: memory shared with graphs that never run at the same time as this one. What one of them returned stays
            valid, as long as it is held, whatever the others do.
    """

    def __init__(self, pool: Pool) -> None:
        self._graph = torch.cuda.CUDAGraph()
        self._pool = pool

    def capture(self, call: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Tensor:
        with torch.cuda.graph(self._graph, pool=self._pool):
            return call(*inputs)

    def replay(self) -> None:
        self._graph.replay()


def graphs_on(device: torch.device) -> Callable[[], Graph]:
    """Makes empty graphs that share their memory, for trajectories on a device."""
    if device.type != "cuda":
        return _no_graph
    return partial(CudaGraph, torch.cuda.graph_pool_handle())


def _no_graph() -> Graph:
    raise RuntimeError("only CUDA devices have graphs")  # modes that want one are refused before


class Captured:
    """A function of tensors, captured for inputs of the shapes of the first ones.

    Args:
        call: pure, of tensors on the graph's device.
        inputs: examples; they are copied.
        graph: empty.

    Raises:
        NotCapturable: what the call does cannot be captured.
    """

    def __init__(self, call: Callable[..., Tensor], inputs: Sequence[Tensor], graph: Graph) -> None:
        self._inputs = [each.clone() for each in inputs]
        self._graph = graph
        with _refusals():
            self._output = graph.capture(call, self._inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The result for other inputs, in memory of its own."""
        for kept, given in zip(self._inputs, inputs, strict=True):
            kept.copy_(given)
        self._graph.replay()
        return self._output.clone()


@contextmanager
def no_synchronisation(device: torch.device) -> Iterator[None]:
    """NotCapturable for anything inside that makes the host wait for the device: found before a capture is spoilt."""
    if device.type != "cuda":
        yield
        return
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with _refusals():
            yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        first_line = str(error).strip().partition("\n")[0]
        raise NotCapturable(first_line) from error
