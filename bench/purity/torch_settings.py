"""Of torch: what new tensors are, what computes, and the modes of autograd."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import backends, overrides
from torch.nn.modules import module as modules
from torch.utils import _python_dispatch as dispatch

from bench.purity.aspect import Aspect, untold

_OPERATIONS = (
    *(("generic", "all"), ("cuda", "all"), ("cuda", "matmul"), ("cuda", "conv"), ("cuda", "rnn")),
    *(("mkldnn", "all"), ("mkldnn", "matmul"), ("mkldnn", "conv"), ("mkldnn", "rnn")),
)
"""The general ones first, which set those below them that are not set themselves."""
_MIXED = "set by old and new names at once"
_HOOKS = [name for name in vars(modules) if name.startswith("_global_forward")]
_DEVICES = ("cpu", "cuda")
_held = list[object]()
"""Guards of inference mode, each of which ends with its guard."""


def _either(read: Callable[[], object]) -> object:
    """Of a setting by its old name, which torch refuses to tell once a new name has set it otherwise."""
    try:
        return read()
    except RuntimeError:
        return _MIXED


def _precisions() -> tuple[object, ...]:
    """Of products of float32 matrices, and whether cuDNN uses TensorFloat-32, by their old names; then all the new."""
    old = (_either(torch.get_float32_matmul_precision), _either(lambda: backends.cudnn.allow_tf32))
    return *old, *(torch._C._get_fp32_precision_getter(*each) for each in _OPERATIONS)


def _set_precisions(state: tuple[Any, ...]) -> None:
    matmul, cudnn, *new = state
    # by the old names first, which set several of the new ones: then neither contradicts the other
    if matmul != _MIXED:
        torch.set_float32_matmul_precision(matmul)
    if cudnn != _MIXED:
        backends.cudnn.allow_tf32 = cudnn
    for each, precision in zip(_OPERATIONS, new, strict=True):
        torch._C._set_fp32_precision_setter(*each, precision)


def _default_device() -> torch.device | None:
    """None unless one was set, which costs time in every call even where it is the CPU."""
    return torch.get_default_device() if overrides._get_current_function_mode_stack() else None


def _modes() -> tuple[Sequence[Any], Sequence[Any]]:
    """Of functions and of their dispatch, that were entered and not left."""
    return overrides._get_current_function_mode_stack(), dispatch._get_current_dispatch_mode_stack()


def _set_modes(state: tuple[Sequence[Any], Sequence[Any]]) -> None:
    for stack, now, before in zip((overrides, dispatch), _modes(), state, strict=True):
        for _ in now:  # not by leaving them: some can only be left by whoever entered them
            stack._pop_mode()
        for mode in before:
            stack._push_mode(mode)


def _deterministic() -> tuple[bool, bool, bool]:
    warn, fill = torch.is_deterministic_algorithms_warn_only_enabled(), vars(torch.utils)["deterministic"]
    return torch.are_deterministic_algorithms_enabled(), warn, fill.fill_uninitialized_memory


def _set_deterministic(state: tuple[bool, bool, bool]) -> None:
    torch.use_deterministic_algorithms(state[0], warn_only=state[1])
    vars(torch.utils)["deterministic"].fill_uninitialized_memory = state[2]


def _module_hooks() -> tuple[dict[int, object], ...]:
    return tuple(dict(getattr(modules, name)) for name in _HOOKS)


def _set_module_hooks(state: tuple[dict[int, object], ...]) -> None:
    for name, hooks in zip(_HOOKS, state, strict=True):
        getattr(modules, name).clear()
        getattr(modules, name).update(hooks)


def _cuda_place() -> tuple[Any, ...] | None:
    """None where nothing runs on CUDA: to ask would start it."""
    if not torch.cuda.is_initialized():
        return None
    return torch.cuda.current_device(), torch.cuda.current_stream(), torch.cuda.get_sync_debug_mode()


def _set_cuda_place(state: tuple[Any, ...] | None) -> None:
    device, stream, debug = state or (0, None, 0)  # as it is where it starts
    torch.cuda.set_device(device)
    torch.cuda.set_stream(stream or torch.cuda.default_stream(device))
    torch.cuda.set_sync_debug_mode(debug)


def _set_profiler(state: bool) -> None:
    if not state:
        torch._C._autograd._disable_profiler()


def _flags(name: str, owner: object, *attributes: str) -> list[Aspect]:
    return [
        Aspect(f"{name}.{each}", "torch", partial(getattr, owner, each), partial(setattr, owner, each))
        for each in attributes
    ]


def _attention(name: str) -> Aspect:
    read, write = getattr(backends.cuda, f"{name}_sdp_enabled"), getattr(backends.cuda, f"enable_{name}_sdp")
    return Aspect(f"torch.backends.cuda.{name}_sdp_enabled", "torch", read, write)


_REDUCED = (
    "allow_fp16_reduced_precision_reduction",
    "allow_bf16_reduced_precision_reduction",
    "allow_fp16_accumulation",
)
_linalg, _blas = backends.cuda.preferred_linalg_library, backends.cuda.preferred_blas_library
TORCH = (
    # these two first, since whatever is made while others are put back is made by them
    Aspect("the default device", "torch", _default_device, torch.set_default_device),
    Aspect("the modes of torch that are entered", "torch", _modes, _set_modes),
    Aspect("the default dtype", "torch", torch.get_default_dtype, torch.set_default_dtype),
    Aspect("the number of threads", "torch", torch.get_num_threads, torch.set_num_threads),
    Aspect("the number of interop threads", "torch", torch.get_num_interop_threads, torch.set_num_interop_threads),
    Aspect("the precision of float32", "torch", _precisions, _set_precisions),
    Aspect("the demand for deterministic algorithms", "torch", _deterministic, _set_deterministic),
    *_flags("torch.backends.mkldnn", backends.mkldnn, "enabled", "deterministic"),
    *_flags("torch.backends.cudnn", backends.cudnn, "enabled", "benchmark", "deterministic", "benchmark_limit"),
    *_flags("torch.backends.cuda.matmul", backends.cuda.matmul, *_REDUCED),
    *_flags("torch.backends.opt_einsum", backends.opt_einsum, "enabled", "strategy"),
    *(_attention(name) for name in ("flash", "mem_efficient", "math", "cudnn")),
    Aspect("torch.backends.nnpack", "torch", torch._C._get_nnpack_enabled, backends.nnpack.set_flags),
    Aspect("torch.backends.mha", "torch", backends.mha.get_fastpath_enabled, backends.mha.set_fastpath_enabled),
    Aspect("the preferred library of linear algebra", "torch", _linalg, _linalg),
    Aspect("the preferred library of matrix products", "torch", _blas, _blas),
    Aspect("the hooks of all modules", "torch", _module_hooks, _set_module_hooks, untold),
    Aspect("whether torch's profiler runs", "torch", torch._C._autograd._profiler_enabled, _set_profiler),
    Aspect("the current CUDA device, stream or debug mode", "torch", _cuda_place, _set_cuda_place),
)


def _set_inference(state: bool) -> None:
    _held.append(torch._C._InferenceMode(state))


def _autocast() -> tuple[Any, ...]:
    each = ((torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)) for device in _DEVICES)
    return torch.is_autocast_cache_enabled(), *each


def _set_autocast(state: tuple[Any, ...]) -> None:
    torch.set_autocast_cache_enabled(state[0])
    for device, (enabled, dtype) in zip(_DEVICES, state[1:], strict=True):
        torch.set_autocast_enabled(device, enabled)
        torch.set_autocast_dtype(device, dtype)


def _anomaly() -> tuple[bool, bool]:
    return torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()


def _set_anomaly(state: tuple[bool, bool]) -> None:
    torch.set_anomaly_enabled(*state)


AUTOGRAD = (
    Aspect("inference mode", "autograd", torch.is_inference_mode_enabled, _set_inference),
    Aspect("grad mode", "autograd", torch.is_grad_enabled, torch._C._set_grad_enabled),
    Aspect("autocast", "autograd", _autocast, _set_autocast),
    Aspect("the detection of anomalies", "autograd", _anomaly, _set_anomaly),
)
