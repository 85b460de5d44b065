"""The device's clock agrees with the host's, memory and energy are counted, and what the driver tells is plausible."""

import time
from typing import Any

import device_cells
import pytest
import torch

from bench.running.session import Session
from bench.running.trajectory import Trajectory
from bench.timing.clock import Stopwatch, Timed
from bench.timing.cost import Times, Work
from bench.timing.gpu_state import GpuState, gpu_state
from bench.timing.monitor import monitor_of


def _timed(device: torch.device, sampler: str) -> Timed:
    session = Session.load(device_cells.study_of(device))
    trajectory = Trajectory(session, device_cells.cell_of(session, sampler), None, clocked=True)
    with torch.inference_mode():
        trajectory.prepare(torch.arange(32))
        start = trajectory.start(torch.arange(32))
        return Stopwatch(device).time(lambda: trajectory(start), trajectory.clocks)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "heun"])
def test_the_network_takes_a_part_of_the_device_time_and_that_a_part_of_the_hosts(
    cuda: torch.device, sampler: str
) -> None:
    timed = _timed(cuda, sampler)
    assert timed.network_seconds is not None
    assert timed.device_seconds is not None
    assert 0.0 < timed.network_seconds <= timed.device_seconds * (1 + 1e-3)
    assert timed.device_seconds <= timed.seconds * (1 + 1e-3)
    assert timed.peak_mem_mib is not None
    assert timed.peak_mem_mib > 0.0


def test_events_measure_a_wait_of_the_device_that_the_host_does_not_see(cuda: torch.device) -> None:
    """Ten million cycles are 5 ms at 2 GHz; that the host went on at once shows that nothing but the end waits."""
    started = list[float]()

    def call() -> None:
        began = time.perf_counter()
        torch.cuda._sleep(10_000_000)
        started.append(time.perf_counter() - began)

    call()
    timed = Stopwatch(cuda).time(call)
    assert timed.device_seconds is not None
    assert 2e-3 < timed.device_seconds <= timed.seconds * (1 + 1e-3)
    assert started[1] < timed.device_seconds / 2


def test_peak_memory_is_what_a_call_allocates_at_once(cuda: torch.device) -> None:
    stopwatch = Stopwatch(cuda)
    nothing = stopwatch.time(lambda: None).peak_mem_mib
    some = stopwatch.time(lambda: torch.empty(64 * 2**20, dtype=torch.uint8, device=cuda)).peak_mem_mib
    assert nothing is not None
    assert some == pytest.approx(nothing + 64.0)


@pytest.fixture(scope="module")
def state(cuda: torch.device) -> GpuState:
    found = gpu_state(cuda)
    assert found is not None
    if found._handle is None:
        pytest.skip("this machine's driver does not answer NVML's questions")
    return found


def test_the_driver_tells_of_the_device_that_torch_computes_on(cuda: torch.device, state: GpuState) -> None:
    import pynvml

    handle: Any = state._handle
    name = pynvml.nvmlDeviceGetName(handle)
    assert (name if isinstance(name, str) else name.decode()) == torch.cuda.get_device_name(cuda)
    assert 0 < pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU) < 110
    assert 5.0 < pynvml.nvmlDeviceGetPowerUsage(handle) / 1000.0 < 2000.0
    assert 100 < pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM) < 5000
    reasons = state.throttled()
    assert isinstance(reasons, tuple)
    assert all(isinstance(words, str) for words in reasons)
    others = state.other_processes()
    assert others is None or others >= 0


def test_work_of_a_second_takes_between_a_joule_and_what_any_device_draws(cuda: torch.device, state: GpuState) -> None:
    if state.energy_j() is None:
        pytest.skip("this device does not count its energy")
    monitor, stopwatch, times = monitor_of(cuda), Stopwatch(cuda), Times(8)
    x = torch.randn(4096, 4096, device=cuda)
    calls = list[Timed]()
    monitor.start()
    while sum(call.seconds for call in calls) < 1.0:
        calls.append(stopwatch.time(lambda: [x @ x for _ in range(20)]))
    watch = monitor.stop()
    times.add(calls, watch, calls[0])
    assert watch.energy_j is not None
    assert 1.0 < watch.energy_j / watch.seconds < 2000.0
    per_image = times.columns(1.0, Work())["energy_j_per_image"]
    assert per_image == pytest.approx(watch.energy_j / (8 * len(calls)))
