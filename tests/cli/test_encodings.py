"""A terminal, a file or a locale that knows few characters turns no good run into a failure."""

import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from report_records import QUICK, write_run

from bench.cli import app, entry
from bench.environment import describe
from bench.progress import output

_ROOT = Path(__file__).parents[2]


def test_a_report_is_printed_in_ascii(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "argv", ["run_bench.py", "report", str(quick), "--format", "md"])
    entry.write_anywhere()
    with pytest.raises(SystemExit) as end:
        app.main()
    assert not end.value.code
    out.flush()
    assert isinstance(out.buffer, io.BytesIO)
    shown = out.buffer.getvalue().decode("ascii")
    assert "\\x" not in shown
    assert "\\u" not in shown
    assert "FD v" in shown
    assert "↓" in (quick / "table.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1 ± 2", "1 +- 2"),
        ("a/größe", "a/gr\\xf6\\xdfe"),
        ("a/\udcff", "a/\\udcff"),
        ("×10³ ↓", "x10^3 v"),
        ("雪", "\\u96ea"),
    ],
)
def test_what_an_encoding_has_no_sign_for_is_written_in_others(
    monkeypatch: pytest.MonkeyPatch, text: str, shown: str
) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    entry.write_anywhere()
    for stream in (sys.stdout, sys.stderr):
        print(text, file=stream, flush=True)
        assert isinstance(stream.buffer, io.BytesIO)
        assert stream.buffer.getvalue().decode() == f"{shown}\n"


def test_a_command_works_where_the_locale_is_ascii(tmp_path: Path) -> None:
    """Its own files are in UTF-8, whatever the locale says."""
    run = write_run(tmp_path / "größe", QUICK)
    ascii_only = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "run_bench.py", "report", str(run), "--format", "md"],
        cwd=_ROOT, env=os.environ | ascii_only, capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    assert done.stdout.isascii()
    assert "↓" in (run / "table.md").read_text(encoding="utf-8")


def test_a_record_names_the_command_whatever_its_bytes_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """As UTF-8 is read where the locale is ASCII, and as what is no UTF-8 is read anywhere."""
    typed = b"gr\xc3\xb6\xc3\x9fe".decode("ascii", "surrogateescape")
    monkeypatch.setattr(sys, "argv", ["run_bench.py", typed, "\udcff"])
    command = describe(torch.device("cpu"))["command"]
    assert isinstance(command, str)
    assert shlex.split(command) == ["run_bench.py", "größe", "\ufffd"]


def test_a_reader_that_has_read_enough_ends_a_command_without_a_word_and_a_full_disk_is_told() -> None:
    command = [sys.executable, "run_bench.py", "list", "metrics", "--json"]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as unread:
        done = subprocess.run(command, cwd=_ROOT, stdout=unread, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (141, b"")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, cwd=_ROOT, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"error: [Errno 28] No space left on device" in done.stderr


def test_a_table_that_nobody_reads_any_more_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of a run, whose files are still to be written."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as unread:
        monkeypatch.setattr(sys, "stdout", unread)
        console = output()
        console.print("text")
        console.print("more")
        assert console.quiet
