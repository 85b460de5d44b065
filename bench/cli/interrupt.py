"""What Ctrl-C, SIGTERM and SIGHUP do: they end a command in a line, with the cursor back, and never in a traceback.

The first interrupts what runs, which puts its own affairs in order. The second ends the process at once, and so does
the first while a module is being imported: nothing is half written then, and libraries turn an exception out of the
blue into another one, or swallow it. One that comes where nothing can be raised, as while an object is given back, is
lost there, and comes again. This module imports nothing that takes long, so that it is there soon.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_KEEPING = ("run", "train")
"""Commands that go on where they were; so does the quick study, which has no name."""
_CURSOR = "\x1b[?25h"
_SOON_S = 0.05

_received: list[int] = []


def listen() -> None:
    """Take the signals of this process, but for those that it was started to ignore, as by nohup."""
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _take)
    sys.unraisablehook = _come_again
    os.register_at_fork(after_in_child=_let_go)


@contextmanager
def interruptible() -> Iterator[None]:
    """Ends in a KeyboardInterrupt if a signal came, whatever became of the first one on its way."""
    try:
        yield
    except BaseException:
        if _received:
            raise KeyboardInterrupt from None
        raise
    if _received:
        raise KeyboardInterrupt


def tell() -> int:
    """Say that the command was interrupted, and how it goes on; its exit status, 128 and the number of the signal."""
    with suppress(OSError):  # a terminal that was closed
        print(_words(), file=sys.stderr)
    finish()
    return _status()


def finish() -> None:
    """From now on a signal ends the process without a word: everything has been said."""
    for number in _SIGNALS:
        if signal.getsignal(number) == _take:
            signal.signal(number, _leave)


def _words() -> str:
    try:
        from models.common.program import again
    except ImportError:  # the signal came before that was there
        return "interrupted"
    name = "" if _status() == 128 + signal.SIGINT else f" by {signal.Signals(_received[0]).name}"
    command = sys.argv[1] if len(sys.argv) > 1 else "-"
    kept = command in _KEEPING or command.startswith("-")
    return (
        f"interrupted{name}; {'what is finished is kept, and this goes on' if kept else 'to start again'}:\n  {again()}"
    )


def _status() -> int:
    return 128 + (_received[0] if _received else signal.SIGINT)


def _take(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    if len(_received) == 1 and not _is_import(frame):
        raise KeyboardInterrupt
    with suppress(Exception):  # what was printed so far; the signal may have come in the midst of that
        sys.stdout.flush()
    with suppress(Exception):
        if "bench.running.attempts" in sys.modules:
            sys.modules["bench.running.attempts"].take_back()
    with suppress(OSError):
        os.write(2, f"{_CURSOR * os.isatty(2)}\n{_words()}\n".encode(errors="backslashreplace"))
    os._exit(_status())


def _come_again(lost: "sys.UnraisableHookArgs") -> None:
    if lost.exc_type is not KeyboardInterrupt or len(_received) != 1:
        sys.__unraisablehook__(lost)
        return
    threading.Timer(_SOON_S, os.kill, (os.getpid(), _received.pop())).start()


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(128 + (_received[0] if _received else number))


def _is_import(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _let_go() -> None:
    """A process that is forked is none of this: whoever forks it ends it as it likes."""
    for number in _SIGNALS:
        if signal.getsignal(number) in (_take, _leave):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
