"""What an NVIDIA GPU tells of itself through its driver (NVML): lowered clocks, other processes on it, its energy.

Where there is no driver, or an old one, or a part of a GPU (MIG), whatever is not there is not known; it is no error.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch

_REASONS = {
    0x04: "software power cap",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}
"""Bits of nvmlClocksEventReasons that mean less speed than was asked for; the others are idleness and settings."""
_HARDWARE = 0x08
"""Hardware slowdown of any kind; said only where neither of the two kinds above is."""


class GpuState:
    """The state of one device.

    Args:
        uuid: the device's, as torch gives it; None: not known. Numbers will not do: CUDA_VISIBLE_DEVICES changes
            CUDA's, but not the driver's.
        nvml: the module pynvml, or a stand-in.
        pid: of this process.
    """

    def __init__(self, uuid: str | None, nvml: Any, pid: int | None = None) -> None:
        self._nvml = nvml
        self._silent = (nvml.NVMLError, nvml.NVMLLibraryMismatchError)  # the second: a driver older than the module
        self._pid = os.getpid() if pid is None else pid
        self._handle = None
        bare = (uuid or "").removeprefix("GPU-").removeprefix("MIG-")
        for name in (f"GPU-{bare}", f"MIG-{bare}") if bare else ():  # a device, or a part of one
            if self._handle is None:
                with suppress(*self._silent):
                    nvml.nvmlInit()
                    self._handle = nvml.nvmlDeviceGetHandleByUUID(name)

    def throttled(self) -> tuple[str, ...]:
        """Why the clocks are lower than asked for right now, in words; empty: they are not, or it is not known."""
        bits: int = self._ask(self._nvml.nvmlDeviceGetCurrentClocksEventReasons) or 0
        found = tuple(words for bit, words in _REASONS.items() if bits & bit)
        if bits & _HARDWARE and not bits & (0x40 | 0x80):
            return (*found, "hardware slowdown")
        return found

    def other_processes(self) -> int | None:
        """Processes with a compute context on the device besides this one, which must have one; None: not known.

        In a container the driver may give the host's numbers, of which an unknown one is this process, or number 0 for
        a hidden one, which is another; or it hides all, this one too: then nothing is known.
        """
        found: list[Any] | None = self._ask(self._nvml.nvmlDeviceGetComputeRunningProcesses)
        if not found:
            return None
        others = sum(1 for process in found if process.pid != self._pid)
        return others - 1 if others == len(found) else others

    def energy_j(self) -> float | None:
        """Joules that the whole device took since its driver was loaded, renewed every 20 to 100 ms."""
        millijoules: int | None = self._ask(self._nvml.nvmlDeviceGetTotalEnergyConsumption)
        return None if millijoules is None else millijoules / 1000.0

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        """The driver's answer, None if it has none."""
        if self._handle is not None:
            with suppress(*self._silent):
                return question(self._handle)
        return None


def gpu_state(device: torch.device) -> GpuState | None:
    """The state of a CUDA device; None for a CPU."""
    if device.type != "cuda":
        return None
    import pynvml  # only where there is a GPU to ask

    return GpuState(str(torch.cuda.get_device_properties(device).uuid), pynvml)
