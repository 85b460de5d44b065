"""A signal ends a command in a line that says how it goes on, whenever it comes and however often."""

import os
import pty
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from commands import Cli
from studies import study_toml

from bench.cli import entry, interrupt
from bench.record import RunFolder
from bench.running.attempts import Attempts
from models.common import program

_ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Signals as a terminal's processes have them, and none received."""
    monkeypatch.setattr(interrupt, "_received", [])
    monkeypatch.setattr(entry, "write_anywhere", lambda: None)  # pytest's streams stay as they are
    monkeypatch.delenv("UV_RUN_RECURSION_DEPTH", raising=False)
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    before = {number: signal.getsignal(number) for number in interrupt._SIGNALS}
    for number in before:  # the tests themselves may run where one is ignored, in the background or under nohup
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def _ended(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    monkeypatch.setattr(sys, "argv", list(arguments))
    monkeypatch.setattr(sys, "orig_argv", ["python3", *arguments])
    with pytest.raises(SystemExit) as end:
        entry.main()
    return end.value.code


@pytest.mark.parametrize(
    ("name", "status", "said"), [("SIGINT", 130, ""), ("SIGTERM", 143, " by SIGTERM"), ("SIGHUP", 129, " by SIGHUP")]
)
def test_a_signal_ends_a_run_with_its_status_and_the_command_that_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, status: int, said: str
) -> None:
    number = signal.Signals[name]
    monkeypatch.setattr("bench.cli.run.run_and_report", lambda *given, **named: signal.raise_signal(number))
    given = ("run", "quick", "--force", "--samplers", "ddim[eta=0.5],heun", "--out", "my runs/$a")
    assert _ended(monkeypatch, "run_bench.py", *given) == status
    assert capsys.readouterr().err == (
        f"interrupted{said}; what is finished is kept, and this goes on:\n"
        "  python3 run_bench.py run quick --samplers 'ddim[eta=0.5],heun' --out 'my runs/$a'\n"
    )


def test_what_keeps_nothing_does_not_say_that_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.cli.reporting.report_runs", lambda *given: signal.raise_signal(signal.SIGINT))
    assert _ended(monkeypatch, "run_bench.py", "report", "results/a") == 130
    assert capsys.readouterr().err == "interrupted; to start again:\n  python3 run_bench.py report results/a\n"


@pytest.mark.parametrize("outcome", ["swallowed", "another"])
def test_an_interrupt_that_is_swallowed_or_becomes_another_error_is_one_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], outcome: str
) -> None:
    def run(*given: object, **named: object) -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            if outcome == "another":
                raise SystemError("a library that was called from C") from None
        return 0

    monkeypatch.setattr("bench.cli.run.run_and_report", run)
    assert _ended(monkeypatch, "run_bench.py", "run", "quick") == 143
    assert capsys.readouterr().err.startswith("interrupted by SIGTERM; ")


def test_an_interrupt_that_is_lost_while_an_object_is_given_back_comes_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Handle:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    def run(*given: object, **named: object) -> int:
        Handle()
        threading.Event().wait(10.0)
        done.append(True)
        return 0

    done = list[bool]()
    monkeypatch.setattr("bench.cli.run.run_and_report", run)
    assert _ended(monkeypatch, "run_bench.py", "run", "quick") == 143
    assert not done
    said = capsys.readouterr().err
    assert said.startswith("interrupted by SIGTERM; ")
    assert "Exception ignored" not in said


def test_a_terminal_that_was_closed_hears_nothing_and_the_status_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

        def flush(self) -> None: ...

    monkeypatch.setattr("bench.cli.run.run_and_report", lambda *given, **named: signal.raise_signal(signal.SIGHUP))
    monkeypatch.setattr(sys, "stderr", Closed())
    assert _ended(monkeypatch, "run_bench.py", "run", "quick") == 129


def test_a_signal_that_the_process_was_started_to_ignore_stays_ignored() -> None:
    """As by nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interrupt.listen()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) == interrupt._take


def test_a_process_that_is_forked_has_the_signals_that_processes_have() -> None:
    interrupt.listen()
    child = os.fork()
    if child == 0:
        usual = [signal.default_int_handler, signal.SIG_DFL, signal.SIG_DFL]
        os._exit(0 if [signal.getsignal(number) for number in interrupt._SIGNALS] == usual else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_cell_in_the_midst_of_which_the_process_is_told_to_end_at_once_has_not_ended_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ended(Exception):
        pass

    def end(status: int) -> None:
        raise Ended(status)

    monkeypatch.setattr(os, "_exit", end)
    interrupt._received.append(signal.SIGTERM)
    with Attempts(tmp_path).attempt("a", "its images"):
        assert list(tmp_path.iterdir())
        with pytest.raises(Ended, match="143"):
            interrupt._take(signal.SIGTERM, None)
        assert not list(tmp_path.iterdir())


def _listens(process: int) -> bool:
    """Whether a process has begun to take SIGTERM itself."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    (caught,) = (line.split()[1] for line in lines if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> signal.SIGTERM - 1 & 1)


def _started(*command: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not _listens(process.pid):
        time.sleep(0.001)
    return process


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="what a process takes is read where Linux tells it")
def test_ctrl_c_at_any_moment_of_the_imports_ends_without_a_traceback() -> None:
    """Of the command line's own, and of torch, which take seconds."""
    moments = random.Random(0)
    running = [_started(sys.executable, "run_bench.py", "check", "ddim") for _ in range(4)]
    for process in running:
        time.sleep(moments.uniform(0, 0.3))
        process.send_signal(signal.SIGINT)
    for process in running:
        shown, said = process.communicate()
        assert (process.returncode, shown) == (130, "")
        assert "Traceback" not in said
        assert "interrupted" in said


_WAITING = """
import os, sys, time
from bench.cli.interrupt import interruptible, listen, tell
def wait(said):
    os.write(1, f"{said}\\n".encode())  # what is printed would go to the terminal while a status is there
    while True:
        time.sleep(0.01)  # in one long sleep a signal could come just before it
listen()
try:
    with interruptible():
        try:
            wait("begun")
        finally:
            wait("winding up")
except KeyboardInterrupt:
    sys.exit(tell())
"""
_SPINNING = _WAITING.replace("try:", 'from bench.progress import errors\nerrors.status("waiting ...").start()\ntry:', 1)


def test_a_second_ctrl_c_ends_at_once_and_without_a_traceback() -> None:
    with _started(sys.executable, "-c", _WAITING, "run", "quick") as process:
        assert process.stdout is not None
        for said in ("begun", "winding up"):
            assert process.stdout.readline().strip() == said
            process.send_signal(signal.SIGINT)
        shown, said = process.communicate()
    assert process.returncode == 130
    assert said.count("interrupted") == 1
    assert "Traceback" not in shown + said


def _read(terminal: int) -> str:
    shown = b""
    with suppress(OSError):  # which is how it ends
        while part := os.read(terminal, 4096):
            shown += part
    os.close(terminal)
    return shown.decode()


def test_the_cursor_is_back_after_a_second_ctrl_c() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _SPINNING, "run"],
        cwd=_ROOT, stdout=subprocess.PIPE, stderr=theirs, text=True, env=os.environ | {"TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    with process:
        assert process.stdout is not None
        for said in ("begun", "winding up"):
            assert process.stdout.readline().strip() == said
            process.send_signal(signal.SIGTERM)
    shown = _read(ours)
    assert process.returncode == 143
    assert shown.rindex("\x1b[?25l") < shown.rindex("\x1b[?25h")
    assert "interrupted by SIGTERM" in shown


_AT_ONCE = """
import sys
import bench.running.session, bench.running.runner
from bench.cli.entry import main
bench.running.session.Session.warm_up = lambda session: None  # as conftest.py has it
bench.running.runner.first_look = lambda session, folder, warn: None
sys.argv[0] = "run_bench.py"
main()
"""


def test_a_run_that_is_ended_leaves_nothing_behind_and_the_command_it_names_goes_on(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.cli.reporting.report.FORMATS", ("md",))
    study, out = tmp_path / "study.toml", tmp_path / "my runs" / "a"
    study.write_text(
        study_toml(["ddim", "heun"], [2, 3], baseline_steps=6, images=40, timing={"repeats": 3, "seconds": 0.0})
    )
    process = _started(sys.executable, "-c", _AT_ONCE, "run", str(study), "--out", str(out), "--force")
    while not list(out.glob("cells/*.json")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 143
    assert "Traceback" not in said
    command = f"{sys.executable} run_bench.py run {study} --out '{out}'"
    assert said.endswith(f"interrupted by SIGTERM; what is finished is kept, and this goes on:\n  {command}\n")
    assert not list(out.rglob("*.tmp"))
    done = {path: path.stat().st_mtime_ns for path in out.glob("cells/*.png")}
    cli("run", study, "--out", out)
    assert len(RunFolder(out).load()) == 5
    assert done
    assert {path: path.stat().st_mtime_ns for path in done} == done


@pytest.mark.parametrize(
    ("argv", "by_uv", "said"),
    [
        (["run_bench.py", "run", "a b.toml"], False, ".venv/bin/python run_bench.py run 'a b.toml'"),
        (["../run_bench.py", "--force", "--images", "100"], False, ".venv/bin/python ../run_bench.py --images 100"),
        (["run_bench.py", "run", "quick", "--force=true"], True, "uv run run_bench.py run quick"),
        (["BIN/sampler-bench", "run", "quick", "--force"], False, "sampler-bench run quick"),
        (["elsewhere/sampler-bench", "run", "quick"], False, "elsewhere/sampler-bench run quick"),
    ],
)
def test_the_command_that_goes_on_is_the_one_that_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str], by_uv: bool, said: str
) -> None:
    found = tmp_path / "sampler-bench"
    found.write_text("#!/bin/sh\n")
    found.chmod(0o755)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "sampler-bench").write_text("#!/bin/sh\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    if by_uv:
        monkeypatch.setenv("UV_RUN_RECURSION_DEPTH", "1")
    argv = [part.replace("BIN", str(tmp_path)) for part in argv]
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", [".venv/bin/python", *argv])
    assert program.again() == said
