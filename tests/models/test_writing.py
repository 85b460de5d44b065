"""What is written is there whole or not at all, for whom the umask says, and a disk that is full names the file."""

import errno
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from commands import Cli
from studies import study_toml

from bench.quality.datasets import DataSet, write_archive
from bench.quality.images import save_preview
from bench.quality.saved_images import save_images
from bench.sealed_json import write_json
from bench.training.checkpoint import STATE, save_state
from bench.training.loss_curve import drop_rows_after
from bench.training.samples import save_grid
from models.common.errors import NotWritten
from models.common.sealed import save_sealed, save_tensors
from models.common.writing import append_line, naming, remove_leftovers, replacing, write_bytes, write_text

_PIXELS = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
_TENSORS = {"a": torch.zeros(1000)}


def _save_state(path: Path) -> None:
    save_state(path.parent, _TENSORS, {"step": 1}, 1.0)
    (path.parent / STATE).rename(path)


def _drop_rows(path: Path) -> None:
    write_text(path, '{"step": 1}\n{"step": 2}\n')
    drop_rows_after(path, 1)


WRITERS: dict[str, Callable[[Path], None]] = {
    "record": lambda path: write_json(path, {"a": "b" * 1000}),
    "table": lambda path: write_bytes(path, bytes(1000)),
    "preview": lambda path: save_preview(_PIXELS, path),
    "all images": lambda path: save_images(_PIXELS.movedim(1, 3), None, path, "npz"),
    "grid of samples": lambda path: save_grid(_PIXELS, path),
    "data": lambda path: write_archive(path, DataSet("a", _PIXELS, None, None)),
    "weights": lambda path: save_tensors(path, _TENSORS),
    "reference": lambda path: save_sealed(path, _TENSORS, {}),
    "checkpoint": _save_state,
    "curve": _drop_rows,
}


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("name", WRITERS)
def test_every_file_is_for_whom_the_umask_says(tmp_path: Path, name: str) -> None:
    for mask, mode in ((0o022, 0o644), (0o002, 0o664), (0o077, 0o600)):
        folder = tmp_path / f"{mask:o}"
        folder.mkdir()
        with _umask(mask):
            WRITERS[name](folder / "file")
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {mode}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_names_the_file_and_leaves_the_one_before_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / "file"
    WRITERS[name](path)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NotWritten, match="No space left on device") as error:
        WRITERS[name](path)
    assert error.value.errno == errno.ENOSPC
    assert Path(error.value.filename).parent == tmp_path
    assert not error.value.filename.endswith(".tmp")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


@contextmanager
def _files_of_at_most(size: int) -> Iterator[None]:
    """As on a disk with no more room: the system itself refuses what is longer."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", WRITERS)
def test_a_write_that_the_system_refuses_midway_names_the_file(tmp_path: Path, name: str) -> None:
    with _files_of_at_most(10), pytest.raises(NotWritten) as error:
        WRITERS[name](tmp_path / "file")
    assert str(tmp_path) in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_line_that_cannot_be_added_names_the_file(tmp_path: Path) -> None:
    with _files_of_at_most(10), pytest.raises(NotWritten, match=r"curve\.jsonl"):
        append_line(tmp_path / "curve.jsonl", "a" * 100)


def test_an_error_of_a_library_without_a_number_names_the_file_too(tmp_path: Path) -> None:
    with (
        pytest.raises(NotWritten, match=r"cannot write .*picture.png: encoder error"),
        naming(tmp_path / "picture.png"),
    ):
        raise OSError("encoder error -2 when writing image file")


def test_whatever_ends_a_write_leaves_what_was_there(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "before")

    def interrupted() -> None:
        with replacing(tmp_path / "file") as file:
            file.write(b"after")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


def test_what_killed_processes_left_is_removed_and_nothing_of_anybody_else(tmp_path: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    left = [f"table.md.{int(dead.stdout)}.tmp", f"a.json.{os.getpid()}.tmp", "b.png.999999999.tmp"]
    kept = ["notes.tmp", f"c.json.{os.getppid()}.tmp", "table.md", "1.tmp", ".tmpAbCdEf"]
    for name in (*left, *kept):
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    remove_leftovers(tmp_path / "none")


def test_a_run_on_a_full_disk_ends_with_status_2_and_the_name_of_the_file(cli: Cli, tmp_path: Path) -> None:
    study, out = tmp_path / "tiny.toml", tmp_path / "run"
    study.write_text(study_toml())
    with _files_of_at_most(2000):  # the study is shorter, and a record is longer
        said = cli("run", study, "--out", out, status=2).err
    name = rf"{re.escape(str(out))}/cells/[0-9a-f]{{16}}\.json"
    assert re.search(rf"^error: \[Errno {errno.EFBIG}\] File too large: '{name}'", said, re.MULTILINE)
    assert not list(out.rglob("*.tmp"))
