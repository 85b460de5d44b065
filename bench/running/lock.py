"""One run at a time writes a run folder.

A lock of the operating system keeps others out. It ends with the process that holds it, however that ends, so nobody
has to free a dead one's. Some network file systems keep such locks on each machine for itself: therefore the holder
also gives a sign of life, again and again, and a run on another machine waits until that has been missing for a while.
Nothing that only reads, such as a report, asks for the lock.
"""

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from models.common.errors import UsageError
from models.common.writing import write_text

SIGN_S, SILENT_S = 30.0, 180.0
"""Seconds from one sign of life to the next, and without any after which a process on another machine is dead."""
LOCK, HOLDER = Path("cells", ".lock"), Path("cells", ".holder")
"""In a run folder: what is locked, which stays, and who holds it, while it is held."""


@dataclass(frozen=True)
class Holder:
    """Who writes a run folder.

    Attributes:
        host: name of the machine.
        process: its number there.
        since: date and time.
    """

    host: str
    process: int
    since: str

    @property
    def is_elsewhere(self) -> bool:
        return self.host != socket.gethostname()

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.since}"


@contextmanager
def holding(folder: Path, warn: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Hold a run folder, which is there; nobody else can then.

    Args:
        folder: the run's.
        warn: told if the file system has no locks.

    Raises:
        UsageError: another run holds it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(FileLock(folder / LOCK, timeout=0))
        except Timeout:
            raise _held(folder) from None
        except (OSError, NotImplementedError) as error:
            warn(f"{folder} cannot be locked ({error}): see to it that no other run writes it meanwhile")
        holder = _holder(folder)
        if holder is not None and holder.is_elsewhere and _silent_s(folder) < SILENT_S:
            raise _held(folder)
        stack.enter_context(_signing(folder / HOLDER))
        yield


def _held(folder: Path) -> UsageError:
    holder, otherwise = _holder(folder), ""
    if holder is not None and holder.is_elsewhere:
        later = f"try again in {SILENT_S:.0f} s" if _silent_s(folder) < SILENT_S else f"delete {folder / LOCK}"
        otherwise = f", or, if it was killed, {later}"
    who = "a process that has not said yet who it is" if holder is None else holder
    return UsageError(
        f"another run writes {str(folder)!r}: {who}. Wait for it or end it{otherwise}; or choose another folder with "
        "--out"
    )


@contextmanager
def _signing(path: Path) -> Iterator[None]:
    """Say who holds, and that it lives, until the end."""
    holder = Holder(socket.gethostname(), os.getpid(), datetime.now(UTC).isoformat(timespec="seconds"))
    write_text(path, json.dumps(asdict(holder)) + "\n")
    ended = threading.Event()

    def sign() -> None:
        while not ended.wait(SIGN_S):
            with suppress(OSError):  # a network that is away for a while
                os.utime(path)

    threading.Thread(target=sign, name="sign of life", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _holder(folder: Path) -> Holder | None:
    """Who holds a folder, or ended without a word; None if nobody, or nobody knows."""
    try:
        said = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        return Holder(str(said["host"]), int(said["process"]), str(said["since"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _silent_s(folder: Path) -> float:
    """Seconds since the holder's last sign of life, by the clock of the machine that the files are on."""
    now = folder / f"{HOLDER}.{os.getpid()}.tmp"
    try:
        now.touch()
        return now.stat().st_mtime - (folder / HOLDER).stat().st_mtime
    except FileNotFoundError:  # it has ended just now
        return SILENT_S
    finally:
        now.unlink(missing_ok=True)
