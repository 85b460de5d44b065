"""A run in one file: a ZIP of its study, records, previews and tracebacks, read by everything as the folder is.

Its files are named as in the folder, `results/quick.zip/cells/<id>.json`, and read by `read_bytes` and `is_file`, which
take either. The archive's comment has the digest of all before it, so that a damaged or foreign one is told; nothing is
unpacked, and a file of a name that no run has is refused. One run has always the same bytes (by one zlib).
"""

import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from models.common.errors import UsageError

PACKED = "run.zip"
"""What stands for study and records in a folder of reports."""

_SCHEMA = 1
_MARK = re.compile(rb"sampler-bench run, schema ([1-9]\d{0,8}), sha256 ([0-9a-f]{64})")
_NAME = re.compile(r"study\.json|first-look\.json|cells/[0-9a-f]{16}\.(json|png|traceback\.txt)")
_LARGEST = 2**28
"""Bytes of a file in it, of which there is none so large: what promises more would fill the memory."""


class NotPacked(UsageError):
    """A file that is no packed run, a damaged one, or one that a newer version has written."""


class Packed:
    """A packed run.

    Args:
        path: of the file.
        content: of it.

    Raises:
        NotPacked: it is none.
    """

    def __init__(self, path: Path, content: bytes) -> None:
        self._path = path
        said = f"{str(path)!r} is not a run folder, nor a packed run"
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(content))
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise NotPacked(f"{said}: {error}") from None
        mark = _MARK.fullmatch(self._archive.comment)
        if mark is None:
            raise NotPacked(f"{said}, which `pack` writes: an archive of something else")
        if int(mark[1]) > _SCHEMA:
            raise NotPacked(
                f"{str(path)!r} is packed by schema {int(mark[1])}, but this version reads {_SCHEMA}: a newer version "
                "has written it. Upgrade sampler-bench"
            )
        if hashlib.sha256(content[: -len(mark[0])]).hexdigest().encode() != mark[2]:
            raise NotPacked(f"{str(path)!r} is damaged: its digest is another; get it, or pack the run, again")
        entries = self._archive.infolist()
        wrong = [each.filename for each in entries if not _NAME.fullmatch(each.filename) or each.file_size > _LARGEST]
        if wrong or len({each.filename for each in entries}) < len(entries):
            raise NotPacked(f"{said}: it has {wrong[0] if wrong else 'a file twice'!r}, which no run has")
        self.names = frozenset(each.filename for each in entries)

    def read(self, name: str) -> bytes:
        """The content of a file in it; KeyError if there is none, NotPacked if it cannot be unpacked."""
        try:
            return self._archive.read(name)
        except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
            raise NotPacked(f"{str(self._path)!r} is damaged: {name} cannot be unpacked: {error}") from None


@lru_cache(maxsize=8)
def _opened(path: Path, changed: tuple[int, int, int]) -> Packed:
    """As long as the file is the same."""
    return Packed(path, path.read_bytes())


def _within(path: Path) -> tuple[Packed, str] | None:
    """The packed run that a path leads into, and the rest of the path; None if it leads into none."""
    for above in path.parents:
        if above.is_file():
            state = above.stat()
            changed = state.st_ino, state.st_mtime_ns, state.st_size
            return _opened(above, changed), path.relative_to(above).as_posix()
        if above.is_dir():
            return None
    return None


def read_bytes(path: Path) -> bytes:
    """The content of a file of a run; OSError if there is none, NotPacked if that is no run."""
    try:
        return path.read_bytes()
    except NotADirectoryError:
        found = _within(path)
        if found is None or found[1] not in found[0].names:
            raise FileNotFoundError(2, "No such file", str(path)) from None
        return found[0].read(found[1])


def is_file(path: Path) -> bool:
    """Whether a run has this file."""
    return path.is_file() or ((found := _within(path)) is not None and found[1] in found[0].names)


def is_packed(path: Path) -> bool:
    """Whether a file is a packed run that is whole."""
    try:
        return bool(Packed(path, path.read_bytes()).names)
    except (OSError, NotPacked):
        return False


def archive(files: Mapping[str, bytes]) -> bytes:
    """The content of a packed run that has these files."""
    buffer, mark = io.BytesIO(), f"sampler-bench run, schema {_SCHEMA}, sha256 "
    with zipfile.ZipFile(buffer, "w") as written:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            entry.compress_type = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
            written.writestr(entry, files[name], compresslevel=9)
        written.comment = f"{mark}{'0' * 64}".encode()
    before = buffer.getvalue()[: -len(mark) - 64]
    return before + f"{mark}{hashlib.sha256(before).hexdigest()}".encode()
