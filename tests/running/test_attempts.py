"""A cell that has ended the process twice is passed over; nothing that comes back counts as that."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from quiet import Quiet
from torch import Tensor

from bench.record import Record, RunFolder
from bench.running.runner import Outcome, run_study
from bench.running.session import Session
from bench.study.file import parse_study
from bench.study.overrides import Overrides
from models.denoiser import Denoiser
from models.schedule import Level
from samplers import Noise, StepSampler, register
from samplers.ddim import DDIM

_STUDY = """
name = "test"
title = "Test"
model = "digits-mixture"
metrics = ["law"]
images = 16
batch = 16
device = "cpu"
timing = { repeats = ROUNDS, seconds = 0.0 }
baseline = { sampler = "ddim", grid = "trailing", steps = 2 }
[[block]]
samplers = ["ends", "ddim"]
grids = ["trailing"]
steps = [1]
"""
_SAID = "killed the process twice: run it with --isolate"

_steps: list[Callable[[], object]] = []
_questions: list[Callable[[], object]] = []


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _exit() -> None:
    os._exit(0)


def _interrupt() -> None:
    raise KeyboardInterrupt


def _must_not_be_tried() -> None:
    raise AssertionError("it was tried again")


@dataclass(frozen=True)
class _Ends(StepSampler):
    """DDIM, which does first what the test says."""

    paper = "none"
    order = None
    stochastic = False

    def nfe(self, levels: Sequence[Level]) -> int:
        for act in _questions:
            act()
        return len(levels) - 1

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        for act in _steps:
            act()
        return DDIM().step(model, x, t, s, noise)


@pytest.fixture(autouse=True)
def ends(registered: None, monkeypatch: pytest.MonkeyPatch) -> None:
    register("ends")(_Ends)
    monkeypatch.setattr(sys.modules[__name__], "_steps", [])
    monkeypatch.setattr(sys.modules[__name__], "_questions", [])


def _run(path: Path, rounds: int = 0) -> tuple[Outcome, Record | None]:
    """What became of a run, and the record of the cell that may end the process."""
    folder, study = RunFolder(path), parse_study(_STUDY.replace("ROUNDS", str(rounds)), "test", Overrides())
    outcome = run_study(study, Session.load(study), folder, False, Quiet())
    return outcome, folder.read(folder.manifest()["cells"][1])


def _run_apart(path: Path, rounds: int = 0) -> int:
    """The same in a process of its own; how that ended, negative by a signal."""
    child = os.fork()
    if child == 0:
        try:
            _run(path, rounds)
        finally:
            os._exit(99)  # it has come back
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _notes(path: Path) -> list[Path]:
    return list((path / "cells").glob("*.attempts"))


@pytest.mark.parametrize("where", ["_steps", "_questions"])
def test_a_cell_that_ends_the_process_twice_is_passed_over_until_its_note_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """By what leaves no exception, be its exit status 0; the cells after it are measured."""
    for act, status in ((_kill, -signal.SIGKILL), (_exit, 0)):
        monkeypatch.setattr(sys.modules[__name__], where, [act])
        assert _run_apart(tmp_path) == status
    monkeypatch.setattr(sys.modules[__name__], where, [_must_not_be_tried])
    for measured in (2 if where == "_questions" else 1, 0):  # the first cell was measured by the runs before
        outcome, record = _run(tmp_path)
        assert (outcome.measured, outcome.kept, outcome.failed) == (measured, 2 - measured, 1)
        assert record is not None
        assert (record["status"], record.get("nfe")) == ("failed", None)
        assert record["error"].startswith(_SAID)
    (note,) = _notes(tmp_path)
    assert record is not None
    assert f"tries it again if cells/{note.name} is deleted" in record["error"]
    note.unlink()
    monkeypatch.setattr(sys.modules[__name__], where, [])
    assert _run(tmp_path)[0].measured == 1
    assert not _notes(tmp_path)


def test_a_run_that_was_killed_once_goes_on_with_the_same_cell_and_forgets_it(tmp_path: Path) -> None:
    _steps.append(_kill)
    assert _run_apart(tmp_path) == -signal.SIGKILL
    assert len(_notes(tmp_path)) == 1
    _steps[:] = []
    outcome, record = _run(tmp_path)
    assert (outcome.measured, outcome.kept, outcome.failed) == (2, 1, 0)
    assert record is not None
    assert record["status"] == "ok"
    assert not _notes(tmp_path)


def test_a_setting_that_ends_the_process_twice_while_it_is_timed_keeps_its_images(tmp_path: Path) -> None:
    _run(tmp_path)
    _steps.append(_kill)
    assert [_run_apart(tmp_path, rounds=1) for _ in range(2)] == [-signal.SIGKILL] * 2
    _steps[:] = [_must_not_be_tried]
    outcome, record = _run(tmp_path, rounds=1)
    assert (outcome.kept, outcome.failed, outcome.untimed) == (3, 0, 1)
    assert record is not None
    assert record["status"] == "ok"
    assert record["timing_valid"] is False
    assert record["timing_note"].startswith(f"timing failed: {_SAID}")
    (note,) = _notes(tmp_path)
    note.unlink()
    _steps[:] = []
    outcome, record = _run(tmp_path, rounds=1)
    assert outcome.untimed == 0
    assert record is not None
    assert record["timing_rounds"] == 1
    assert not _notes(tmp_path)


@pytest.mark.parametrize("lost", [0, 1])
def test_what_raises_or_is_interrupted_does_not_count(tmp_path: Path, lost: int) -> None:
    """Whatever it raises, in the images as in their timing; what was lost before stays counted."""
    _steps[:] = [_kill]
    for _ in range(lost):
        _run_apart(tmp_path)
    for act in (_interrupt, sys.exit, _interrupt):
        _steps[:] = [act]
        if act is _interrupt:
            with pytest.raises(KeyboardInterrupt):
                _run(tmp_path)
        else:
            outcome, record = _run(tmp_path)
            assert outcome.failed == 1
            assert record is not None
            assert record["error"].startswith("SystemExit (tests/running/test_attempts.py:")
        assert [len(note.read_text().splitlines()) for note in _notes(tmp_path)] == [1] * lost
    _steps[:] = []
    _run(tmp_path)
    _steps[:] = [sys.exit]
    outcome, record = _run(tmp_path, rounds=1)
    assert outcome.untimed == 1
    assert record is not None
    assert record["timing_note"].startswith("timing failed: SystemExit (tests/running/test_attempts.py:")
    assert not _notes(tmp_path)
