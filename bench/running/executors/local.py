"""Workers that are processes of this machine, of which one may crash, or hang, without any harm to the others.

By loky, of the people of scikit-learn: an executor of one process for each device. A process that ends for whatever
reason ends what it was given with an error that has its status, even if that is 0, and one that hangs is killed with
all that it has started; the next one is started by the next call, without running a script that has no `if __name__ ==
"__main__"` again. (pebble never comes back from a process that ends with status 0, and an executor of several processes
loses the work of all of them when one dies.)
"""

import faulthandler
import gc
import os
import pickle
import re
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
from loky import ProcessPoolExecutor
from loky.backend import resource_tracker as loky_resource_tracker
from loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

from bench.running.executors.crew import Died, TookTooLong

if TYPE_CHECKING:
    from bench.running.executors.messages import Order

Result = TypeVar("Result")

_WATCH_S = 1.0
"""Seconds from one look of a worker for its parent to the next."""
_DUMP_S = 1.0
"""Seconds that one that hangs is given to say where."""
_LOG = "traceback.txt"
_STATUS = re.compile(r"\{([A-Z0-9]+)\((-?\d+)\)")
_SACRIFICE = "500"
"""How much rather than others the system is to end a worker where memory runs out, of 1000."""
_MOST_GROWTH = 2**32
"""Bytes by which a process may have grown since it was ready, beyond which it is exchanged before its next work."""
_UNTOLD = {"LOKY_MAX_MEMORY_LEAK_SIZE": "1e18"}
"""So that loky does not exchange it by itself: after 300 MB, which is less than what compilers and CUDA keep, and in
the time of the work that comes next.
"""


class LocalSlot:
    """A device of this machine.

    Args:
        device: of its worker.
        load: makes the worker, in its process.
        most: bytes by which that may grow.
    """

    def __init__(self, device: str, load: "Callable[[Order], object]", most: int = _MOST_GROWTH) -> None:
        self._device, self._load, self._most, self._what = device, load, most, b""
        self._process, self._changing = 0, threading.Lock()
        self._pool: ProcessPoolExecutor | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def name(self) -> str:
        return self._device

    @property
    def is_up(self) -> bool:
        return self._pool is not None

    def start(self, order: "Order") -> None:
        if self._pool is None:
            self._what = pickle.dumps((self._load, order._replace(device=self._device)))
            self._begin()

    def _begin(self) -> None:
        """Start a process, and wait until it has loaded all."""
        _let_no_child_hear()
        with self._changing:
            self._folder = tempfile.TemporaryDirectory(prefix="sampler-bench-")
            given = self._folder.name, os.getpid(), self._what
            self._pool = ProcessPoolExecutor(1, initializer=_begin, initargs=given, env=_UNTOLD)
        try:
            self._is_ready()
        except BaseException:  # it cannot be used
            self.end()
            raise

    def _is_ready(self) -> bool:
        """Whether the process may do more, and is to be exchanged otherwise."""
        self._process, has_grown = self._asked(None, _state, self._most)
        return not has_grown

    def call(self, function: Callable[..., Result], /, *arguments: Any, timeout: float | None = None) -> Result:
        if self._pool is not None:
            try:
                ready = self._is_ready()
            except Died:  # of something between two pieces of work, neither of which is to blame
                ready = False
            if not ready:  # in the time of neither, too
                self.end()
                self._begin()
        return self._asked(timeout, function, *arguments)

    def _asked(self, timeout: float | None, function: Callable[..., Result], *arguments: Any) -> Result:
        """What a function of the worker gives, in time."""
        pool = self._pool
        if pool is None:
            raise Died("was ended")
        try:
            future = pool.submit(_call, function, arguments)
            result: Result = future.result(timeout)
        except TerminatedWorkerError as error:
            said = self._said()
            self.end()
            raise Died(_words(str(error)), said) from None
        except FutureTimeout:
            if future.done():  # the worker's own
                raise
            said = self._where()
            self.end()
            raise TookTooLong(f"took longer than {timeout:g} s (timeout)", said) from None
        return result

    def end(self) -> None:
        with self._changing:
            pool, folder, self._pool, self._folder = self._pool, self._folder, None, None
            process, self._process = self._process, 0
        if pool is not None:
            pool.shutdown(wait=True, kill_workers=True)
        if process:
            with suppress(OSError):  # nobody is left of those that it has started
                os.killpg(process, signal.SIGKILL)
        if folder is not None:
            folder.cleanup()

    def _where(self) -> str | None:
        """Where a worker is that hangs, as it writes it itself."""
        with suppress(OSError):
            os.kill(self._process, signal.SIGUSR1)
        until = time.monotonic() + _DUMP_S
        while not self._said() and time.monotonic() < until:
            time.sleep(0.01)
        return self._said()

    def _said(self) -> str | None:
        """What the worker has written of where it was."""
        if self._folder is None:
            return None
        with suppress(OSError):
            return Path(self._folder.name, _LOG).read_text(errors="backslashreplace") or None
        return None


def _let_no_child_hear() -> None:
    """A process that this thread starts does not hear Ctrl-C: not even while it imports, and would show where it is."""
    for tracker in (resource_tracker, loky_resource_tracker):
        tracker.ensure_running()  # which, where it starts one, has this thread hear it again
    if threading.current_thread() is not threading.main_thread():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


_worker: list[object] = []
"""What was loaded in this process, or the exception that said why nothing was."""
_first: list[int] = []
"""Bytes that the process had when it was ready."""


def _begin(folder: str, parent: int, what: bytes) -> None:
    """In a new process: Ctrl-C is the parent's, a crash says where it was, and nobody is left without a parent.

    Whatever it writes for a while is in the folder, which the parent removes.

    Args:
        folder: of this process.
        parent: its number.
        what: makes the worker, of its order, pickled: to read it is to import torch, which takes seconds.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setsid()  # all that it starts is ended with it
    _keep_pipes()
    tempfile.tempdir = folder
    file = open(Path(folder, _LOG), "w")  # noqa: SIM115  (as long as the process lives)
    faulthandler.enable(file)
    faulthandler.register(signal.SIGUSR1, file)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_SACRIFICE)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_S)
        shutil.rmtree(folder, ignore_errors=True)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="watch for the parent", daemon=True).start()
    tqdm.set_lock(threading.RLock())  # not one for several processes, which nobody would free if this one is killed
    try:
        load, order = pickle.loads(what)
        _worker[:] = [load(order)]
    except BaseException as error:  # for whoever asks first
        _worker[:] = [error]


def _keep_pipes() -> None:
    """The pipes to the parent are this process's alone: by their end the parent sees that it has ended.

    A process that it has forked would hold them open, or go on to the end of a piece of work and answer too.
    """
    pipes = [int(name) for name in os.listdir("/dev/fd") if int(name) > 2]

    def let_go() -> None:
        nothing = os.open(os.devnull, os.O_RDWR)
        for pipe in pipes:
            with suppress(OSError):
                os.dup2(nothing, pipe, inheritable=False)

    for pipe in pipes:
        with suppress(OSError):  # the one by which they were listed
            os.set_inheritable(pipe, False)
    os.register_at_fork(after_in_child=let_go)


def _call(function: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
    """In the process: a method of the worker."""
    (worker,) = _worker
    if isinstance(worker, BaseException):
        raise worker
    return function(worker, *arguments)


def _state(_: object, most: int) -> tuple[int, bool]:
    """The number of the process, and whether it has grown by more than so many bytes since this was first asked."""
    for _again in range(2):
        now = psutil.Process().memory_info().rss
        if not _first:
            _first.append(now)
        if now - _first[0] <= most:
            return os.getpid(), False
        gc.collect()
    return os.getpid(), True


def _words(error: str) -> str:
    """How a process has ended, of the words of loky."""
    found = _STATUS.search(error)
    if found is None:
        return "ended its process"
    name, status = found.groups()
    if int(status) >= 0:
        return f"ended its process, with status {status}"
    why = ", as the system does where memory runs out" if name == "SIGKILL" else ""
    return f"killed its process ({name}{why})"
