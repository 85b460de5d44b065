"""Runs: what is finished is kept, what fails is recorded and stops nobody else, and NFE is what the network saw."""

import json
import math
import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from forks import forked
from torch import Tensor

from bench.record import SCHEMA, Record, RunFolder
from bench.running.runner import Outcome, run_study
from bench.running.session import Session
from bench.sealed_json import NewerRun
from bench.study.file import parse_study
from bench.study.overrides import Overrides
from bench.study.plan import Cell
from bench.study.study import Study
from models.common.errors import UsageError
from models.denoiser import Denoiser
from models.schedule import Level
from samplers import SAMPLERS, Noise, Sampler, register

_STUDY = """
name = "test"
title = "Test"
model = "digits"
images = 40
batch = 16
timing = { repeats = 3, seconds = 0.0 }
device = "cpu"
baseline = { sampler = "ddpm", grid = "trailing", steps = 6 }
[[block]]
samplers = ["ddim", "heun"]
grids = ["trailing"]
steps = [2, 3]
"""
_QUALITY = ["fd_digits", "kid_mean", "kid_std", "inception_score", "precision", "recall", "nfe"]


class _Heard:
    """Progress that only remembers."""

    def __init__(self) -> None:
        self.evaluations = self.planned_evaluations = 0
        self.records: list[tuple[Cell, Record, bool]] = []
        self.timed_cells: list[Cell] = []

    def planned(self, cells: int, evaluations: int) -> None:
        self.planned_evaluations = evaluations

    def advanced(self, evaluations: int) -> None:
        self.evaluations += evaluations

    def finished(self, cell: Cell, record: Record, kept: bool) -> None:
        self.records.append((cell, record, kept))

    def timed(self, cell: Cell, record: Record) -> None:
        self.timed_cells.append(cell)


def _study(**overrides: object) -> Study:
    return parse_study(_STUDY, "test", Overrides.model_validate(overrides))


def _run(study: Study, path: Path, force: bool = False) -> tuple[Outcome, _Heard, pd.DataFrame]:
    heard, folder = _Heard(), RunFolder(path)
    outcome = run_study(study, Session.load(study), folder, force, heard)
    return outcome, heard, folder.load()


@dataclass(frozen=True)
class _Finished:
    """A run of the whole study."""

    path: Path
    outcome: Outcome
    heard: _Heard
    frame: pd.DataFrame

    def copy(self, path: Path) -> Path:
        return Path(shutil.copytree(self.path, path))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> _Finished:
    path = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:  # as in every test
        patch.setattr("bench.running.session.Session.warm_up", lambda session: None)
        patch.setattr("bench.running.runner.first_look", lambda session, folder, warn: None)
        return _Finished(path, *_run(_study(), path))


class _Unprintable(BaseException):
    def __str__(self) -> str:
        raise SystemExit


@dataclass(frozen=True)
class _Odd(Sampler):
    """A sampler that misbehaves in a chosen way."""

    how: str = "raises"
    paper = "none"
    order = None
    stochastic = False

    def nfe(self, levels: Sequence[Level]) -> int:
        odd = {"negative": -1, "text": "1", "nan-nfe": math.nan, "numpy": np.int64(1)}
        return odd.get(self.how, 1)  # type: ignore[return-value]

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        x0 = model(x, levels[0]).x0
        results = {"nan": x / 0.0 * 0.0, "shape": x[:1], "dtype": x.double(), "nothing": None}
        results |= dict.fromkeys(("undercounts", "numpy"), x0)
        ends = {"file": OSError(28, "No space left on device"), "exit": SystemExit(0), "words": _Unprintable()}
        if self.how == "undercounts":
            model(x, levels[0])
        if self.how not in results:
            raise ends.get(self.how, RuntimeError("a sampler broke"))
        return results[self.how]  # type: ignore[return-value]


@pytest.fixture
def odd(registered: None) -> None:
    register("odd")(_Odd)


def test_a_run_records_every_cell_with_measured_cost_and_quality(whole: _Finished) -> None:
    outcome, heard, frame = whole.outcome, whole.heard, whole.frame
    assert (outcome.measured, outcome.kept, outcome.failed) == (5, 0, 0)
    assert list(frame["sampler"]) == ["ddpm", "ddim", "ddim", "heun", "heun"]
    assert list(frame["nfe"]) == list(frame["nfe_declared"]) == [6, 2, 3, 3, 5]
    assert frame[_QUALITY].drop(columns="kid_std").notna().all().all()
    assert frame["kid_std"].isna().all()  # 40 images leave no subset to draw
    assert (frame["fd_digits_std"] > 0).all()
    assert (frame["network_s_median"] < frame["latency_s_median"]).all()
    assert all(len(times) == 3 and min(times) > 0 for times in frame["latency_s"])  # one call a round
    assert (frame["timed_batch"] == 16).all()
    assert heard.evaluations == heard.planned_evaluations == (40 + 3 * 16) * (6 + 2 + 3 + 3 + 5)
    assert set(heard.timed_cells) == {cell for cell, _, _ in heard.records}
    assert all((whole.path / "cells" / f"{name}.png").is_file() for name in frame["id"])


def test_a_second_run_keeps_what_is_there_and_measures_only_what_is_new(whole: _Finished, tmp_path: Path) -> None:
    run = whole.copy(tmp_path / "run")
    before = {path.name: path.stat().st_mtime_ns for path in (run / "cells").glob("*.json")}
    outcome, _, _ = _run(_study(steps=[2, 4]), run)
    assert (outcome.measured, outcome.kept) == (2, 3)
    assert all((run / "cells" / name).stat().st_mtime_ns == then for name, then in before.items())
    outcome, _, _ = _run(_study(steps=[2]), run, force=True)
    assert (outcome.measured, outcome.kept) == (3, 0)


def test_quality_is_the_same_whatever_the_batch(whole: _Finished, tmp_path: Path) -> None:
    _, _, frame = _run(_study(batch=7, samplers=["ddim"]), tmp_path)
    assert list(frame["sampler"]) == ["ddpm", "ddim", "ddim"]
    pd.testing.assert_frame_equal(frame[_QUALITY], whole.frame[:3][_QUALITY], rtol=1e-3)


def test_a_broken_record_is_measured_again_and_the_others_are_kept_and_a_newer_one_is_refused(
    whole: _Finished, tmp_path: Path
) -> None:
    """One is cut short, one has a digit changed, one says nothing wrong but is of another cell."""
    frame, run = whole.frame, whole.copy(tmp_path / "run")
    cut, digit, other = (run / "cells" / f"{name}.json" for name in frame["id"][:3])
    cut.write_text(cut.read_text()[:100])
    digit.write_text(digit.read_text().replace('"fd_digits": ', '"fd_digits": 1'))
    record = json.loads(other.read_text()) | {"steps": 7}
    other.write_text(json.dumps({key: value for key, value in record.items() if not key.startswith("sha256_of")}))
    outcome, _, again = _run(_study(), run)
    assert (outcome.measured, outcome.kept) == (3, 2)
    pd.testing.assert_frame_equal(frame[_QUALITY], again[_QUALITY])
    assert all(path.with_suffix(".broken").exists() for path in (cut, digit, other))
    for path in (cut, run / "study.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": SCHEMA + 1}))
        before = {each: each.read_bytes() for each in run.rglob("*.*") if each.is_file()}
        with pytest.raises(NewerRun, match="a newer version has written it"):
            _run(_study(), run)
        assert {each: each.read_bytes() for each in run.rglob("*.*") if each.is_file()} == before


_SAID = {
    "raises": "RuntimeError: a sampler broke (tests/running/test_runner.py:",
    "nan": "BadSamples: 16 of 16 images of a batch hold NaN or Inf",
    "shape": "BadSamples: expected torch.float32 of shape (16, 1, 8, 8)",
    "dtype": "the sampler returned torch.float64",
    "negative": "sampler 'odd[how=negative]': nfe() gave -1; expected a whole number from 0 on, or None",
    "text": "nfe() gave '1'; expected a whole number from 0 on, or None (tests/running/test_runner.py:",
    "nothing": "BadSamples: expected a tensor of shape (16, 1, 8, 8), the sampler returned a NoneType",
    "nan-nfe": "nfe(): NotPlain: nan is no finite number (tests/running/test_runner.py:",
    "file": "OSError: [Errno 28] No space left on device (tests/running/test_runner.py:",
    "exit": "SystemExit: 0 (tests/running/test_runner.py:",
    "words": "_Unprintable: (its words cannot be had: to print it raises SystemExit) (tests/running/test_runner.py:",
}


@pytest.mark.usefixtures("odd")
def test_a_cell_that_fails_is_recorded_and_the_others_go_on_whatever_its_sampler_does(tmp_path: Path) -> None:
    study = _study(samplers=[*(f"odd[how={how}]" for how in _SAID), "ddim"], steps=[2])
    outcome, _, frame = _run(study, tmp_path)
    assert (outcome.measured, outcome.failed, outcome.untimed) == (2, len(_SAID), 0)
    rows = frame.set_index("sampler")
    for how, said in _SAID.items():
        failed = rows.loc[SAMPLERS.spec_of(_Odd(how))]
        assert failed["status"] == "failed"
        assert said in failed["error"]
        assert failed[[*_QUALITY, "latency_s_median"]].isna().all()
        assert "Traceback" in (tmp_path / "cells" / f"{failed['id']}.traceback.txt").read_text()
    outcome, _, _ = _run(study, tmp_path)  # only the failed ones are tried again
    assert (outcome.kept, outcome.failed) == (2, len(_SAID))


@pytest.mark.usefixtures("odd")
def test_evaluations_are_charged_as_the_network_saw_them_and_declared_in_a_number_of_numpys_they_are_recorded(
    tmp_path: Path,
) -> None:
    outcome, _, frame = _run(_study(samplers=["odd[how=undercounts]", "odd[how=numpy]"], steps=[2]), tmp_path)
    assert outcome.failed == 0
    rows = frame.set_index("sampler")
    row = rows.loc["odd[how=undercounts]"]
    assert (row["nfe"], row["nfe_declared"]) == (2, 1)
    assert row["note"] == "the sampler declares 1 evaluation an image, but made 2"
    name = rows.loc["odd[how=numpy]"]["id"]
    record = json.loads((tmp_path / "cells" / f"{name}.json").read_text())
    assert (record["nfe_declared"], record["nfe"]) == (1, 1.0)


def test_what_cannot_be_written_ends_the_run_and_fails_no_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a cell, at its preview, and at its record."""

    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    study = parse_study(_STUDY.replace("images", 'metrics = ["solver_error"]\nimages', 1), "test", Overrides(images=16))
    monkeypatch.setattr("bench.running.solution.STEPS", 2)
    for place in (
        "models.common.kept.save_sealed",
        "bench.running.recording.save_preview",
        "bench.sealed_json.write_json",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, full)
            with pytest.raises(OSError, match="No space left on device"):
                _run(study, tmp_path)
        assert not list((tmp_path / "cells").glob("*.attempts"))
        records = [json.loads(path.read_text()) for path in (tmp_path / "cells").glob("*.json")]
        assert all(record["status"] == "ok" for record in records)


@pytest.mark.parametrize("steps", [1001, 2000])
def test_steps_that_the_schedule_does_not_have_end_the_run_before_anything_is_written(
    tmp_path: Path, steps: int
) -> None:
    with pytest.raises(UsageError, match=f"cannot place {steps} steps; expected 1 to 1000"):
        _run(_study(steps=[steps]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_killed_again_and_again_ends_as_if_it_never_was(whole: _Finished, tmp_path: Path) -> None:
    """`kill -9` at random moments, also between rounds of timing: what is finished stays, quality is the same."""
    folder, moments = tmp_path / "killed" / "cells", random.Random(0)
    done: dict[str, Record] = {}

    def finished() -> dict[str, Record]:
        return {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}

    def wait_for_a_cell() -> bool:
        return len(list(folder.glob("*.json"))) > len(done)

    def wait_for_a_round() -> bool:
        return any("timing_rounds" in record for record in finished().values())

    for enough in (wait_for_a_cell, wait_for_a_round):
        with forked(lambda: _run(_study(), tmp_path / "killed")) as ended:
            while not enough() and not ended():
                time.sleep(0.01)
            time.sleep(moments.uniform(0, 0.05))
        now = finished()
        assert all(now[name]["finished"] == record["finished"] for name, record in done.items())
        done = now
    after, _, killed = _run(_study(), tmp_path / "killed")
    assert after.kept == len(done) >= 2
    pd.testing.assert_frame_equal(killed[_QUALITY], whole.frame[_QUALITY])
    assert not list(folder.glob("*.attempts"))
    for name, record in finished().items():
        before = done.get(name, record)
        assert (record["status"], record["finished"]) == ("ok", before["finished"])
        assert record["timing_rounds"] == len(record["latency_s"]) == 3
        timed = before.get("latency_s", [])
        assert record["latency_s"][: len(timed)] == timed
