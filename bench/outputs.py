"""Files that a command is told to write."""

import os
from pathlib import Path

from models.common.errors import UsageError
from models.common.writing import remove_leftovers

RESULTS = Path("results")
"""Where runs are written unless something else is said: a folder each, below the current one."""


def make_room(path: Path) -> None:
    """Before what takes long, and without a change to a file that is there; UsageError if it cannot be written.

    What killed processes left of such files is removed.
    """
    probe = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        probe.touch()
        probe.unlink()
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder")
    except OSError as error:
        raise UsageError(f"cannot write {str(path)!r}: {error}; choose another file with --out") from None
