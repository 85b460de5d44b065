"""Writes files of ours. Every error names the file, which a full disk and most libraries do not."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import NotWritten


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
