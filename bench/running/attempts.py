"""Cells that end the process: a note is left before one is begun, and taken away when it has come back.

A segmentation fault, `os._exit` and what kills for want of memory leave no exception that could be recorded. What they
leave is the note: `cells/<id>.attempts` has a line for each attempt that has not come back.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from models.common.writing import append_line, naming

MOST = 2
"""Attempts that may end the process before a cell is passed over: one may have been killed by its user."""

_begun = dict[Path, int]()
"""Notes of what this process is in the midst of, and how long they were before."""


class Attempts:
    """The attempts to measure the cells of a run.

    Args:
        folder: of the cells' records; it is there when an attempt is begun.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def refusal(self, cell: str) -> str | None:
        """Why a cell is passed over, for its record; None if it may be tried."""
        note = self._note(cell)
        if _lines(note) < MOST:
            return None
        return (
            "killed the process twice: run it with --isolate, in a process of its own, which leaves a traceback; or "
            f"this run tries it again if {note.parent.name}/{note.name} is deleted from the run folder"
        )

    @contextmanager
    def attempt(self, cell: str, purpose: str) -> Iterator[None]:
        """Do something for a cell, which counts unless the block is left, by whatever exception.

        Args:
            cell: its id.
            purpose: what is done, for whoever looks into the note.

        Raises:
            NotWritten: the note cannot be written.
        """
        note = self._note(cell)
        before = note.stat().st_size if note.exists() else 0
        append_line(note, f"{_now()} {purpose}, in process {os.getpid()}")
        _begun[note] = before
        try:
            yield
        finally:
            _restore(note, before)
            del _begun[note]

    def died(self, cell: str, purpose: str) -> None:
        """An attempt has ended another process than this one. NotWritten if the note cannot be written."""
        append_line(self._note(cell), f"{_now()} {purpose}, in a process of its own")

    def forget(self, cell: str) -> None:
        """A cell has succeeded: what ended the process before is not held against it."""
        _restore(self._note(cell), 0)

    def _note(self, cell: str) -> Path:
        return self._folder / f"{cell}.attempts"


def take_back() -> None:
    """What this process is in the midst of does not count: it ends because it was told to."""
    for note, before in _begun.items():
        _restore(note, before)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _lines(note: Path) -> int:
    try:
        return len(note.read_bytes().splitlines())
    except FileNotFoundError:
        return 0


def _restore(note: Path, size: int) -> None:
    """Make a note as long as it was; one that is gone stays so."""
    with naming(note), suppress(FileNotFoundError):
        if size > 0:
            os.truncate(note, size)
        else:
            note.unlink()
