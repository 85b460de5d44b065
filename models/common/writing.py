"""Writes files whole or not at all: under another name beside their place, flushed to disk, then renamed.

What a killed process leaves of one is called `<name>.<process>.tmp`. Every error names the file that was to be written,
which a full disk and most libraries do not.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from models.common.errors import NotWritten

_LEFTOVER = re.compile(r".+\.(\d{1,9})\.tmp")


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of `path` where the block ends well; else that stays as it is.

    It has the mode that the umask gives. NotWritten, which names `path`, if it cannot be written.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with naming(path):
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file as `replacing` does."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write a file in UTF-8 as `replacing` does; half a character, which has no bytes, is written as its number."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def append_line(path: Path, line: str) -> None:
    """Write one more line of a file in UTF-8; NotWritten if it cannot be."""
    with naming(path), path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Every error of the system in the block becomes a NotWritten that names `path`, unless it is one already."""
    try:
        yield
    except NotWritten:
        raise
    except OSError as error:
        if error.errno is None:  # of some libraries
            raise NotWritten(f"cannot write {path}: {error}") from None
        raise NotWritten(error.errno, error.strerror, str(path)) from None


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill beside its place, which it takes where the block ends well; else nothing is left of it.

    At the end of the block nothing may be in that place.
    """
    place = path.resolve()
    temporary = place.with_name(f"{place.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        yield temporary
        with naming(path):
            os.rename(temporary, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(folder: Path, *, folders: bool = False) -> None:
    """Remove what killed processes left in a folder, but not what another process may be writing now.

    Args:
        folder: that is looked into.
        folders: whether folders are removed, too, as `new_folder` leaves them.
    """
    import psutil  # nothing that only reads needs it

    for path in folder.glob("*.tmp"):
        found = _LEFTOVER.fullmatch(path.name)
        process = None if found is None else int(found.group(1))
        if process is not None and (process == os.getpid() or not psutil.pid_exists(process)):
            with suppress(OSError):  # somebody else's, in a folder that is shared
                if folders and path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
