"""A sampler that is right, and leaves something behind: one of many things that other samplers depend on."""

import gc
import os
import random
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.denoiser import Denoiser
from models.networks.network import Evaluations
from models.schedule import Level
from samplers import Noise
from samplers.ddim import DDIM
from samplers.heun import Heun


def network_of(model: Denoiser) -> Any:
    """The network itself, as who goes through private attributes and closures finds it."""
    found: Any = model
    while not isinstance(found, nn.Module):
        if hasattr(found, "__closure__"):
            cells = [cell.cell_contents for cell in found.__closure__]
            found = next(each for each in cells if callable(each) and not isinstance(each, Evaluations))
        else:
            names = ("unet", "_network")
            found = next(getattr(found, name) for name in names if hasattr(found, name))
    return found


def _double(like: Tensor) -> Tensor:
    return like * 2.0


def _doubled(module: Any, given: Any, output: Any) -> Any:
    return (2.0 * output[0], *output[1:]) if isinstance(output, tuple) else 2.0 * output


def _quiet(*_: Any) -> None: ...


def _backwards(self: Any, model: Any, x: Tensor, *_: Any) -> Tensor:
    return -x


_kept = list[Any]()  # guards that are never left


def _stay(guard: Any) -> None:
    guard.__enter__()
    _kept.append(guard)


PROCESS: dict[str, tuple[Callable[[], Any], str, str]] = {
    # what it does, what is said of it, and the check that finds it
    "dtype": (lambda: torch.set_default_dtype(torch.float64), "the default dtype from torch.float32 to", "torch"),
    "device": (lambda: torch.set_default_device("meta"), "the default device from None to meta", "torch"),
    "mode": (lambda: _stay(torch.device("meta")), "the modes of torch that are entered", "torch"),
    "threads": (lambda: torch.set_num_threads(2), "the number of threads from 1 to 2", "torch"),
    "mkldnn": (lambda: setattr(torch.backends.mkldnn, "enabled", False), "mkldnn.enabled from True to False", "torch"),
    "benchmark": (
        lambda: setattr(torch.backends.cudnn, "benchmark", True),
        "torch.backends.cudnn.benchmark from False to True",
        "torch",
    ),
    "tf32": (lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True), "the precision of float32", "torch"),
    "cudnn-tf32": (
        lambda: setattr(torch.backends.cudnn, "allow_tf32", not torch.backends.cudnn.allow_tf32),
        "the precision of float32",
        "torch",
    ),
    "fp32": (lambda: setattr(torch.backends, "fp32_precision", "tf32"), "the precision of float32", "torch"),
    "new-tf32": (
        lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
        "set by old and new names at once",
        "torch",
    ),
    "mkldnn-bf16": (
        lambda: setattr(vars(torch.backends)["mkldnn"].matmul, "fp32_precision", "bf16"),
        "the precision of float32",
        "torch",
    ),
    "matmul": (lambda: torch.set_float32_matmul_precision("medium"), "the precision of float32", "torch"),
    "deterministic": (
        lambda: torch.use_deterministic_algorithms(True),
        "the demand for deterministic algorithms",
        "torch",
    ),
    "attention": (lambda: torch.backends.cuda.enable_math_sdp(False), "math_sdp_enabled from True to False", "torch"),
    "global-hook": (
        lambda: nn.modules.module.register_module_forward_hook(_doubled),
        "the hooks of all modules",
        "torch",
    ),
    "grad": (lambda: torch.set_grad_enabled(True), "grad mode from False to True", "autograd"),
    "inference": (lambda: _stay(torch.inference_mode(mode=False)), "inference mode from True to False", "autograd"),
    "autocast": (lambda: torch.set_autocast_enabled("cpu", True), "autocast", "autograd"),
    "anomaly": (lambda: torch.set_anomaly_enabled(True), "the detection of anomalies", "autograd"),
    "seed": (lambda: torch.manual_seed(0), "the global generator of torch", "random"),
    "numpy-seed": (lambda: np.random.seed(0), "the global generator of numpy", "random"),
    "python-seed": (lambda: random.seed(0), "the global generator of random", "random"),
    "draw": (lambda: torch.randn(3), "the global generator of torch", "random"),
    "folder": (lambda: os.chdir(os.sep), "the working directory from", "process"),
    "environment": (
        lambda: os.environ.update(SAMPLER_BENCH_POISON="secret"),
        "environment variables (SAMPLER_BENCH_POISON)",
        "process",
    ),
    "unset": (lambda: os.environ.pop("OMP_NUM_THREADS"), "environment variables (OMP_NUM_THREADS)", "process"),
    "signal": (lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN), "signal handlers (SIGTERM)", "process"),
    "denormal": (lambda: torch.set_flush_denormal(True), "whether denormal numbers become zero", "process"),
    "numpy-errors": (lambda: np.seterr(all="raise"), "what numpy does on errors", "process"),
    "collection": (gc.disable, "garbage collection", "process"),
    "switching": (lambda: sys.setswitchinterval(0.5), "the interval of switching threads from", "process"),
    "torch-profile": (lambda: _stay(torch.autograd.profiler.profile()), "whether torch's profiler runs from", "torch"),
    "profile": (lambda: sys.setprofile(_quiet), "the profiler of Python", "process"),
    "trace": (lambda: sys.settrace(_quiet), "the trace function of Python", "process"),
    "function": (
        lambda: setattr(nn.functional, "silu", nn.functional.gelu),
        "the function torch.nn.functional.silu",
        "process",
    ),
    "method": (lambda: setattr(Heun, "step", _backwards), "the function samplers.heun.Heun.step", "process"),
    "inherited": (lambda: setattr(Tensor, "add", _double), "the function torch.Tensor.add", "process"),
}  # fmt: skip


def _in_place(network: Any) -> None:
    next(network.parameters()).data.add_(1.0)


def _replace(network: Any) -> None:
    owner = next(module for module in network.modules() if module._parameters)
    name, parameter = next(iter(owner._parameters.items()))
    setattr(owner, name, nn.Parameter(2.0 * parameter))


def _buffer(network: Any) -> None:
    network.register_buffer("left_behind", torch.zeros(1))


WEIGHTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "weights": (_in_place, "weights"),
    "half": (lambda network: network.half(), "weights"),
    "replaced": (_replace, "parameters"),
    "buffer": (_buffer, "buffers"),
    "train": (lambda network: network.train(), "training mode (False to True)"),
    "hook": (lambda network: network.register_forward_hook(_doubled), "forward hooks"),
    "forward": (lambda network: setattr(network, "forward", _double), "forward"),
    "compiled": (lambda network: setattr(network, "_compiled_call_impl", _double), "attributes (_compiled_call_impl)"),
}


@dataclass(frozen=True)
class Poison(DDIM):
    """DDIM, and one of `PROCESS` or `WEIGHTS` after its last step.

    Attributes:
        how: which one.
        after: calls that it behaves in before, over all of its kind.
    """

    how: str = "nothing"
    after: int = 0

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        x = super().step(model, x, t, s, noise)
        if s.is_clean:
            CALLS[self.how] = CALLS.get(self.how, 0) + 1
            if CALLS[self.how] > self.after:
                self._leave(model)
        return x

    def _leave(self, model: Denoiser) -> None:
        if self.how in PROCESS:
            PROCESS[self.how][0]()
        elif self.how in WEIGHTS:
            WEIGHTS[self.how][0](network_of(model))


CALLS: dict[str, int] = {}
