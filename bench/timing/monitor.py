"""What disturbs a timing, and the energy that it takes: read before and after a timed call, never within it.

A time that is disturbed is kept and said to be so: `verdict` gives the reasons in words.
"""

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bench.purity.process import left_running
from bench.timing.gpu_state import GpuState, gpu_state
from bench.timing.host_load import OVERHEATED, QUOTA, HostLoad, HostReading
from models.common.words import counted

SPREAD = 0.10
"""Interquartile range over median: of undisturbed times it is 1 to 4 %, and a median of ten that spread by more is
known no better than to 5 %, about what careful implementations differ by."""
SPREAD_OF = 4
"""Times from which on there are quartiles to speak of."""

OTHERS = 0.05
"""Part of the processors, on all of which the network runs; what a system does by itself stays below 1 %."""
OTHERS_BESIDE_GPU = 0.5
"""Part of the host's processors where the network runs on a GPU: a call then needs one of them, to start kernels."""
WINDOW_S = 0.4
"""The time over which others' part is known to 2.5 %, by the resolution of the kernel's counters: shorter calls are
looked at together."""

LEFT = "threads that a sampler left running take part of its processors"

OFTEN = 0.25
"""Part of what was watched: what touches fewer of them moves neither the median nor both of the quartiles."""

CLOCKS, CLOCKS_S = 0.05, 50e-6
"""Difference between the host's clock and CUDA's events, of the median and in seconds: the host's includes the start of
the first kernel and the wait for the last one, 10 to 30 us; what is above that is a host that was kept busy."""


@dataclass(frozen=True)
class Watch:
    """What happened during one timed call, or during several, summed; None is not known.

    Attributes:
        others_share: part of the processors that other processes used meanwhile (in a virtual machine other guests,
            too), 0 ... 1 to within what the kernel resolves, which is 10 ms a processor.
        throttled: what held the device back, in words; empty: nothing that is known.
        other_processes: on the GPU, with a compute context.
        energy_j: that the GPU took, coarse for one short call.
        seconds: that were watched.
    """

    others_share: float | None
    throttled: tuple[str, ...]
    other_processes: int | None
    energy_j: float | None
    seconds: float


class Monitor:
    """Watches one call at a time: `start`, the call, `stop`. Both take less than 0.5 ms on a CPU."""

    def __init__(self, host: HostLoad, gpu: GpuState | None = None) -> None:
        self._host, self._gpu = host, gpu
        self._before: tuple[HostReading, float | None] | None = None

    def start(self) -> None:
        """Before a timed region."""
        energy = None if self._gpu is None else self._gpu.energy_j()
        self._before = (self._host.read(), energy)

    def stop(self) -> Watch:
        """After the timed region, the device synchronised; RuntimeError without a `start` before it."""
        if self._before is None:
            raise RuntimeError("Monitor.stop needs a Monitor.start before it")
        (before, energy), self._before = self._before, None
        after = self._host.read()
        share, seconds = self._host.share_of_others(before, after), after.at - before.at
        held = {OVERHEATED: after.overheated > before.overheated, QUOTA: after.over_quota > before.over_quota}
        left = (LEFT,) if left_running() else ()
        if self._gpu is None:
            return Watch(share, (*(words for words, is_so in held.items() if is_so), *left), None, None, seconds)
        throttled, now = (*self._gpu.throttled(), *left), self._gpu.energy_j()
        spent = None if energy is None or now is None else now - energy
        return Watch(share, throttled, self._gpu.other_processes(), spent, seconds)


def monitor_of(device: torch.device) -> Monitor:
    """A monitor of this machine and of the device that computes."""
    return Monitor(HostLoad(), gpu_state(device))


def at_start(host: HostLoad, since: HostReading, device: torch.device) -> list[str]:
    """What whoever starts a run must know at once of the machine, a line each; none if nothing is known against it.

    What others used while the program loaded its models, `since` it started, tells what they will use.
    """
    now, there, threads = host.read(), host.processors, torch.get_num_threads()
    share, on_cpu = host.share_of_others(since, now), device.type == "cpu"
    limit, found = OTHERS if on_cpu else OTHERS_BESIDE_GPU, list[str]()
    if share is not None and now.at - since.at >= WINDOW_S and share > limit:
        beside = f", beside the network's {threads} thread{'s' * (threads != 1)}" if on_cpu else ""
        found.append(
            f"the machine is busy: others use {_percent(share)} of the {there} processors (load "
            f"{os.getloadavg()[0]:.1f} in the last minute){beside}. All takes longer, and what is timed is marked as "
            "disturbed; for good times run it again when the machine is idle"
        )
    if on_cpu and threads > there:
        found.append(f"{counted(threads, 'thread')} on {counted(there, 'processor')}: they will wait for one another")
    return found


def _percent(share: float) -> str:
    return f"{100 * min(share, 1.0):.0f} %"


def summed(watches: Sequence[Watch]) -> Watch:
    """Several calls as one: the mean part of others, everything that held any back, the most processes, all energy.

    What is not known of one of them is not known of all.
    """
    seconds = sum(watch.seconds for watch in watches)
    shares = [watch.others_share for watch in watches if watch.others_share is not None]
    energies = [watch.energy_j for watch in watches if watch.energy_j is not None]
    processes = [watch.other_processes for watch in watches if watch.other_processes is not None]
    complete = len(shares) == len(watches) and seconds > 0
    weighted = sum(share * watch.seconds for share, watch in zip(shares, watches, strict=True)) if complete else 0.0
    return Watch(
        weighted / seconds if complete else None,
        tuple(dict.fromkeys(words for watch in watches for words in watch.throttled)),
        max(processes, default=None),
        sum(energies) if watches and len(energies) == len(watches) else None,
        seconds,
    )


def verdict(latency: Sequence[float], watches: Sequence[Watch], device_s: Sequence[float] | None) -> str | None:
    """Why the times of a setting are not valid, in words; None: nothing is known against them.

    Seconds of each call are by the host's clock and, but on a CPU, by CUDA's events; watches of the rounds, in order.
    """
    found = [_others(watches, OTHERS if device_s is None else OTHERS_BESIDE_GPU), *_device(watches)]
    found += [_clocks(latency, device_s), _spread(latency)]
    return "; ".join(words for words in found if words) or None


def _others(watches: Sequence[Watch], limit: float) -> str | None:
    shares = [share for window in _windows(watches) if (share := window.others_share) is not None]
    if not shares or (median := statistics.median(shares)) <= limit:
        return None
    return f"others used {_percent(median)} of the processors"


def _windows(watches: Sequence[Watch]) -> list[Watch]:
    """Calls in a row put together until each has been watched for long enough; what is left over is dropped."""
    found, waiting = list[Watch](), list[Watch]()
    for watch in watches:
        waiting.append(watch)
        if sum(each.seconds for each in waiting) >= WINDOW_S:
            found.append(summed(waiting))
            waiting = []
    return found


def _device(watches: Sequence[Watch]) -> list[str]:
    """What was the matter with the device itself in many of the rounds."""
    reasons = dict.fromkeys(words for watch in watches for words in watch.throttled)
    counts = {words: sum(words in watch.throttled for watch in watches) for words in reasons}
    held = [f"held back in {n} of {len(watches)} rounds: {words}" for words, n in counts.items() if _often(n, watches)]
    shared = [watch.other_processes for watch in watches if watch.other_processes]
    if not _often(len(shared), watches):
        return held
    return [*held, f"{max(shared)} other process{'es' * (max(shared) > 1)} on the device"]


def _often(count: int, watches: Sequence[Watch]) -> bool:
    return count > 0 and count >= OFTEN * len(watches)


def _clocks(latency: Sequence[float], device_s: Sequence[float] | None) -> str | None:
    if not device_s:
        return None
    host, device = statistics.median(latency), statistics.median(device_s)
    if abs(host - device) <= max(CLOCKS * host, CLOCKS_S):
        return None
    return f"the host's clock says {1e3 * host:.3g} ms and CUDA's events {1e3 * device:.3g} ms"


def _spread(latency: Sequence[float]) -> str | None:
    if len(latency) < SPREAD_OF:
        return None
    q1, median, q3 = np.quantile(latency, (0.25, 0.5, 0.75))
    return f"times spread by {100 * (q3 - q1) / median:.0f} %" if q3 - q1 > SPREAD * median else None
