"""What disturbs a timing is seen, summed and said, and what cannot be known is not claimed."""

import subprocess
import sys
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench.timing import host_load
from bench.timing.gpu_state import GpuState, gpu_state
from bench.timing.host_load import OVERHEATED, QUOTA, HostLoad
from bench.timing.monitor import Monitor, Watch, at_start, monitor_of

Times = namedtuple("Times", "user nice system idle iowait irq softirq steal guest guest_nice")

CPU = torch.device("cpu")


class Machine:
    """Two processors, and counters that go on only when told to."""

    def __init__(self) -> None:
        self.now, self.own, self.others, self.stolen = 50.0, 3.0, 7.0, 1.0
        self.hidden = False

    def cpu_times(self, percpu: bool) -> list[Any]:
        assert percpu
        if self.hidden:
            raise PermissionError("/proc/stat")
        first = Times(self.own, 0.0, 0.0, 40.0, 1.0, 0.0, 0.0, self.stolen, 0.0, 0.0)
        second = Times(self.others / 2, self.others / 4, self.others / 4, 0.0, 0.0, 0.0, 0.0, 0.0, self.others / 2, 0.0)
        return [first, second]

    def passes(self, seconds: float, own: float = 0.0, others: float = 0.0, stolen: float = 0.0) -> None:
        self.now, self.own = self.now + seconds, self.own + own
        self.others, self.stolen = self.others + others, self.stolen + stolen


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(host_load, "allowed_processors", lambda: [0, 1])
    return Machine()


def host_of(machine: Machine, root: Path = Path("/nowhere")) -> HostLoad:
    return HostLoad(machine, lambda: machine.own, lambda: machine.now, root)


def watched(monitor: Monitor, machine: Machine, seconds: float, **passes: float) -> Watch:
    monitor.start()
    machine.passes(seconds, **passes)
    return monitor.stop()


class Error(Exception):
    """As pynvml.NVMLError."""


class Driver:
    """NVML with one GPU; None for what it does not support."""

    NVMLError, NVMLLibraryMismatchError = Error, Error

    def __init__(self, bits: int | None = 0, pids: list[int] | None = None, energy: int | None = 5000) -> None:
        self.bits, self.pids, self.energy = bits, pids, energy

    def nvmlInit(self) -> None:  # noqa: N802 (NVML's names)
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        if uuid != "GPU-abc":
            raise Error("Not Found")
        return "handle"

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: str) -> Any:  # noqa: N802
        return _given(self.bits)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> Any:  # noqa: N802
        return _given(self.energy)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[Any]:  # noqa: N802
        return [SimpleNamespace(pid=pid) for pid in _given(self.pids)]


def _given(value: Any) -> Any:
    if value is None:
        raise Error("Not Supported")
    return value


def test_what_others_use_is_what_this_process_does_not_and_stolen_time_is_theirs(machine: Machine) -> None:
    monitor = Monitor(host_of(machine))
    watch = watched(monitor, machine, 10.0, own=12.0, others=2.0, stolen=1.0)
    assert watch.others_share == pytest.approx(3.0 / 20.0)
    assert replace(watch, others_share=None) == Watch(None, (), None, None, 10.0)


def test_nothing_is_claimed_of_others_where_the_counters_are_hidden_or_count_less_than_this_process_used(
    machine: Machine,
) -> None:
    monitor = Monitor(host_of(machine))
    assert watched(monitor, machine, 10.0, own=15.0, others=-14.0).others_share is None
    machine.hidden = True
    assert watched(monitor, machine, 10.0, others=10.0).others_share is None


def test_processors_that_this_process_may_not_use_are_not_looked_at(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_load, "allowed_processors", lambda: [0])
    monitor = Monitor(host_of(machine))
    assert watched(monitor, machine, 10.0, own=5.0, others=10.0, stolen=1.0).others_share == pytest.approx(0.1)


def test_a_run_that_starts_on_a_busy_machine_says_so_with_load_and_threads(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (2.61, 1.0, 1.0))
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    host = host_of(machine)
    arrived = host.read()
    machine.passes(3.0, own=2.5, others=1.5)
    (line,) = at_start(host, arrived, CPU)
    assert line.startswith(
        "the machine is busy: others use 25 % of the 2 processors (load 2.6 in the last minute), beside"
    )
    assert "beside the network's 2 threads. All" in line
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    assert "beside the network's 1 thread. All" in at_start(host, arrived, CPU)[0]
    assert at_start(host, arrived, torch.device("cuda")) == []  # where one processor is enough
    machine.passes(3.0, others=5.9)
    assert "others use 62 %" in at_start(host, arrived, torch.device("cuda"))[0]


def test_a_run_that_starts_on_an_idle_machine_or_too_soon_to_know_says_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = host_of(machine)
    arrived = host.read()
    machine.passes(0.1, others=0.2)
    assert at_start(host, arrived, CPU) == []
    machine.passes(5.0, own=5.0, others=0.1)
    assert at_start(host, arrived, CPU) == []
    monkeypatch.setattr("torch.get_num_threads", lambda: 3)
    assert at_start(host, arrived, CPU) == ["3 threads on 2 processors: they will wait for one another"]


def test_a_busy_process_besides_this_one_is_seen_a_child_too() -> None:
    host = HostLoad()
    busy = subprocess.Popen([sys.executable, "-S", "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
    try:
        assert busy.stdout is not None
        busy.stdout.readline()
        before = host.read()
        time.sleep(0.5)
        after = host.read()
    finally:
        busy.kill()
        busy.communicate()
    share = host.share_of_others(before, after)
    if share is None:
        pytest.skip("a sandbox without true counters")
    assert share * len(host_load.allowed_processors()) > 0.5


def test_heat_and_an_exhausted_quota_are_seen_once_for_each_package(machine: Machine, tmp_path: Path) -> None:
    for number in range(2):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{number}"
        for name, content in [("topology/physical_package_id", 0), ("thermal_throttle/package_throttle_count", 3)]:
            path = folder / name
            path.parent.mkdir(parents=True)
            path.write_text(f"{content}\n")
    quota = tmp_path / "sys/fs/cgroup/cpu.stat"
    quota.parent.mkdir(parents=True)
    quota.write_text("usage_usec 5\nnr_periods 9\nnr_throttled 2\n")
    host = host_of(machine, tmp_path)
    assert (host.read().overheated, host.read().over_quota) == (3, 2)
    monitor = Monitor(host)
    monitor.start()
    machine.passes(1.0)
    (tmp_path / "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count").write_text("4\n")
    quota.write_text("usage_usec 5\nnr_periods 9\nnr_throttled 3\n")
    assert monitor.stop().throttled == (OVERHEATED, QUOTA)
    monitor.start()
    assert monitor.stop().throttled == ()


def test_a_gpu_tells_why_its_clocks_are_low_and_what_it_took(machine: Machine) -> None:
    driver = Driver(bits=0x04 | 0x40 | 0x08 | 0x01, pids=[7], energy=5000)
    monitor = Monitor(host_of(machine), GpuState("abc", driver, pid=7))
    monitor.start()
    driver.energy = 5250
    machine.passes(1.0)
    watch = monitor.stop()
    assert watch.throttled == ("software power cap", "hardware thermal slowdown")
    assert watch.energy_j == pytest.approx(0.25)
    assert watch.other_processes == 0


def test_idleness_and_chosen_clocks_are_no_throttling_but_a_hardware_slowdown_of_no_known_kind_is() -> None:
    assert GpuState("abc", Driver(bits=0x01 | 0x02 | 0x100)).throttled() == ()
    assert GpuState("GPU-abc", Driver(bits=0x08)).throttled() == ("hardware slowdown",)


@pytest.mark.parametrize(
    ("pids", "others"),
    [([7], 0), ([7, 8, 9], 2), ([7, 0, 0], 2), ([4001, 4002], 1), ([4001], 0), ([], None), (None, None)],
    ids=["alone", "two others", "two hidden", "numbers of the host", "the host's, alone", "all hidden", "unsupported"],
)
def test_other_processes_are_told_from_this_one_whose_number_a_container_may_change(
    pids: list[int] | None, others: int | None
) -> None:
    assert GpuState("abc", Driver(pids=pids), pid=7).other_processes() == others


@pytest.mark.parametrize("state", [GpuState("other", Driver()), GpuState("abc", Driver(None, None, None))])
def test_what_a_driver_does_not_tell_is_unknown_and_no_error(state: GpuState, machine: Machine) -> None:
    monitor = Monitor(host_of(machine), state)
    assert watched(monitor, machine, 1.0) == Watch(0.0, (), None, None, 1.0)


def test_the_real_module_without_a_driver_knows_nothing() -> None:
    pynvml = pytest.importorskip("pynvml")
    state = GpuState("00000000-0000-0000-0000-000000000000", pynvml)
    assert (state.throttled(), state.other_processes(), state.energy_j()) == ((), None, None)


def test_a_cpu_has_no_gpu_to_ask_and_a_call_that_was_not_started_cannot_be_stopped() -> None:
    assert gpu_state(CPU) is None
    monitor = monitor_of(CPU)
    with pytest.raises(RuntimeError, match="start"):
        monitor.stop()
    monitor.start()
    watch = monitor.stop()
    assert (watch.other_processes, watch.energy_j) == (None, None)
