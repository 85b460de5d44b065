"""Workers that a new process has at once, since nothing here needs torch, and what they may do to their process."""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Errand(NamedTuple):
    """What stands for an order.

    Attributes:
        device: of the worker.
        loads_s: seconds that it takes to come up.
        fails: whether it does not.
    """

    device: str = "cpu"
    loads_s: float = 0.0
    fails: bool = False


class Small:
    """A worker."""

    def __init__(self, errand: Errand) -> None:
        if errand.fails:
            raise ValueError("it cannot work")
        time.sleep(errand.loads_s)
        self._kept = list[bytes]()

    def process(self) -> int:
        """Its number."""
        return os.getpid()

    def do(self, act: str) -> None:
        """One of the acts."""
        ACTS[act]()

    def grow(self, size: int) -> None:
        """By so many bytes, for good."""
        self._kept.append(b"x" * size)

    def leave_child(self, said: str, then: str) -> None:
        """Start a process that never ends, write its number to a file, and do something."""
        child = os.fork()
        if child:
            Path(said).write_text(str(child))
            return self.do(then)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(1)

    def return_twice(self) -> int:
        """As a fork does that nobody looks after."""
        os.fork()
        return os.getpid()


def segfault() -> None:
    """What a wrong address does."""
    ctypes.string_at(0)


def hang() -> None:
    """Whatever comes."""
    while True:
        pass


ACTS: dict[str, Callable[[], object]] = {
    "segfault": segfault,
    "hang": hang,
    "nothing": lambda: None,
    "exit 3": lambda: os._exit(3),
    "exit 0": lambda: os._exit(0),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),  # as the system does where memory runs out
    "thread": lambda: threading.Thread(target=time.sleep, args=(1000,)).start(),
    "sys.exit": lambda: sys.exit(3),
}
