"""Workers that are processes of this machine, of which one may crash, or hang, without any harm to the others.

By loky, of the people of scikit-learn: an executor of one process for each device. A process that ends for whatever
reason ends what it was given with an error that has its status, even if that is 0, and one that hangs is killed with
all that it has started; the next one is started by the next call, without running a script that has no `if __name__ ==
"__main__"` again. (pebble never comes back from a process that ends with status 0, and an executor of several processes
loses the work of all of them when one dies.)
"""

import faulthandler
import os
import re
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from loky import ProcessPoolExecutor
from loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

from bench.running.executors.crew import Died, TookTooLong
from bench.running.executors.worker import Order, Worker

Result = TypeVar("Result")

_WATCH_S = 1.0
"""Seconds from one look of a worker for its parent to the next."""
_DUMP_S = 1.0
"""Seconds that one that hangs is given to say where."""
_LOG = "traceback.txt"
_STATUS = re.compile(r"\{([A-Z0-9]+)\((-?\d+)\)")
_SACRIFICE = "500"
"""How much rather than others the system is to end a worker where memory runs out, of 1000."""


class LocalSlot:
    """A device of this machine.

    Args:
        device: of its worker.
    """

    def __init__(self, device: str) -> None:
        self._device, self._process = device, 0
        self._pool: ProcessPoolExecutor | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def name(self) -> str:
        return self._device

    @property
    def is_up(self) -> bool:
        return self._pool is not None

    def start(self, order: Order) -> None:
        if self._pool is not None:
            return
        self._folder = tempfile.TemporaryDirectory(prefix="sampler-bench-")
        self._pool = ProcessPoolExecutor(1, initializer=_begin, initargs=(self._folder.name, os.getpid()))
        self._process = self.call(_loaded, order._replace(device=self._device))

    def call(self, function: Callable[..., Result], /, *arguments: Any, timeout: float | None = None) -> Result:
        assert self._pool is not None, "it is started first"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a process that was exchanged because it had grown
            future = self._pool.submit(_call, function, arguments)
        try:
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
        pool, folder, self._pool, self._folder = self._pool, self._folder, None, None
        if pool is not None:
            pool.shutdown(wait=True, kill_workers=True)
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


_worker: list[Worker] = []


def _begin(folder: str, parent: int) -> None:
    """In a new process: Ctrl-C is the parent's, a crash says where it was, and nobody is left without a parent.

    Whatever it writes for a while is in the folder, which the parent removes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tempfile.tempdir = folder
    file = open(Path(folder, _LOG), "w")  # noqa: SIM115  (as long as the process lives)
    faulthandler.enable(file)
    faulthandler.register(signal.SIGUSR1, file)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_SACRIFICE)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, name="watch for the parent", daemon=True).start()


def _loaded(order: Order) -> int:
    """Load what is worked on; the number of the process."""
    tqdm.set_lock(threading.RLock())  # not one for several processes, which nobody would free if this one is killed
    _worker[:] = [Worker(order)]
    return os.getpid()


def _call(function: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
    """In the process: a method of the worker, or what makes it."""
    return function(*_worker, *arguments) if _worker else function(*arguments)


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
