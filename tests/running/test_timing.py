"""Only the algorithm is timed, network and sampler apart, with the clock passed in."""

import pytest
import torch
from torch import Tensor

from bench.report.data.runs import TIMES
from bench.timing.clock import Stopwatch, Timed, TimedNetwork
from bench.timing.cost import Times, Work
from bench.timing.monitor import Watch
from models.denoiser import Denoiser
from models.networks.network import counted
from models.schedule import DiscreteVP, Level


class _Clock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


_LEVEL = DiscreteVP.linear().level(0.5)
_CPU = torch.device("cpu")


def _timed_network(clock: _Clock, seconds: float) -> TimedNetwork:
    def network(x: Tensor, at: Level) -> Tensor:
        clock.now += seconds
        return x

    return TimedNetwork(network, _CPU, clock)


def test_network_and_sampler_time_are_told_apart() -> None:
    clock = _Clock()
    network = _timed_network(clock, 2.0)
    evaluate, evaluated = counted(network)
    model = Denoiser(evaluate, "epsilon", DiscreteVP.linear())

    def call() -> Tensor:
        x = torch.zeros(4, 1, 8, 8)
        for _ in range(3):
            clock.now += 0.5  # the sampler's own arithmetic
            x = model(x, _LEVEL).eps
        return x

    timed = Stopwatch(_CPU, clock).time(call, [network])
    assert timed.seconds == 3 * 2.5
    assert timed.network_seconds == 3 * 2.0
    assert evaluated() == 3 * 4


def test_every_call_is_timed_on_its_own() -> None:
    clock = _Clock()
    network = _timed_network(clock, 1.0)
    stopwatch = Stopwatch(_CPU, clock)
    for _ in range(2):
        timed = stopwatch.time(lambda: network(torch.zeros(1), _LEVEL), [network])
        assert (timed.seconds, timed.network_seconds) == (1.0, 1.0)


def test_the_device_is_synchronised_before_the_clock_starts_and_before_it_stops() -> None:
    events: list[str] = []

    class Traced(Stopwatch):
        def synchronise(self) -> None:
            events.append("synchronise")

    def clock() -> float:
        events.append("clock")
        return 0.0

    def call() -> Tensor:
        events.append("call")
        return torch.zeros(1)

    Traced(_CPU, clock).time(call, [TimedNetwork(lambda x, at: x, _CPU)])
    assert events == ["synchronise", "clock", "call", "synchronise", "clock"]


def test_peak_memory_is_not_invented_on_a_cpu() -> None:
    assert Stopwatch(_CPU).time(lambda: torch.zeros(1), [TimedNetwork(lambda x, at: x, _CPU)]).peak_mem_mib is None


class _Event:
    def __init__(self, *, enable_timing: bool) -> None: ...

    def record(self) -> None: ...

    def elapsed_time(self, other: "_Event") -> float:
        return 1.0


class _Allocator:
    """What torch says of a GPU's memory, in bytes, as its documentation has it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.most = 0
        for name in ("memory_allocated", "max_memory_allocated", "reset_peak_memory_stats", "synchronize"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(torch.cuda, "Event", _Event)

    def take(self, mib: int) -> None:
        self.now += mib * 2**20
        self.most = max(self.most, self.now)

    def memory_allocated(self, device: torch.device) -> int:
        return self.now

    def max_memory_allocated(self, device: torch.device) -> int:
        return self.most

    def reset_peak_memory_stats(self, device: torch.device) -> None:
        self.most = self.now

    def synchronize(self, device: torch.device) -> None: ...


def test_what_an_earlier_sampler_keeps_on_a_gpu_is_in_no_other_s_peak_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = _Allocator(monkeypatch)
    stopwatch, kept = Stopwatch(torch.device("cuda")), list[Timed]()

    def call() -> None:
        memory.take(40)
        memory.take(-40)

    memory.take(100)  # the network
    for hoarded in (0, 500):
        memory.take(hoarded)
        kept.append(stopwatch.time(call))
    assert [each.peak_mem_mib for each in kept] == [40.0, 40.0]
    assert [each.held_mem_mib for each in kept] == [100.0, 600.0]

    def capture() -> None:
        memory.take(60)

    ready = stopwatch.time(capture)  # a graph has its memory from its capture, and replays take less
    times = Times(4)
    times.add([stopwatch.time(lambda: None)], Watch(0.0, (), None, None, 1.0), ready)
    assert (times.peak_mem_mib, times.held_mem_mib) == (60.0, 600.0)
    times.rounds = 1
    again = Times.of_record(times.columns(3.0, Work()), 4)
    assert (again.peak_mem_mib, again.held_mem_mib) == (60.0, 600.0)


def test_the_times_that_records_of_later_looks_take_over_are_all_columns_of_timing() -> None:
    times = Times(4)
    times.add([Timed(0.1, 0.05, None, None, None)], Watch(0.0, (), None, None, 1.0), Timed(0.2, None, None, None, None))
    assert {*TIMES} == {*times.columns(3.0, Work()), "sweep_note"}


def test_evaluations_that_overlap_have_no_share_of_a_call_and_its_times_are_not_comparable() -> None:
    """As those of a sampler that evaluates the halves of its batch in two threads."""
    times, watch = Times(4), Watch(0.0, (), None, None, 1.0)
    times.add([Timed(0.1, 0.16, None, None, None)], watch, Timed(0.2, None, None, None, None))
    found = times.columns(3.0, Work())
    assert [found[name] for name in ("network_s_median", "overhead_s_median", "eval_ms_median")] == [None] * 3
    assert not found["timing_valid"]
    assert found["timing_note"].startswith("evaluations of the network overlap")
    assert found["latency_s_median"] == 0.1
    assert (Times.of_record(found | {"timing_rounds": 1}, 4).columns(3.0, Work()))["timing_note"] == found[
        "timing_note"
    ]
