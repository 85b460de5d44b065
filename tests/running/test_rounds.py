"""Settings are timed in interleaved rounds, until each has its repeats and its seconds; what was timed is kept."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from quiet import Quiet
from report_records import study as manifest_study
from torch import Tensor

from bench.record import RunFolder
from bench.running.fit import Fits
from bench.running.resolve import resolve
from bench.running.rounds import Rounds, Setting, in_rounds
from bench.running.runner import Outcome, run_study
from bench.running.session import Session
from bench.running.trajectory import Start, Trajectory
from bench.study.file import parse_study
from bench.study.overrides import Overrides
from bench.study.plan import plan
from bench.study.study import Study
from bench.timing.clock import Stopwatch, Timed, TimedNetwork
from bench.timing.cost import Columns, Times, Work
from bench.timing.monitor import Watch

_CPU = torch.device("cpu")
_STUDY = """
name = "test"
title = "Test"
model = "digits-mixture"
metrics = ["law"]
images = 16
batch = 4
seeds = [0, 1]
device = "cpu"
timing = { repeats = 3, seconds = 0.0 }
baseline = { sampler = "ddim", grid = "trailing", steps = 3 }
[[block]]
samplers = ["ddim"]
grids = ["trailing"]
steps = [1, 2, 3]
"""


def _study(timing: str = "{ repeats = 3, seconds = 0.0 }", steps: str = "[1, 2, 3]") -> Study:
    text = _STUDY.replace("{ repeats = 3, seconds = 0.0 }", timing).replace("[1, 2, 3]", steps)
    return parse_study(text, "test", Overrides())


class _Monitor:
    """A monitor that sees what it is told to."""

    def __init__(self, *watches: Watch) -> None:
        self._watches = list(watches)

    def start(self) -> None: ...

    def stop(self) -> Watch:
        return self._watches.pop(0) if len(self._watches) > 1 else self._watches[0]


_CALM = Watch(0.0, (), None, None, 1.0)


@dataclass
class _Watch(Stopwatch):
    """A stopwatch on which every call takes as long as it is told to, by the number of its images."""

    seconds_of: Callable[[int], float]
    seen: list[int] = field(default_factory=list)

    def synchronise(self) -> None: ...

    def time(self, call: Callable[[], object], networks: Sequence[TimedNetwork] = ()) -> Timed:
        images = call()
        if images is None:  # making ready
            return Timed(7.0, None, None, None)
        assert isinstance(images, Tensor)
        self.seen.append(len(images))
        seconds = self.seconds_of(len(images))
        return Timed(seconds, seconds / 2, None, None)


def _timed(
    study: Study, stopwatch: _Watch, monitor: _Monitor | None = None
) -> tuple[list[Setting], list[tuple[int, int]]]:
    """The settings of a study, and what was done: the steps of a setting, and its images, in order."""
    session = Session.load(study)
    cells = {cell.setting: resolve(cell, session) for cell in reversed(plan(study))}
    settings = [Setting(each, {"nfe": float(each.cell.steps)}, Times(session.batch)) for each in cells.values()]
    done = list[tuple[int, int]]()
    work = Work(2.0, None, 2.0, 0.5)
    fits = Fits(Path("nowhere"), session)  # nothing here is fitted
    rounds = Rounds(session, _none, monitor or _Monitor(_CALM), stopwatch, lambda _: work, fits)  # type: ignore[arg-type]

    def tell(setting: Setting, images: int) -> None:
        done.append((setting.resolved.cell.steps, images))

    in_rounds(settings, study.timing.repeats, rounds.visit, tell)
    return settings, done


def _none() -> Any:
    raise AssertionError("nothing here is captured")


def test_every_setting_is_timed_once_a_round_and_the_order_changes() -> None:
    settings, done = _timed(_study(), _Watch(lambda images: 0.5))
    order = [steps for steps, _ in done]
    rounds = [order[start : start + 3] for start in (0, 3, 6)]
    assert len(order) == 9
    assert all(sorted(each) == [1, 2, 3] for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1
    assert all(len(setting.columns["latency_s"]) == setting.columns["timing_rounds"] == 3 for setting in settings)


def test_short_calls_are_repeated_until_they_have_their_share_of_the_time() -> None:
    settings, _ = _timed(_study("{ repeats = 2, seconds = 1.0 }"), _Watch(lambda images: 0.125))
    assert {len(setting.columns["latency_s"]) for setting in settings} == {8}
    assert [setting.columns["timing_calls"] for setting in settings] == [[4, 4]] * 3
    settings, _ = _timed(_study("{ repeats = 2, seconds = 1.0 }"), _Watch(lambda images: 1e-6))
    assert {len(setting.columns["latency_s"]) for setting in settings} == {100}  # 50 a round at the most


def test_costs_follow_from_the_raw_times() -> None:
    study = _study("{ repeats = 4, seconds = 0.0, batches = [1, 16] }")
    times = iter([0.1, 0.2, 0.3, 0.4] * 100)
    (setting, *_), _ = _timed(study, _Watch(lambda images: next(times) if images == 4 else images * 0.25))
    found = setting.columns
    assert len(found["latency_s"]) == 4
    median = found["latency_s_median"]
    assert median == pytest.approx(statistics.median(found["latency_s"]))
    assert found["throughput_img_per_s"] == pytest.approx(4 / median)
    assert found["evaluations_per_s"] == pytest.approx(4 * found["nfe"] / median)
    # 2 GFLOP an evaluation of 0.5 TFLOP/s
    assert found["arithmetic_fraction"] == pytest.approx(found["evaluations_per_s"] * 2.0 / 500.0)
    assert found["eval_ms_median"] == pytest.approx(1000 * found["network_s_median"] / found["nfe"])
    assert found["latency_s_ci_low"] <= median <= found["latency_s_ci_high"]
    assert (found["sweep_batches"], found["latency_1_s_median"]) == ([1, 4, 16], 0.25)
    assert found["first_call_s"] == 7.0
    best = max((1, 0.25), (4, median), (16, 4.0), key=lambda each: each[0] / each[1])
    assert found["best_batch"] == best[0]
    assert found["best_throughput_img_per_s"] == pytest.approx(best[0] / best[1])


def test_a_batch_that_does_not_fit_has_no_times_and_the_others_have() -> None:
    def seconds(images: int) -> float:
        if images == 16:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 0.1

    stopwatch = _Watch(seconds)
    settings, _ = _timed(_study("{ repeats = 3, seconds = 0.0, batches = [1, 16] }"), stopwatch)
    for setting in settings:
        assert [len(times) for times in setting.columns["sweep_latency_s"]] == [3, 3, 0]
        assert setting.columns["timing_valid"]
    assert stopwatch.seen.count(16) == 3  # once a setting, and never again


@pytest.mark.parametrize("before", [0, 4])
def test_a_main_batch_that_does_not_fit_is_halved_and_all_times_are_of_the_smaller_one(before: int) -> None:
    """At once, or when so many calls have been timed: nothing of another batch is kept beside them."""
    stopwatch = _Watch(lambda images: 0.1)

    def seconds(images: int) -> float:
        if images > 2 and len(stopwatch.seen) > before:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 0.1

    stopwatch.seconds_of = seconds
    settings, _ = _timed(_study(), stopwatch)
    for setting in settings:
        assert setting.columns["timed_batch"] == 2
        assert setting.columns["timing_rounds"] == len(setting.columns["latency_s"]) == 3
        assert setting.columns["throughput_img_per_s"] == pytest.approx(20.0)
        assert setting.columns["note"] == "it was timed with images 2 at a time: 4 did not fit into the memory"


def test_a_call_that_fails_ends_the_timing_of_its_setting_alone_and_says_so() -> None:
    calls = iter(range(100))

    def seconds(images: int) -> float:
        if next(calls) == 4:
            raise RuntimeError("the device fell off")
        return 0.1

    settings, _ = _timed(_study(), _Watch(seconds))
    failed = [setting.columns for setting in settings if not setting.columns["timing_valid"]]
    (note,) = (each["timing_note"] for each in failed)
    assert note.startswith("timing failed: RuntimeError: the device fell off (tests/running/test_rounds.py:")
    assert sorted(len(setting.columns["latency_s"]) for setting in settings) == [1, 3, 3]
    assert sorted(setting.columns["timing_rounds"] for setting in settings) == [1, 3, 3]


def test_calls_of_one_round_are_no_independent_values_of_an_interval() -> None:
    times = iter([*[1.0] * 5, *[2.0] * 5])
    study = _study("{ repeats = 2, seconds = 10.0 }", steps="[3]")
    (setting,), _ = _timed(study, _Watch(lambda images: next(times)))
    assert [setting.columns[f"latency_s_ci_{end}"] for end in ("low", "high")] == pytest.approx([1.0, 2.0])


def test_disturbed_times_are_kept_and_said_to_be_so() -> None:
    busy = Watch(0.5, ("too hot",), None, None, 1.0)
    settings, _ = _timed(_study(), _Watch(lambda images: 0.5), _Monitor(busy))
    for setting in settings:
        assert setting.columns["timing_valid"] is False
        assert "others used 50 % of the processors" in setting.columns["timing_note"]
        assert "too hot" in setting.columns["timing_note"]
        assert len(setting.columns["latency_s"]) == 3


def test_energy_is_of_the_images_of_the_timed_calls() -> None:
    settings, _ = _timed(_study(), _Watch(lambda images: 0.5), _Monitor(replace(_CALM, energy_j=20.0)))
    assert settings[0].columns["energy_j_per_image"] == pytest.approx(3 * 20.0 / (3 * 4))


def _records(path: Path, study: Study) -> list[Columns]:
    folder = RunFolder(path)
    run_study(study, Session.load(study), folder, force=False, progress=Quiet())
    return [record for cell in folder.manifest()["cells"] if (record := folder.read(cell)) is not None]


def test_a_setting_s_times_stand_in_the_record_of_its_first_seed_alone(tmp_path: Path) -> None:
    for record in _records(tmp_path, _study()):
        assert ("latency_s" in record) == (record["seed"] == 0)


@pytest.mark.parametrize("good", [0, 1])
def test_a_timing_that_failed_is_tried_again_from_the_rounds_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, good: int
) -> None:
    calls = iter([*[True] * good, *[False] * 10])

    def call(trajectory: Trajectory, start: Start) -> Tensor:
        if not next(calls):
            raise RuntimeError("the device fell off")
        return real(trajectory, start)

    _records(tmp_path, _study("{ repeats = 0 }", steps="[3]"))
    study, real = _study(steps="[3]"), Trajectory.__call__
    with monkeypatch.context() as patch:
        patch.setattr(Trajectory, "__call__", call)
        outcome = run_study(study, Session.load(study), RunFolder(tmp_path), force=False, progress=Quiet())
    folder = RunFolder(tmp_path)
    failed = folder.read(folder.manifest()["cells"][0])
    assert failed is not None
    assert outcome == Outcome(kept=2, untimed=1)
    assert failed["timing_note"].startswith("timing failed: RuntimeError: the device fell off")
    assert failed.get("timing_rounds", 0) == len(failed.get("latency_s", [])) == good
    (again, *_) = _records(tmp_path, study)
    assert again["timing_rounds"] == len(again["latency_s"]) == 3
    assert "failed" not in (again["timing_note"] or "")


def test_a_batch_that_a_study_gets_later_is_timed_in_all_rounds(tmp_path: Path) -> None:
    _records(tmp_path, _study())
    (record, *_) = _records(tmp_path, _study("{ repeats = 3, seconds = 0.0, batches = [2] }"))
    assert [len(times) for times in record["sweep_latency_s"]] == [3, 3]


def test_what_is_only_timed_is_timed_in_a_warm_process_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warmed = list[None]()
    monkeypatch.setattr(Session, "warm_up", lambda session: warmed.append(None))
    for repeats, runs in ((0, 1), (2, 2), (2, 2)):
        _records(tmp_path, _study(f"{{ repeats = {repeats}, seconds = 0.0 }}"))
        assert len(warmed) == runs


def test_times_go_on_from_those_of_an_earlier_run(tmp_path: Path) -> None:
    untimed = _records(tmp_path, _study("{ repeats = 0 }"))
    assert not any("latency_s" in record for record in untimed)
    two = {record["id"]: record for record in _records(tmp_path, _study("{ repeats = 2, seconds = 0.0 }"))}
    three = {record["id"]: record for record in _records(tmp_path, _study())}
    for name, record in three.items():
        assert record["finished"] == two[name]["finished"]
        if record["seed"] == 0:
            assert record["timing_rounds"] == 3
            assert record["latency_s"][:2] == two[name]["latency_s"]
            assert record["timing_watches"][:2] == two[name]["timing_watches"]


def test_auto_stands_for_what_it_did_before_on_as_many_images_only(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.batch(100, "cpu") is None
    folder.create()
    for batch, images, device, found in (
        ("auto", 100, "cpu", 64),
        ("auto", 50, "cpu", None),
        ("auto", 100, "cuda", None),
        (64, 100, "cpu", None),
    ):
        folder.write_manifest(manifest_study(batch=batch, images=images, device=device), [], batch=64)
        assert folder.batch(100, "cpu") == found
