"""Records are whole or absent, and a run folder that cannot be used says so."""

import json
import os
from pathlib import Path

import pytest

from bench import record
from bench.record import SCHEMA, RunFolder, cell_id
from models.errors import UsageError


def _record(name: str, **columns: object) -> record.Record:
    return {"schema": SCHEMA, "id": name, "status": "ok", **columns}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.create()
    return run


def test_the_name_of_a_cell_depends_on_every_part_of_its_identity_and_not_on_their_order() -> None:
    base = {"sampler": "ddim", "steps": 10, "seed": 0}
    assert cell_id(base) == cell_id(dict(reversed(base.items())))
    names = {cell_id(base | change) for change in ({}, {"steps": 11}, {"seed": 1}, {"sampler": "heun"}, {"more": 1})}
    assert len(names) == 5


def test_what_is_written_is_read_back(folder: RunFolder) -> None:
    written = _record("a", fd_digits=1.25, latency_s=[0.1, 0.2], error=None)
    folder.write(written)
    assert folder.read("a") == written
    assert folder.read("b") is None


def test_a_record_never_holds_nan(folder: RunFolder) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        folder.write(_record("a", fd_digits=float("nan")))
    assert folder.read("a") is None


def test_a_write_that_is_cut_short_leaves_the_old_record(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write(_record("a", fd_digits=1.0))

    def killed(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        folder.write(_record("a", fd_digits=2.0))
    monkeypatch.undo()
    assert folder.read("a") == _record("a", fd_digits=1.0)
    folder.create()
    assert not list(folder.cells.glob("*.tmp"))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"id": "b"}', '{"id": "a", "schema": 0, "status": "ok"}'])
def test_a_broken_record_is_set_aside_and_never_counted(folder: RunFolder, text: str) -> None:
    (folder.cells / "a.json").write_text(text)
    assert folder.read("a") is None
    assert (folder.cells / "a.json").read_text() == text  # a reader changes nothing
    assert folder.read("a", set_aside=True) is None
    assert (folder.cells / "a.broken").read_text() == text
    assert not (folder.cells / "a.json").exists()


def test_only_the_cells_of_the_manifest_are_loaded_in_its_order(folder: RunFolder) -> None:
    for name in ("a", "b", "c"):
        folder.write(_record(name))
    folder.write_manifest({"name": "s"}, ["c", "missing", "a"])
    assert list(folder.load()["id"]) == ["c", "a"]


def test_what_is_no_run_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a run folder"):
        RunFolder(tmp_path).manifest()
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(UsageError, match="is damaged"):
        RunFolder(tmp_path).manifest()
    (tmp_path / "study.json").write_text(json.dumps({"schema": SCHEMA + 1}))
    with pytest.raises(UsageError, match=f"has schema {SCHEMA + 1}"):
        RunFolder(tmp_path).manifest()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write to the run folder"):
        RunFolder(tmp_path / "file" / "run").create()
