"""A copy of this process to be killed: it has imported already what a new one would import for seconds."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def forked(work: Callable[[], object]) -> Iterator[Callable[[], bool]]:
    """Do some work in a copy of this process, which gets SIGKILL after the block.

    Yields:
        Whether the copy has ended. It must not by itself, but by the signal.
    """
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    try:
        yield lambda: os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    finally:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
