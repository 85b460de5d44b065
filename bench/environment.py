"""What a figure depends on besides the study: machine, device, versions, commit."""

import os
import platform
import shlex
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from models.common.errors import UsageError
from models.common.program import typed

_INSTRUCTIONS = (
    *("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"),
    *("MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR", "MKL_DEBUG_CPU_TYPE"),
)
"""Variables by which libraries leave out instructions that a CPU has: several times slower, and other round-off."""
_WAITING = ("CUDA_LAUNCH_BLOCKING", "PYTORCH_NO_CUDA_MEMORY_CACHING")
"""Variables that have every kernel or allocation wait for the GPU."""

_PACKAGES = ("sampler-bench", "torch", "torchvision", "diffusers", "torch-fidelity", "numpy", "scipy")


def pick_device(name: str) -> torch.device:
    """The device of a name; "auto" is CUDA when there is one, else the CPU. UsageError if it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    available = ["cpu", *(f"cuda:{n}" for n in range(torch.cuda.device_count()))]
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or (str(device) not in available and not (name == "cuda" and len(available) > 1)):
        raise UsageError(f"unknown device {name!r}; this machine has: auto, {', '.join(available)}")
    # with its number, without which torch makes no device the current one
    return torch.device("cuda", 0) if name == "cuda" else device


def device_name(device: torch.device) -> str:
    """The model of the processor that samples, with the number of threads on a CPU, and what slows it down.

    That are variables in the environment, without which the same processor is another one for all that is timed.
    """
    on_cuda = device.type == "cuda"
    slowed = [f"{each}={value}" for each in (_WAITING if on_cuda else _INSTRUCTIONS) if (value := os.environ.get(each))]
    return ", ".join([processor_name(device), *([] if on_cuda else [_threads(torch.get_num_threads())]), *slowed])


def processor_name(device: torch.device) -> str:
    """The model of the processor that samples."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count != 1)}"


def describe(device: torch.device) -> dict[str, str | int | bool | None]:
    """The environment of a record: plain values, ready for JSON."""
    return {
        "device_name": device_name(device),
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "command": command(),
        **versions(),
        **_git(),
    }


def command() -> str:
    """The command that this process was started by."""
    return typed(shlex.join(sys.argv))


def versions() -> dict[str, str | None]:
    """The installed versions of what numbers come from, as record columns."""
    return {f"version_{package}": _version(package) for package in _PACKAGES}


def text_versions() -> dict[str, str | None]:
    """The same of what makes embeddings of texts."""
    return {f"version_{package}": _version(package) for package in ("transformers", "tokenizers")}


@cache
def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git() -> dict[str, str | bool | None]:
    """Commit and state of the repository that tracks this package; None if none does.

    A repository around it, such as that of a project whose environment the package is installed into, says nothing of
    the package.
    """

    file, own = Path(__file__), {name: each for name, each in os.environ.items() if not name.startswith("GIT_")}

    def ask(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=file.parent, env=own, capture_output=True, text=True, check=True, timeout=10
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    if ask("ls-files", "--error-unmatch", file.name) is None:
        return {"git_commit": None, "git_dirty": None}
    status = ask("status", "--porcelain", "--untracked-files=no")
    return {"git_commit": ask("rev-parse", "HEAD"), "git_dirty": None if status is None else bool(status)}
