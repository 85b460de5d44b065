"""The only clock, and the only device synchronisation.

A `sample` call is timed as a whole, between two synchronisations. The time inside the network is told apart without any
in between: on a CPU by reading the clock around every evaluation, on CUDA by events that are read after the call.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.networks.network import Network
from models.schedule import Level

Clock = Callable[[], float]


@dataclass(frozen=True)
class Timed:
    """One timed call.

    Attributes:
        seconds: wall-clock of the whole call.
        network_seconds: the part of it spent in network evaluations; None where nothing inside can be clocked, as in a
            replayed graph.
        device_seconds: the same call by the device's own clock, CUDA events before and after it; None on a CPU.
        peak_mem_mib: the most device memory that the call took beyond what was in use before it; None on a CPU, where
            no allocator counts it.
        held_mem_mib: what was in use before, by whatever took it; None on a CPU.
    """

    seconds: float
    network_seconds: float | None
    device_seconds: float | None
    peak_mem_mib: float | None
    held_mem_mib: float | None = None


class TimedNetwork:
    """A network that remembers how long its evaluations took since the last `reset`."""

    def __init__(self, network: Network, device: torch.device, clock: Clock = time.perf_counter) -> None:
        self._network, self._clock = network, clock
        self._on_cuda = device.type == "cuda"
        self.reset()

    def reset(self) -> None:
        self._seconds = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def __call__(self, x: Tensor, at: Level, *labels: Tensor) -> Tensor:
        if self._on_cuda:
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            output = self._network(x, at, *labels)
            end.record()
            self._events.append((start, end))
            return output
        began = self._clock()
        output = self._network(x, at, *labels)
        self._seconds += self._clock() - began
        return output

    def seconds(self) -> float:
        """Time in the network since the last reset; on CUDA only after a synchronisation."""
        in_events: float = sum(start.elapsed_time(end) for start, end in self._events)  # milliseconds
        return self._seconds + in_events / 1000.0


class Stopwatch:
    """Times calls on one device, which is synchronised before and after each; a test passes its own clock."""

    def __init__(self, device: torch.device, clock: Clock = time.perf_counter) -> None:
        self._device, self._clock = device, clock
        self._on_cuda = device.type == "cuda"

    def synchronise(self) -> None:
        if self._on_cuda:
            torch.cuda.synchronize(self._device)

    def seconds(self, call: Callable[[], object]) -> float:
        """Wall-clock of one call."""
        self.synchronise()
        began = self._clock()
        call()
        self.synchronise()
        return self._clock() - began

    def time(self, call: Callable[[], object], networks: Sequence[TimedNetwork] = ()) -> Timed:
        """Run the call once, timed; `networks` are those that it evaluates, none where that cannot be told apart."""
        for network in networks:
            network.reset()
        if self._on_cuda:
            torch.cuda.reset_peak_memory_stats(self._device)  # to what is allocated now
        held = self._held_mib()
        self.synchronise()
        began = self._clock()
        first = self._mark()
        call()
        last = self._mark()
        self.synchronise()
        seconds = self._clock() - began
        inside = sum(network.seconds() for network in networks) if networks else None
        on_device = None if first is None or last is None else first.elapsed_time(last) / 1000.0
        peak = None if held is None else torch.cuda.max_memory_allocated(self._device) / 2**20 - held
        return Timed(seconds, inside, on_device, peak, held)

    def _held_mib(self) -> float | None:
        """Device memory that tensors are in."""
        return torch.cuda.memory_allocated(self._device) / 2**20 if self._on_cuda else None

    def _mark(self) -> torch.cuda.Event | None:
        """A point of time on the device's own clock."""
        if not self._on_cuda:
            return None
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
