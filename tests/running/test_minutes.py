"""A budget of time: what is measured first, what is left, and that the same command goes on."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from quiet import Quiet
from studies import study_toml

from bench.record import RunFolder
from bench.report import summarise
from bench.report.tables.markup import markdown
from bench.running.deadline import Deadline
from bench.running.measuring import Failure, Measuring
from bench.running.part import Part
from bench.running.runner import Outcome, run_study
from bench.running.session import Session
from bench.study.file import parse_study
from bench.study.plan import Cell
from bench.study.study import Study
from models.common.errors import UsageError


class Clock:
    """A clock that goes on only when it is told to."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


class Heard(Quiet):
    """What a run has measured, in order."""

    def __init__(self) -> None:
        self.cells = list[tuple[str, int, int, int]]()

    def finished(self, cell: object, record: object, kept: bool) -> None:
        assert isinstance(cell, Cell)
        assert isinstance(record, dict)
        if not kept:
            self.cells.append((cell.sampler, cell.steps, cell.seed, record["images"]))


def study(**more: Any) -> Study:
    given: dict[str, Any] = {"images": {"from": 20, "to": 80}, "batch": 20, "timing": {"repeats": 0}} | more
    return parse_study(study_toml(samplers=["ddim", "ddpm"], steps=[2, 3], baseline_steps=4, **given), "test")


def run(
    given: Study, folder: Path, seconds: float, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> tuple[Outcome, Heard]:
    """A run each cell of which takes ten seconds."""
    part = Measuring.part

    def slow(self: Measuring, *more: Any) -> Part | Failure:
        clock.time += 10.0
        return part(self, *more)

    with monkeypatch.context() as patch:
        patch.setattr(Measuring, "part", slow)
        patch.setattr(Deadline, "calibrate", lambda *_: None)
        patch.setattr("bench.running.executors.in_process.time", SimpleNamespace(monotonic=clock))
        heard = Heard()
        outcome = run_study(
            given, Session.load(given), RunFolder(folder), False, heard, deadline=Deadline(seconds, clock)
        )
    return outcome, heard


def test_what_does_not_fit_into_what_is_left_is_not_begun() -> None:
    clock = Clock()
    deadline = Deadline(100.0, clock)
    assert deadline.affords(10**9), "nothing is known yet"
    clock.time += 10.0
    deadline.spent(1000, 10.0)
    assert deadline.affords(9000)
    assert not deadline.affords(9001)
    clock.time = 100.0
    assert deadline.is_over
    assert not Deadline()
    assert Deadline().affords(10**12)
    assert not Deadline().is_over


def test_the_baseline_is_first_then_every_sampler_at_each_number_of_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, heard = run(study(seeds=[5, 6]), tmp_path, 1e6, Clock(), monkeypatch)
    assert heard.cells[:5] == [
        ("ddim", 4, 5, 20),
        ("ddim", 2, 5, 20),
        ("ddpm", 2, 5, 20),
        ("ddim", 3, 5, 20),
        ("ddpm", 3, 5, 20),
    ]
    assert heard.cells[5] == ("ddim", 4, 6, 20)


def test_with_time_enough_everything_has_all_images_and_the_answer_is_the_usual_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome, heard = run(study(), tmp_path, 1e6, Clock(), monkeypatch)
    assert outcome == Outcome(measured=15)
    assert sorted(images for *_, images in heard.cells) == [20] * 5 + [40] * 5 + [80] * 5
    summary = summarise([tmp_path])
    assert summary.decisions is None
    assert [section.images for section in summary.sections] == [80]


def test_with_until_it_ends_when_the_answer_is_decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome, heard = run(study(until="decided"), tmp_path, 1e6, Clock(), monkeypatch)
    summary = summarise([tmp_path])
    assert summary.decisions is not None
    assert len(heard.cells) < 15 or not summary.decisions.decided
    assert outcome.left == 0


def test_what_is_left_when_time_is_up_is_counted_and_measured_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three cells of ten seconds fit into 35."""
    clock = Clock()
    outcome, heard = run(study(), tmp_path, 35.0, clock, monkeypatch)
    assert 2 <= len(heard.cells) <= 3
    assert outcome.measured == len(heard.cells)
    assert outcome.left >= 2
    assert outcome.left == 5 - len(heard.cells)
    assert f"Not measured yet: {5 - len(heard.cells)} cells" in markdown(summarise([tmp_path]))
    again, more = run(study(), tmp_path, 1e6, clock, monkeypatch)
    assert (again.kept, again.left) == (len(heard.cells), 0)
    assert not {*heard.cells} & {*more.cells}
    assert len(heard.cells) + len(more.cells) == 15


def test_what_is_left_is_counted_where_time_is_up_between_two_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The five cells of the first look take 50 seconds."""
    given = study(until="decided", tolerance=0.0)
    monkeypatch.setattr(Deadline, "affords", lambda self, *_: not self.is_over)
    outcome, _ = run(given, tmp_path, 50.0, Clock(), monkeypatch)
    assert outcome.measured == 5
    decisions = summarise([tmp_path]).decisions
    assert decisions is not None
    assert not decisions.decided
    assert outcome.left == len(decisions.left)


@pytest.mark.parametrize("workers", [1, 8, 64])
def test_time_is_charged_with_what_workers_take_however_many_there_are(workers: int) -> None:
    """Cells of a minute, eight a worker, and eight and a half minutes: all are begun, and none in vain."""
    clock = Clock()
    deadline = Deadline(510.0, clock)
    begun = 0
    for _ in range(8):
        for _ in range(workers):
            begun += deadline.affords(1000)
        clock.time += 60.0
        for _ in range(workers):
            deadline.spent(1000, 60.0)
    assert begun == 8 * workers
    assert not deadline.affords(1000)


def test_where_there_is_no_time_for_a_single_cell_it_says_how_long_that_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def calibrate(self: Deadline, *_: object) -> None:
        self._spent, self._evaluations = 1.0, 1

    monkeypatch.setattr(Deadline, "calibrate", calibrate)
    given = study()
    session, folder = Session.load(given), RunFolder(tmp_path)
    with pytest.raises(UsageError, match=r"ddim on trailing, 4 steps, seed 0 takes about 1 min 20 s; give more --min"):
        run_study(given, session, folder, False, Heard(), deadline=Deadline(60.0, Clock()))


def test_timing_stops_with_the_time_and_goes_on_with_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = study(images=20, timing={"repeats": 3, "seconds": 0.0})
    clock = Clock()
    outcome, _ = run(timed, tmp_path, 51.0, clock, monkeypatch)
    assert outcome.measured <= 5
    clock.time = 0.0
    again, _ = run(timed, tmp_path, 1e6, clock, monkeypatch)
    assert again.unfinished == 0
    assert RunFolder(tmp_path).load()["timing_rounds"].tolist() == [3.0] * 5


def test_settings_that_lack_rounds_of_timing_are_counted_and_have_no_more_images_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Deadline, "affords", lambda self, *_: not self.is_over)
    timed = study(until="decided", timing={"repeats": 1, "seconds": 0.0})
    outcome, heard = run(timed, tmp_path, 50.0, Clock(), monkeypatch)
    assert (outcome.measured, outcome.unfinished, outcome.left) == (5, 5, 0)
    assert len(heard.cells) == len(list((tmp_path / "growing").iterdir())) == 5
