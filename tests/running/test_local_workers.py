"""Workers that are processes of this machine: each may crash, hang or leave things behind, and the next one works."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from threading import Timer
from typing import cast

import psutil
import pytest
from acts import Errand, Small
from commands import heeding_ctrl_c

from bench.running.executors.crew import Crew, Died, TookTooLong, waited
from bench.running.executors.local import LocalSlot
from bench.running.executors.messages import Order
from models.common.errors import UsageError

_ROOT = Path(__file__).parents[2]
_ORDER = cast(Order, Errand())
_SMALL = cast(Callable[[Order], object], Small)


@pytest.fixture
def slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalSlot]:
    """Which leaves neither a process nor a folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    slot = LocalSlot("cpu", _SMALL)
    slot.start(_ORDER)
    yield slot
    slot.end()
    assert not list(tmp_path.glob("sampler-bench-*"))
    assert not [each for each in psutil.Process().children() if "popen_loky" in " ".join(each.cmdline())]


def _is_gone(process: int, within_s: float = 3.0) -> bool:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if not psutil.pid_exists(process) or psutil.Process(process).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize(
    ("act", "how", "trace"),
    [
        ("segfault", "killed its process (SIGSEGV)", 'acts.py", line'),
        ("exit 3", "ended its process, with status 3", None),
        ("exit 0", "ended its process, with status 0", None),
        ("killed", "killed its process (SIGKILL, as the system does where memory runs out)", None),
    ],
)
def test_what_ends_its_process_is_told_how_and_where_and_the_next_one_works(
    slot: LocalSlot, act: str, how: str, trace: str | None
) -> None:
    with pytest.raises(Died) as death:
        slot.call(Small.do, act)
    assert death.value.how == how
    assert (death.value.trace is None) == (trace is None)
    assert trace is None or trace in (death.value.trace or "")
    slot.start(_ORDER)
    assert slot.call(Small.process) != os.getpid()


def test_what_hangs_is_ended_in_time_and_says_where(slot: LocalSlot) -> None:
    process, start = slot.call(Small.process), time.monotonic()
    with pytest.raises(TookTooLong, match=r"took longer than 0\.5 s \(timeout\)") as late:
        slot.call(Small.do, "hang", timeout=0.5)
    assert "in hang" in (late.value.trace or "")
    assert time.monotonic() - start < 5
    assert _is_gone(process, 0.1)


def test_what_raises_costs_no_process(slot: LocalSlot) -> None:
    process = slot.call(Small.process)
    with pytest.raises(SystemExit):
        slot.call(Small.do, "sys.exit")
    slot.call(Small.do, "thread")
    assert slot.call(Small.process) == process


@pytest.mark.parametrize("then", ["segfault", "nothing"])
def test_a_process_that_a_worker_has_left_hides_no_crash_and_ends_with_it(
    slot: LocalSlot, tmp_path: Path, then: str
) -> None:
    """Though it has all that was open, and does not end when it is asked to."""
    said = tmp_path / "child"
    if then == "segfault":
        with pytest.raises(Died, match="SIGSEGV"):
            slot.call(Small.leave_child, str(said), then, timeout=60)
    else:
        slot.call(Small.leave_child, str(said), then)
        slot.end()
    assert _is_gone(int(said.read_text()))


def test_a_process_that_goes_on_as_if_it_were_the_worker_answers_nothing(slot: LocalSlot) -> None:
    process = slot.call(Small.process)
    assert slot.call(Small.return_twice) == process
    assert {slot.call(Small.process) for _ in range(10)} == {process}


def test_a_worker_that_was_killed_while_it_had_nothing_to_do_costs_nothing(slot: LocalSlot) -> None:
    process = slot.call(Small.process)
    os.kill(process, signal.SIGKILL)
    assert _is_gone(process)
    slot.start(_ORDER)
    assert slot.call(Small.process) != process


def test_a_process_that_has_grown_is_exchanged_before_its_next_work_in_whose_time_nothing_is_loaded() -> None:
    slot = LocalSlot("cpu", _SMALL, most=300_000_000)
    slot.start(cast(Order, Errand(loads_s=1.2)))
    process = slot.call(Small.process)
    slot.call(Small.grow, 400_000_000, timeout=60)
    other = slot.call(Small.process, timeout=1)
    assert other != process
    assert slot.call(Small.process) == other
    assert _is_gone(process)
    slot.end()


def test_what_cannot_be_loaded_is_told_to_whoever_asks(slot: LocalSlot) -> None:
    slot.end()
    for _ in range(2):
        with pytest.raises(ValueError, match="it cannot work"):
            slot.start(cast(Order, Errand(fails=True)))


def test_workers_that_are_being_started_are_ended_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for wait_s in (0.0, 0.02, 0.3):
        crew = Crew([LocalSlot("cpu", _SMALL), LocalSlot("cpu", _SMALL)], cast(Order, Errand(loads_s=1000)))
        futures = [crew.submit(partial(slot.start, crew.order)) for slot in crew.slots]
        time.sleep(wait_s)
        assert not any(future.done() for future in futures)
        crew.close()
        assert all(future.done() for future in futures)
        assert not list(tmp_path.iterdir())
        assert not [each for each in psutil.Process().children() if "popen_loky" in " ".join(each.cmdline())]


def test_workers_that_crash_while_they_are_started_are_a_usage_error() -> None:
    class Crashes(LocalSlot):
        def start(self, order: Order) -> None:
            raise Died("killed its process (SIGSEGV)", "Fatal Python error")

    crew = Crew([Crashes("cpu", _SMALL)], Order("{}", "cpu", 16, ()))
    with pytest.raises(UsageError, match=r"killed its process \(SIGSEGV\) while it was started\nFatal Python error"):
        crew.start()
    crew.close()


_DRIVER = """
import sys, tempfile, time
from functools import partial
sys.path.insert(0, "tests/helpers")
tempfile.tempdir = sys.argv[1]
from bench.cli.interrupt import interruptible, listen, tell
listen()
from acts import Errand, Small
from bench.running.executors.crew import Crew
from bench.running.executors.local import LocalSlot
loads_s = float(sys.argv[2])
crew = Crew([LocalSlot("cpu", Small), LocalSlot("cpu", Small)], Errand(loads_s=loads_s))
def begun(slot, function, *arguments):
    slot.start(crew.order)
    return slot.call(function, *arguments)
try:
    with interruptible():
        try:
            if loads_s == 0:
                print(*(crew.submit(partial(begun, slot, Small.process)).result() for slot in crew.slots), flush=True)
            works = [crew.submit(partial(begun, slot, Small.do, "hang")) for slot in crew.slots]
            if loads_s > 0:
                time.sleep(0.5)
                print(flush=True)
            works[0].result()
        finally:
            crew.close()
except KeyboardInterrupt:
    sys.exit(tell())
"""


@pytest.mark.parametrize("loads_s", [0.0, 1000.0], ids=["working", "starting"])
@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGKILL", -9)])
def test_whatever_ends_a_run_ends_its_workers(tmp_path: Path, name: str, status: int, loads_s: float) -> None:
    """Ctrl-C reaches all processes of a terminal; SIGKILL leaves the workers to end themselves."""
    command = [sys.executable, "-c", _DRIVER, str(tmp_path), str(loads_s)]
    with heeding_ctrl_c():
        started = subprocess.Popen(
            command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
    with started as run:
        assert run.stdout is not None
        run.stdout.readline()
        left = [each.pid for each in psutil.Process(run.pid).children(recursive=True)]
        (os.killpg if name == "SIGINT" else os.kill)(run.pid, signal.Signals[name])
        said = "" if name == "SIGKILL" else run.communicate()[1]
        assert run.wait() == status
        assert "Traceback" not in said
        assert len(left) >= 2
        assert all(_is_gone(each) for each in left)
    assert not list(tmp_path.iterdir())


def test_an_interrupt_that_another_thread_takes_ends_a_wait_at_once() -> None:
    """Python acts on a signal in its main thread, which sleeps on where the system hands it to another one."""
    done = Future[None]()
    threads = [Timer(0.1, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGINT))]
    threads.append(Timer(5.0, lambda: done.set_result(None)))
    with heeding_ctrl_c():
        for thread in threads:
            thread.start()
        with pytest.raises(KeyboardInterrupt):
            waited([done])
        assert not done.done()
    threads[1].cancel()
