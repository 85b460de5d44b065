"""Whole-trajectory graphs: a complete `sample` call is captured once and replayed as a single launch.

That works for any sampler that takes fixed steps: which kernels run depends on the levels alone, and noise is computed
from image numbers that stand in memory. One that reads a number back from the device (an adaptive step size, a solver
on the CPU) or that copies from the host cannot be captured.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from bench.timing.memory import is_out_of_memory


class NotCapturable(RuntimeError):
    """A call that does something which no graph can repeat."""


class Graph(Protocol):
    """Work that is recorded once and can be done again on the same memory."""

    def capture(self, call: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Tensor:
        """Record call(*inputs); what it returns is written again, in place, by every replay."""

    def replay(self) -> None:
        """Do it again, on what the inputs hold now."""


class CudaGraph:
    """A CUDA graph, with memory of its own: torch lets none into a pool in which cuBLAS keeps another's workspace."""

    def __init__(self) -> None:
        self._graph = torch.cuda.CUDAGraph()

    def capture(self, call: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Tensor:
        # the outer block, since older torch leaves the capture's stream the current one when a capture fails
        with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(self._graph):
            return call(*inputs)

    def replay(self) -> None:
        self._graph.replay()


def graphs_on(device: torch.device) -> Callable[[], Graph]:
    """Makes empty graphs, for trajectories on a device."""
    return CudaGraph if device.type == "cuda" else _no_graph


def _no_graph() -> Graph:
    raise RuntimeError("only CUDA devices have graphs")  # modes that want one are refused before


class Captured:
    """A pure function of tensors, captured in an empty graph for inputs of the shapes of `inputs`, which are copied.

    NotCapturable if what the call does cannot be captured.
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
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        first_line = str(error).strip().partition("\n")[0]
        raise NotCapturable(first_line) from error
