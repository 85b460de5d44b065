"""A run in one file: all that takes a run folder takes it, and nothing that is not what was written."""

import hashlib
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from commands import Cli
from report_records import QUICK, write_preview, write_run

import bench
from bench.packed import archive, read_bytes
from bench.packing import pack
from bench.record import RunFolder
from bench.report import compare
from bench.running.merge import merge
from models.common.errors import UsageError

_FAILED = next(each for each in QUICK if each["status"] == "failed")
_OTHERS = ("solutions/a.safetensors", "cells/0123456789abcdef.npz", "cells/a.json.12.tmp", "table.md", "growing/a")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with a failure, previews, a traceback, and much that belongs into no pack."""
    path = tmp_path / "quick"
    write_run(path, QUICK)
    for each in QUICK:
        if each is not _FAILED:
            write_preview(path, each, [np.full((8, 8), 50, dtype=np.uint8)] * each["preview_count"])
    RunFolder(path).traceback(_FAILED["id"]).write_text("Traceback ...\n")
    for name in _OTHERS:
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(b"no part of it")
    return path


def test_a_packed_run_says_what_its_folder_says(run: Path, tmp_path: Path) -> None:
    assert pack(run, tmp_path / "quick.zip") == (len(QUICK), len(QUICK))
    ours, theirs = bench.load(tmp_path / "quick.zip"), bench.load(run)
    assert ours.cells.equals(theirs.cells)
    assert ours._repr_markdown_() == theirs._repr_markdown_()
    written = ours.report()
    assert {path.parent for path in written} == {run}  # beside it, in the folder of its name
    assert ours.report(tmp_path / "a")[0].read_bytes() == theirs.report(tmp_path / "b")[0].read_bytes()
    for name in ("table.md", "table.csv", "cells.csv", "table.tex", "images.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_a_folder_of_reports_may_hold_it(run: Path, tmp_path: Path) -> None:
    place = tmp_path / "published" / "quick"
    pack(run, place / "run.zip")
    assert bench.load(place)._repr_markdown_() == bench.load(run)._repr_markdown_()
    assert {path.parent for path in bench.load(place).report()} == {place}


def test_it_holds_what_the_folder_holds_byte_for_byte_and_nothing_else(run: Path, tmp_path: Path) -> None:
    pack(run, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as file:  # as any program reads it
        assert file.testzip() is None
        assert not set(_OTHERS) & set(file.namelist())
        assert all(file.read(name) == (run / name).read_bytes() for name in file.namelist())
        assert {f"cells/{each['id']}.{end}" for each in QUICK if each is not _FAILED for end in ("json", "png")} <= set(
            file.namelist()
        )
        assert f"cells/{_FAILED['id']}.traceback.txt" in file.namelist()
    shutil.copytree(run, tmp_path / "copy")
    pack(tmp_path / "copy", tmp_path / "b.zip")
    pack(tmp_path / "a.zip", tmp_path / "c.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes() == (tmp_path / "c.zip").read_bytes()


def test_runs_are_joined_and_compared_from_it(run: Path, tmp_path: Path) -> None:
    pack(run, tmp_path / "a.zip")
    joined = merge([tmp_path / "a.zip"], tmp_path / "joined")
    assert (joined.cells, joined.failed) == (len(QUICK), 1)
    assert RunFolder(tmp_path / "joined").records() == RunFolder(run).records()
    for each in RunFolder(tmp_path / "joined").cells.glob("*.png"):
        assert each.read_bytes() == (run / "cells" / each.name).read_bytes()
    assert compare(tmp_path / "a.zip", run).equals(compare(run, run))


def test_nothing_is_written_into_it(run: Path, tmp_path: Path) -> None:
    pack(run, tmp_path / "a.zip")
    before = (tmp_path / "a.zip").read_bytes()
    with pytest.raises(UsageError, match=r"is a packed run, and nothing is written into it; .* unzip"):
        RunFolder(tmp_path / "a.zip").create()
    with pytest.raises(UsageError, match="is a packed run, and nothing is written into it"):
        bench.run("quick", {"images": 20, "batch": 20}, out=tmp_path / "a.zip", quiet=True)
    assert (tmp_path / "a.zip").read_bytes() == before


def _changed(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def test_a_damaged_one_is_refused_wherever_it_is_damaged(run: Path, tmp_path: Path) -> None:
    pack(run, tmp_path / "a.zip")
    whole = (tmp_path / "a.zip").read_bytes()
    flipped = [_changed(whole, at) for at in {*range(0, len(whole), len(whole) // 60), *range(-130, 0, 7)}]
    cut = [whole[:length] for length in (0, 1, 100, len(whole) // 2, len(whole) - 1)]
    for n, content in enumerate((*flipped, *cut, whole + b"\n", b"x" + whole, whole + whole)):
        bad = tmp_path / f"{n}-bad.zip"
        bad.write_bytes(content)
        with pytest.raises(UsageError, match=r"bad\.zip' is (damaged|packed by schema|not a run folder)"):
            bench.load(bad)


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "cells/../../x.json", "cells/0.json", "C:\\x", "cells/0123456789abcdef.py", "a\nb"]
)
def test_a_name_that_no_run_has_is_refused(run: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "bad.zip").write_bytes(archive({"study.json": (run / "study.json").read_bytes(), name: b"{}"}))
    with pytest.raises(UsageError, match=re.escape(f"it has {name!r}, which no run has")):
        bench.load(tmp_path / "bad.zip")


def test_what_something_else_or_a_newer_version_has_packed_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(bad, "w") as file:
        file.write(run / "study.json", "study.json")
    with pytest.raises(UsageError, match="an archive of something else"):
        bench.load(bad)
    pack(run, tmp_path / "more.zip")
    with zipfile.ZipFile(tmp_path / "more.zip", "a") as file:
        file.writestr("cells/0123456789abcdef.json", "{}")
    with pytest.raises(UsageError, match="is damaged: its digest is another"):
        bench.load(tmp_path / "more.zip")
    sealed = archive({"study.json": bytes(1000)})
    before = bytearray(sealed[: sealed.rindex(b"sampler-bench run")])
    before[before.index(b"study.json") + 12] ^= 0xFF  # of what is compressed
    mark = b"sampler-bench run, schema 1, sha256 " + hashlib.sha256(before).hexdigest().encode()
    (tmp_path / "sealed.zip").write_bytes(bytes(before) + mark)
    with pytest.raises(UsageError, match=r"is damaged: study\.json cannot be unpacked"):
        bench.load(tmp_path / "sealed.zip")
    with monkeypatch.context() as patch:
        patch.setattr("bench.packed._SCHEMA", 2)
        pack(run, tmp_path / "newer.zip")
    with pytest.raises(UsageError, match=r"packed by schema 2, but this version reads 1: .* Upgrade"):
        bench.load(tmp_path / "newer.zip")
    bad.write_bytes(archive({"first-look.json": b"{}"}))
    with pytest.raises(UsageError, match="is not a run folder: it has no study"):
        bench.load(bad)


def test_a_file_that_is_none_of_ours_is_not_replaced(run: Path, tmp_path: Path, cli: Cli) -> None:
    other = tmp_path / "thesis.zip"
    with zipfile.ZipFile(other, "w") as file:
        file.writestr("thesis.tex", "...")
    before = other.read_bytes()
    assert "nor a packed run" in cli("pack", run, "-o", other, status=2).err
    assert other.read_bytes() == before
    assert "is a folder" in cli("pack", run, "-o", tmp_path, status=2).err
    assert "is not a run folder" in cli("pack", tmp_path, status=2).err


def test_a_pack_that_changes_is_read_again(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    file.write_bytes(archive({"study.json": b"one"}))
    assert read_bytes(file / "study.json") == b"one"
    file.write_bytes(archive({"study.json": b"two, longer"}))
    assert read_bytes(file / "study.json") == b"two, longer"
    with pytest.raises(FileNotFoundError):
        read_bytes(file / "cells" / "0123456789abcdef.json")


def test_the_command_packs_beside_the_folder_and_runs_are_listed(
    run: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = cli("pack", run)
    assert said.out.split() == [str(tmp_path / "quick.zip")]
    assert re.search(rf"{len(QUICK)} of {len(QUICK)} cells packed, [\d.]+ MiB", said.err)
    monkeypatch.setattr("bench.cli.listing.RESULTS", tmp_path)
    (tmp_path / "foreign.zip").write_bytes(b"PK")
    listed = cli("list", "runs", "--json").out
    assert str(tmp_path / "quick.zip") in listed
    assert "foreign" not in listed


def test_a_run_keeps_its_whole_name_and_no_other_is_replaced(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ddim-0.5", "ddim-0.7"):
        cli("pack", write_run(tmp_path / name, QUICK))
    monkeypatch.chdir(tmp_path / "ddim-0.5")
    assert cli("pack", ".").out.strip() == str(tmp_path / "ddim-0.5.zip")
    assert {path.name for path in tmp_path.glob("*.zip")} == {"ddim-0.5.zip", "ddim-0.7.zip"}


def test_its_report_does_not_replace_that_of_another_run(run: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "b" / "quick", QUICK[:1])
    pack(other, tmp_path / "quick.zip")
    with pytest.raises(UsageError, match=r"is another run than .*quick\.zip"):
        bench.load(tmp_path / "quick.zip").report()


def test_a_run_and_its_pack_are_not_counted_twice(tmp_path: Path, cli: Cli) -> None:
    run = write_run(tmp_path / "run", [each | {"finished": "2026-01-01T00:00:00+00:00"} for each in QUICK])
    pack(run, tmp_path / "copy.zip")
    said = cli("report", run, tmp_path / "copy.zip", "--out", tmp_path / "out", status=2).err
    assert "the same records are in two of these runs" in said
