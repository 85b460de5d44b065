"""Writes files of ours. Every error names the file, which a full disk and most libraries do not."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import NotWritten


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
