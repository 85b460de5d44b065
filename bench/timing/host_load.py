"""What other processes take of the machine's processors, and what holds those back, from the kernel's counters."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

_NOT_BUSY = ("idle", "iowait", "guest", "guest_nice", "interrupt", "dpc")
"""Times in which a processor does nothing, and those that are contained in others (guest in user, dpc in system)."""

_TICK_S = 0.01
"""Resolution of the kernel's counters, a hundredth of a second on all usual systems."""

_THROTTLES = ("core_throttle_count", "package_throttle_count")
_QUOTA_FILES = ("cpu.stat", "cpu/cpu.stat", "cpu,cpuacct/cpu.stat")
"""Where a container sees the throttling of its own control group: version 2, and the two usual places of version 1."""

OVERHEATED = "processors too hot"
QUOTA = "processor quota of the container used up"


class HostReading(NamedTuple):
    """Counters at one moment.

    Attributes:
        at: seconds of the clock.
        busy: processor seconds that all processors which this process may use have been busy; None: not known.
        own: processor seconds of this process.
        overheated: times that a processor's clock was lowered for its temperature.
        over_quota: times that the container's processes were stopped until its quota of processor time is renewed.
    """

    at: float
    busy: float | None
    own: float
    overheated: int
    over_quota: int


class HostLoad:
    """Reads the counters of the machine. What it cannot read counts as not known, or as never having happened.

    Its own is what the threads of this process take: its children are others. Time that a hypervisor gives to other
    guests ("steal") counts as others'. Only the processors that this process may run on are looked at. A test passes
    its own psutil, processor seconds, clock, and root of the kernel's files, which psutil does not read.
    """

    def __init__(
        self,
        system: Any = psutil,
        own: Callable[[], float] = time.process_time,
        clock: Callable[[], float] = time.perf_counter,
        root: Path = Path("/"),
    ) -> None:
        self._system, self._own, self._clock = system, own, clock
        self._allowed = allowed_processors()
        self._thermal = _thermal_counters(root / "sys/devices/system/cpu")
        groups = [root / "sys/fs/cgroup" / name for name in _QUOTA_FILES]
        self._quota = next((path for path in groups if _counter(path, "nr_throttled") is not None), None)

    def read(self) -> HostReading:
        """The counters now; takes about 0.1 ms."""
        overheated = sum(_counter(path) or 0 for path in self._thermal)
        over_quota = 0 if self._quota is None else _counter(self._quota, "nr_throttled") or 0
        return HostReading(self._clock(), self._busy(), self._own(), overheated, over_quota)

    def share_of_others(self, before: HostReading, after: HostReading) -> float | None:
        """The part of the processors that others used between two readings, 0 ... 1; None where it is not known.

        The kernel resolves 10 ms a processor: over a short time it may lie a little outside of the range.
        """
        available = (after.at - before.at) * self.processors
        if before.busy is None or after.busy is None or available <= 0:
            return None
        others = (after.busy - before.busy) - (after.own - before.own)
        if others < -(_TICK_S * self.processors + 0.05 * available):
            return None  # the machine counts less than this process has used: a sandbox that shows no true counters
        return others / available

    @property
    def processors(self) -> int:
        """How many processors this process may run on."""
        return len(self._allowed)

    def _busy(self) -> float | None:
        try:
            times = self._system.cpu_times(percpu=True)
        except (psutil.Error, OSError):  # a container may hide them
            return None
        if max(self._allowed) >= len(times):
            return None  # some processors are switched off: which line is whose is not known
        spent = [item for n in self._allowed for item in times[n]._asdict().items()]
        return float(sum(seconds for name, seconds in spent if name not in _NOT_BUSY))


def allowed_processors() -> Sequence[int]:
    """The numbers of the processors that this process may run on."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return range(os.cpu_count() or 1)


def _thermal_counters(folder: Path) -> list[Path]:
    """One of each kind for every package and core; a machine without them, such as most virtual ones, has none."""
    found: dict[tuple[str, ...], Path] = {}
    for path in sorted(folder.glob("cpu[0-9]*/thermal_throttle/*_throttle_count")):
        if path.name in _THROTTLES:
            topology = path.parents[1] / "topology"
            package, core = (_text(topology / name) for name in ("physical_package_id", "core_id"))
            found.setdefault((path.name, package, core if path.name.startswith("core") else ""), path)
    return list(found.values())


def _counter(path: Path, name: str | None = None) -> int | None:
    """The number in a file, or the one behind a name on a line of its own."""
    words = _text(path).split()
    try:
        return int(words[0] if name is None else words[words.index(name) + 1])
    except (ValueError, IndexError):
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
