"""Only the algorithm is timed, network and sampler apart, with the clock passed in."""

import torch
from torch import Tensor

from bench.timing.clock import Stopwatch, TimedNetwork
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

    timed = Stopwatch(_CPU, clock).time(call, network)
    assert timed.seconds == 3 * 2.5
    assert timed.network_seconds == 3 * 2.0
    assert evaluated() == 3 * 4


def test_every_call_is_timed_on_its_own() -> None:
    clock = _Clock()
    network = _timed_network(clock, 1.0)
    stopwatch = Stopwatch(_CPU, clock)
    for _ in range(2):
        timed = stopwatch.time(lambda: network(torch.zeros(1), _LEVEL), network)
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

    Traced(_CPU, clock).time(call, TimedNetwork(lambda x, at: x, _CPU))
    assert events == ["synchronise", "clock", "call", "synchronise", "clock"]


def test_peak_memory_is_not_invented_on_a_cpu() -> None:
    assert Stopwatch(_CPU).time(lambda: torch.zeros(1), TimedNetwork(lambda x, at: x, _CPU)).peak_mem_mib is None
