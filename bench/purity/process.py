"""Of the process: the generators of random numbers, and what Python, numpy and the system keep."""

import gc
import os
import random
import signal
import sys
import threading
import time
import warnings
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import numpy as np
import torch

from bench.purity.aspect import Aspect, names, untold


def reseed(seed: int) -> None:
    """Seed the generators that a sampler would draw from on a CPU."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)


def _torch_state() -> bytes:
    return torch.get_rng_state().numpy().tobytes()


def _set_torch_state(state: bytes) -> None:
    torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))


def _cuda_state() -> bytes | None:
    """None where nothing runs on CUDA: to ask would start it."""
    return torch.cuda.get_rng_state().numpy().tobytes() if torch.cuda.is_initialized() else None


def _set_cuda_state(state: bytes | None) -> None:
    if state is not None:
        torch.cuda.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))


def _numpy_state() -> tuple[Any, ...]:
    name, keys, *rest = np.random.get_state(legacy=True)
    return name, np.asarray(keys).tobytes(), *rest


def _set_numpy_state(state: tuple[Any, ...]) -> None:
    name, keys, *rest = state
    np.random.set_state((name, np.frombuffer(keys, dtype=np.uint32), *rest))


RANDOM = (
    Aspect("the global generator of torch", "random", _torch_state, _set_torch_state, untold),
    Aspect("the global generator of torch on CUDA", "random", _cuda_state, _set_cuda_state, untold),
    Aspect("the global generator of numpy", "random", _numpy_state, _set_numpy_state, untold),
    Aspect("the global generator of random", "random", random.getstate, random.setstate, untold, by_import=True),
)

_INDUCTOR = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
"""Set by torch.compile itself, where a network is compiled for a batch that it has not met."""
_SMALLEST = sys.float_info.min
_SIGNALS = [
    number
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGPIPE")
    if (number := getattr(signal, name, None)) is not None
]


def _folder() -> str | None:
    """None where it was deleted."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def _set_folder(path: str | None) -> None:
    if path is not None:
        os.chdir(path)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _INDUCTOR}


def _set_environment(state: dict[str, str]) -> None:
    for name in _environment().keys() - state.keys():
        del os.environ[name]
    os.environ.update(state)


def _handlers() -> dict[str, object]:
    return {number.name: signal.getsignal(number) for number in _SIGNALS}


def _set_handlers(state: dict[str, Any]) -> None:
    if threading.current_thread() is not threading.main_thread():
        return  # where no one may set them, and so no sampler has
    for name, handler in state.items():
        number = signal.Signals[name]
        if handler is not None and signal.getsignal(number) != handler:
            signal.signal(number, handler)


def _set_filters(state: tuple[Any, ...]) -> None:
    warnings.resetwarnings()  # which also makes Python forget what it has decided by the other filters
    warnings.filters.extend(state)  # type: ignore[attr-defined]


def _collection() -> tuple[bool, tuple[int, int, int]]:
    return gc.isenabled(), gc.get_threshold()


def _set_collection(state: tuple[bool, tuple[int, int, int]]) -> None:
    (gc.enable if state[0] else gc.disable)()
    gc.set_threshold(*state[1])


def _processors() -> frozenset[int]:
    return frozenset(os.sched_getaffinity(0)) if sys.platform == "linux" else frozenset()


def _set_processors(state: frozenset[int]) -> None:
    if sys.platform == "linux":
        os.sched_setaffinity(0, state)


@dataclass(frozen=True, eq=False)
class _Threads:
    """Threads of Python that run; as good as those of before where none is new."""

    running: frozenset[threading.Thread]

    def __eq__(self, before: object) -> bool:
        return isinstance(before, _Threads) and self.running <= before.running


_LEFT = WeakSet[threading.Thread]()
"""Threads that samplers have left and that did not end."""
_ENDING_S = 1.0


def left_running() -> bool:
    """Whether threads run that a sampler has left: they slow down whatever is timed."""
    return any(thread.is_alive() for thread in _LEFT)


def _threads() -> _Threads:
    return _Threads(frozenset(thread for thread in threading.enumerate() if not _is_of_library(thread)))


def _is_of_library(thread: threading.Thread) -> bool:
    """Whether a library runs it for itself: tqdm's wakes once in ten seconds, and torch compiles in some."""
    places = (type(thread).__module__, getattr(getattr(thread, "_target", None), "__module__", None))
    return any(str(place).partition(".")[0] in ("tqdm", "torch") for place in places)


def _wait_for_threads(before: _Threads) -> None:
    """RuntimeError if new ones do not end soon; nobody can end them."""
    until = time.monotonic() + _ENDING_S
    new = _threads().running - before.running
    for thread in new:
        thread.join(max(0.0, until - time.monotonic()))
    left = [thread for thread in new if thread.is_alive()]
    _LEFT.update(left)
    if left:
        raise RuntimeError("they run on")


def _new_threads(before: _Threads, after: _Threads) -> str:
    return f" ({', '.join(sorted(thread.name for thread in after.running - before.running))})"


PROCESS = (
    Aspect("the working directory", "process", _folder, _set_folder),
    Aspect("environment variables", "process", _environment, _set_environment, names, by_import=True),
    Aspect("signal handlers", "process", _handlers, _set_handlers, names),
    # scipy, for one, sets some where it is first imported, which may be inside a call
    Aspect("the filters of warnings", "process", lambda: tuple(warnings.filters), _set_filters, untold, accuses=False),
    Aspect("what numpy does on errors", "process", np.geterr, lambda state: np.seterr(**state)),
    Aspect("whether denormal numbers become zero", "process", lambda: _SMALLEST * 0.5 == 0.0, torch.set_flush_denormal),
    Aspect("garbage collection", "process", _collection, _set_collection),
    Aspect("the interval of switching threads", "process", sys.getswitchinterval, sys.setswitchinterval),
    Aspect("the processors of this process", "process", _processors, _set_processors),
    # left running they slow down whatever is timed after it
    Aspect("the profiler of Python", "process", sys.getprofile, sys.setprofile, untold),
    Aspect("the trace function of Python", "process", sys.gettrace, sys.settrace, untold),
    Aspect("the threads that run", "process", _threads, _wait_for_threads, _new_threads, by_import=True),
)
