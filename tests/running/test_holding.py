"""One run at a time writes a folder; a dead one holds nothing, and who only reads asks nobody."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from bench.cli import app
from bench.record import RunFolder
from bench.running.lock import HOLDER, SILENT_S, holding
from models.common.errors import UsageError

_ROOT = Path(__file__).parents[2]
_KILLED = """
import os, sys
from pathlib import Path
from bench.running.lock import holding
with holding(Path(sys.argv[1])):
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    RunFolder(tmp_path / "run").create()
    return tmp_path / "run"


def _sign(folder: Path, host: str, age: float = 0.0) -> None:
    path = folder / HOLDER
    path.write_text(json.dumps({"host": host, "process": 4242, "since": "2026-05-04T03:02:01+00:00"}))
    then = path.stat().st_mtime - age
    os.utime(path, (then, then))


def test_a_second_run_is_told_who_writes_the_folder(folder: Path) -> None:
    with holding(folder):
        since = json.loads((folder / HOLDER).read_text())["since"]
        said = (
            f"another run writes '{folder}': process {os.getpid()} on {socket.gethostname()}, since {since}. Wait for"
        )
        with pytest.raises(UsageError) as error, holding(folder):
            pass
        assert str(error.value).startswith(said)
    with holding(folder):
        pass
    assert not (folder / HOLDER).exists()


def test_what_a_killed_run_held_is_free(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED, str(folder)], cwd=_ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (folder / HOLDER).exists()
    with holding(folder):
        assert json.loads((folder / HOLDER).read_text())["process"] == os.getpid()


def test_a_run_on_another_machine_is_believed_while_it_gives_signs_of_life_and_not_after(folder: Path) -> None:
    """As where a network file system keeps locks on each machine for itself."""
    _sign(folder, "node7", age=SILENT_S / 2)
    said = (
        r"process 4242 on node7, since 2026-05-04T03:02:01\+00:00\. Wait for it .* if it was killed, try again in 180 s"
    )
    with pytest.raises(UsageError, match=said), holding(folder):
        pass
    assert (folder / HOLDER).exists()
    _sign(folder, "node7", age=2 * SILENT_S)
    with holding(folder):
        assert json.loads((folder / HOLDER).read_text())["host"] == socket.gethostname()


def test_a_holder_gives_signs_of_life(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.running.lock.SIGN_S", 0.01)
    with holding(folder):
        os.utime(folder / HOLDER, (0, 0))
        for _ in range(1000):
            if (folder / HOLDER).stat().st_mtime > 0:
                break
            time.sleep(0.01)
        assert (folder / HOLDER).stat().st_mtime > 0


def test_what_is_locked_from_another_machine_and_silent_says_what_to_delete(folder: Path) -> None:
    with holding(folder):
        _sign(folder, "node7", age=2 * SILENT_S)
        with pytest.raises(UsageError, match=r"if it was killed, delete .*\.lock"), holding(folder):
            pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": "a"}', '{"host": "a", "process": "b", "since": 0}'])
def test_a_word_that_nobody_understands_holds_nothing(folder: Path, content: str) -> None:
    (folder / HOLDER).write_text(content)
    with holding(folder):
        pass


def test_a_file_system_without_locks_is_warned_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(lock: FileLock, *arguments: object, **named: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(FileLock, "acquire", refuse)
    told: list[str] = []
    with holding(folder, told.append):
        assert (folder / HOLDER).exists()
    (line,) = told
    assert line.startswith(f"{folder} cannot be locked ([Errno {errno.ENOLCK}] ")


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["run_bench.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        app.main()
    assert isinstance(end.value.code, int)
    return end.value.code


_STUDY = """
name = "tiny"
title = "Tiny"
model = "digits-mixture"
metrics = ["law"]
images = 16
batch = 16
timing = { repeats = 1, seconds = 0.0 }
device = "cpu"
baseline = { sampler = "ddim", grid = "trailing", steps = 2 }
[[block]]
samplers = ["ddim"]
grids = ["trailing"]
steps = [2]
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(_STUDY)
    return path


def test_a_second_run_ends_with_status_2_and_touches_nothing_and_a_report_is_written_all_the_same(
    quick: Path, study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    RunFolder(quick).create()
    with holding(quick):
        (quick / "cells" / f"a.json.{os.getpid()}.tmp").write_text("of the first run")
        before = {path: path.read_bytes() for path in quick.rglob("*") if path.is_file()}
        assert _main(monkeypatch, "run", study, "--out", quick) == 2
        shown = capsys.readouterr().err
        assert f"error: another run writes '{quick}': process {os.getpid()} on {socket.gethostname()}, since" in shown
        assert {path: path.read_bytes() for path in quick.rglob("*") if path.is_file()} == before
        assert _main(monkeypatch, "report", quick, "--format", "md") == 0
        assert _main(monkeypatch, "compare", quick, quick) == 0


def test_a_run_removes_what_killed_runs_and_reports_left(
    tmp_path: Path, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.cli.reporting.report.FORMATS", ("md",))
    left = [tmp_path / "run" / place for place in ("study.json", "table.md", "cells/a.json", "solutions/a.safetensors")]
    left = [path.with_name(f"{path.name}.999999999.tmp") for path in left]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert _main(monkeypatch, "run", study, "--out", tmp_path / "run") == 0
    assert not [path for path in left if path.exists()]
