"""Packs a run: what it measured, in one file; `bench.packed` reads it."""

from pathlib import Path

from bench.model_record import FIRST_LOOK
from bench.packed import Packed, archive, is_file, read_bytes
from bench.record import MANIFEST, RunFolder
from models.common.errors import UsageError
from models.common.writing import write_bytes


def pack(run: Path, file: Path) -> tuple[int, int]:
    """Write a run into one file; how many of its cells have a record, of how many.

    Saved images, reports, and what a run keeps to go on with are not in it.

    Args:
        run: run folder, or packed run.
        file: to write; one that is there is replaced if it is a packed run.

    Raises:
        UsageError: `run` is none, something else is where the file is to be, or it cannot be written.
    """
    folder = RunFolder(run)
    cells = folder.manifest()["cells"]
    if file.is_dir():
        raise UsageError(f"{str(file)!r} is a folder; expected a file to write, such as {str(file / 'run.zip')!r}")
    if file.exists():
        Packed(file, file.read_bytes())
    records = [folder.record(cell) for cell in cells]
    if not any(map(is_file, records)):
        raise UsageError(
            f"no cell of {str(run)!r} is measured yet (0 of {len(cells)}), so that there is nothing to pack; "
            "run its study again to go on"
        )
    beside = [place(cell) for cell in cells for place in (folder.preview, folder.traceback)]
    paths = filter(is_file, (folder.files / MANIFEST, folder.files / FIRST_LOOK, *records, *beside))
    content = archive({path.relative_to(folder.files).as_posix(): read_bytes(path) for path in paths})
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, content)
    except OSError as error:
        raise UsageError(f"cannot write {str(file)!r}: {error}; name another file with --out") from None
    return sum(map(is_file, records)), len(records)
