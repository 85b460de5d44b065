"""Runs whose cells are measured by workers: a crash costs one cell, and records do not depend on where they were made.

Most of these workers are in this process, so that none has to be started; what processes do is tested apart.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import Cli
from torch import Tensor
from worker_runs import Here, only, worker_study

from bench.record import Record, RunFolder
from bench.report.data.runs import TIMES
from bench.running.executors.crew import Died, TookTooLong
from bench.running.executors.messages import Job
from bench.running.executors.worker import Worker
from models.fitted import FitModel
from samplers.dpm_solver_v3 import DPMSolverV3

_EACH_RUN = {*TIMES, "command", "finished", "load_average_1min", "timing_watches", "made_on", "fit_s"}
"""Columns that no two runs have alike."""


def _measured(path: Path) -> dict[str, Record]:
    """The records of a run, without what differs from one run to the next."""
    return {
        each["id"]: {key: value for key, value in each.items() if key not in _EACH_RUN}
        for each in RunFolder(path).records()
    }


def _on(method: Callable[..., object], sampler: str, error: Exception, after: int = 0) -> Callable[..., None]:
    """Something happens to whoever does that for a sampler, after so many times that nothing does."""
    seen = [0]

    def before(function: Callable[..., object], *given: object) -> None:
        if function is method and isinstance(given[0], Job) and given[0].cell.sampler == sampler:
            seen[0] += 1
            if seen[0] > after:
                raise error

    return before


_TIMED = {"repeats": 5, "seconds": 0.0}


def test_records_are_those_of_a_run_in_one_process(cli: Cli, tmp_path: Path, here: type[Here]) -> None:
    """With a fit, the exact flow and rounds of timing; who made the images is a column."""
    study = worker_study(tmp_path, timing=_TIMED)
    cli("run", study, "--out", tmp_path / "a")
    cli("run", study, "--out", tmp_path / "b", "--isolate")
    plain, apart = _measured(tmp_path / "a"), _measured(tmp_path / "b")
    assert here.started == 1
    assert plain.keys() == apart.keys()
    for name, record in plain.items():
        assert {key: each for key, each in record.items() if apart[name].get(key) != each} == {}
        assert record.keys() == apart[name].keys()
    assert {tuple(each["made_on"].items()) for each in RunFolder(tmp_path / "b").records()} == {(("cpu", 50),)}


@pytest.mark.parametrize("first", ["in one process", "by workers"])
def test_images_that_grow_go_on_where_others_were_made(
    cli: Cli, tmp_path: Path, here: type[Here], monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """A run ends after its first look, and goes on elsewhere: what was kept is taken from there."""
    more: dict[str, Any] = {"images": {"from": 20, "to": 80}, "until": "decided", "timing": {"repeats": 0}}
    study = worker_study(tmp_path, ["ddpm", "heun"], steps=[9], baseline="ddpm", baseline_steps=10, **more)
    with monkeypatch.context() as patch:
        patch.setattr("bench.running.runner._Run._left", lambda run, number: {})
        cli("run", study, "--out", tmp_path / "a", *([] if first == "in one process" else ["--isolate"]))
    made = list[range]()

    def before(function: Callable[..., object], *given: Any) -> None:
        if function is Worker.measure and given[1] is not None:
            made.append(given[1])

    monkeypatch.setattr(here, "before", staticmethod(before))
    cli("run", study, "--out", tmp_path / "a", *(["--isolate"] if first == "in one process" else []))
    assert all(each.start >= 20 for each in made)
    assert bool(made) == (first == "in one process")
    cli("run", study, "--out", tmp_path / "b")
    found, expected = _measured(tmp_path / "a"), _measured(tmp_path / "b")
    assert found.keys() == expected.keys()
    for name, record in expected.items():
        for key in ("nfe", "law_fd", "law_occupancy", "law_nearest_rmse", "solver_rmse", "images"):
            value = record.get(key)
            assert found[name].get(key) == (value if value is None else pytest.approx(value, rel=1e-12)), key


def test_a_worker_that_ends_or_hangs_costs_its_cell_and_the_next_run_measures_it(
    cli: Cli, tmp_path: Path, here: type[Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often that was so before: it harms nobody. What has succeeded is not held against it afterwards."""
    study, out = worker_study(tmp_path, ["ddpm", "heun"], metrics=["law"]), tmp_path / "run"
    for error, said in (
        (Died("killed its process (SIGSEGV)", "Fatal Python error: ..."), "it killed its process (SIGSEGV)"),
        (Died("ended its process, with status 0"), "it ended its process, with status 0"),
        (TookTooLong("took longer than 3 s (timeout)", "in hang"), "it took longer than 7 s (timeout)"),
    ):
        monkeypatch.setattr(here, "before", staticmethod(_on(Worker.measure, "ddpm", error)))
        cli("run", study, "--out", out, "--timeout", 7, status=1)
        record = only(out, "ddpm")
        assert (record["status"], record["error"]) == ("failed", said)
        trace = RunFolder(out).traceback(record["id"])
        assert (trace.read_text() if trace.is_file() else None) == error.trace
        assert only(out, "heun")["status"] == "ok"
    assert len(RunFolder(out).cells.joinpath(f"{record['id']}.attempts").read_text().splitlines()) == 2
    shown = cli("run", study, "--out", out, status=1)  # in this process it would be the third time
    assert "killed the process twice: run it with --isolate" in shown.err + shown.out
    assert "killed the process twice: run it with --isolate" in only(out, "ddpm")["error"]
    monkeypatch.setattr(here, "before", staticmethod(lambda *given: None))
    cli("run", study, "--out", out, "--isolate")
    assert only(out, "ddpm")["status"] == "ok"
    assert not list(RunFolder(out).cells.glob("*.attempts"))
    assert not list(RunFolder(out).cells.glob("*.traceback.txt"))


def test_a_worker_that_ends_or_hangs_in_a_round_of_timing_costs_the_times_alone(
    cli: Cli, tmp_path: Path, here: type[Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, out = worker_study(tmp_path, ["ddpm", "heun"], metrics=["law"], timing=_TIMED), tmp_path / "run"
    hung = TookTooLong("took longer than 9 s (timeout)", "in hang")
    crashed = Died("killed its process (SIGSEGV)", "in segfault")
    for error, notes in ((hung, 0), (crashed, 1)):
        monkeypatch.setattr(here, "before", staticmethod(_on(Worker.visit, "ddpm", error, after=2)))
        cli("run", study, "--out", out, "--timeout", 9, status=1)
        record = only(out, "ddpm")
        assert record["status"] == "ok"
        assert (record["timing_valid"], record["timing_note"]) == (False, f"timing failed: it {error.how}")
        assert RunFolder(out).traceback(record["id"]).read_text() == error.trace
        assert len(list(RunFolder(out).cells.glob("*.attempts"))) == notes
        assert only(out, "heun")["timing_rounds"] == 5
    assert here.started == 3  # nobody is left to be timed after the second death
    monkeypatch.setattr(here, "before", staticmethod(lambda *given: None))
    cli("run", study, "--out", out, "--isolate")
    record = only(out, "ddpm")
    assert (record["timing_rounds"], "failed" in (record["timing_note"] or "")) == (5, False)
    assert {path.suffix for path in RunFolder(out).cells.glob(f"{record['id']}*")} == {".json", ".png"}


def test_what_hangs_or_ends_while_a_fit_is_made_lets_nobody_wait_for_it(
    cli: Cli, tmp_path: Path, here: type[Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each cell that needs it tries again; the others do not notice."""
    study, out = worker_study(tmp_path, ["ddpm[variance=analytic]"], metrics=["law"], seeds=[0, 1]), tmp_path / "run"
    for error in (TookTooLong("took longer"), Died("ended its process, with status 3")):
        monkeypatch.setattr(here, "before", staticmethod(_on(Worker.work_out, "ddpm[variance=analytic]", error)))
        cli("run", study, "--out", out, "--timeout", 5, status=1)
        assert sum(each["status"] == "failed" for each in RunFolder(out).records()) == 2
    monkeypatch.setattr(here, "before", staticmethod(lambda *given: None))
    cli("run", study, "--out", out, "--isolate")


def test_workers_share_the_fit_of_a_sampler_whose_grid_is_fitted_too(
    cli: Cli, tmp_path: Path, here: type[Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in one process: one fit of the sampler for all steps, and one of its grid for each; all are kept for all."""
    made, actual = list[int](), DPMSolverV3.fit

    def spy(sampler: DPMSolverV3, model: FitModel) -> dict[str, Tensor]:
        made.append(model.steps)
        return actual(sampler, model)

    monkeypatch.setattr(DPMSolverV3, "fit", spy)
    study = worker_study(tmp_path, ["dpm-solver-v3[images=16,nodes=8]"], metrics=["law"], steps=[3, 4])
    grid = "fit-grid[images=8,held_out=8,iterations=1]"
    cli("run", study, "--grids", grid, "--out", tmp_path / "run", "--isolate")
    assert len(made) == 1
    assert len(list((tmp_path / "run" / "fits").glob("*.safetensors"))) == 3


def test_a_timeout_tells_no_records_apart(cli: Cli, tmp_path: Path, here: type[Here]) -> None:
    """In the study or on the command line: what was measured without one is kept, and the other way round."""
    study, out = worker_study(tmp_path, ["ddpm"], metrics=["law"]), tmp_path / "run"
    cli("run", study, "--out", out)
    before = {path: path.read_bytes() for path in out.glob("cells/*.json")}
    cli("run", study, "--out", out, "--timeout", 60)
    worker_study(tmp_path, ["ddpm"], metrics=["law"], timeout=60.0)
    cli("run", study, "--out", out)
    assert {path: path.read_bytes() for path in out.glob("cells/*.json")} == before
    cli("run", study, "--out", tmp_path / "other")
    assert here.started == 3
    worker_study(tmp_path, ["ddpm"], metrics=["law"])
    before = {path: path.read_bytes() for path in (tmp_path / "other").glob("cells/*.json")}
    cli("run", study, "--out", tmp_path / "other")
    assert {path: path.read_bytes() for path in (tmp_path / "other").glob("cells/*.json")} == before


def test_a_dry_run_starts_no_worker_whatever_the_timeout(cli: Cli, tmp_path: Path, here: type[Here]) -> None:
    said = cli("run", worker_study(tmp_path, metrics=["law"]), "--dry-run", "--timeout", 5, "--isolate").out
    assert "evaluations" in said
    assert here.started == 0


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "1e9", "soon"])
def test_a_timeout_is_a_time(cli: Cli, tmp_path: Path, value: str) -> None:
    assert "--timeout" in cli("run", worker_study(tmp_path), "--timeout", value, status=2).err
    if value != "soon":
        (tmp_path / "study.toml").write_text(f"timeout = {value}\n{(tmp_path / 'study.toml').read_text()}")
        assert "timeout" in cli("run", tmp_path / "study.toml", "--dry-run", status=2).err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--devices", "cpu,cpu", "--threads", "64"], "2 workers of 64 threads each on "),
        (["--devices", "cpu,gpu"], "unknown device 'gpu'"),
        (["--devices", "cuda:7"], "unknown device 'cuda:7'"),
        (["--devices", "cpu,"], "unknown device ''"),
        (["--accelerator", "H100"], "name one with --ray"),
    ],
)
def test_devices_that_are_not_there_are_refused(cli: Cli, tmp_path: Path, given: list[str], said: str) -> None:
    assert said in cli("run", worker_study(tmp_path), "--out", tmp_path / "run", *given, status=2).err
    assert not (tmp_path / "run").exists()


def test_all_gpus_are_the_cpu_where_there_is_none(
    cli: Cli, tmp_path: Path, here: type[Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    cli("run", worker_study(tmp_path, ["ddpm"], metrics=["law"]), "--out", tmp_path / "run", "--devices", "auto")
    assert only(tmp_path / "run", "ddpm")["made_on"] == {"cpu": 50}


def test_a_disk_that_is_full_ends_the_run_and_its_workers_and_it_goes_on_afterwards(
    cli: Cli, tmp_path: Path, here: type[Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, out = worker_study(tmp_path, ["ddpm", "heun"], metrics=["law"]), tmp_path / "run"
    real, written = os.fsync, list[int]()

    def full(file: int) -> None:
        written.append(file)
        if len(written) > 6:
            raise OSError(28, "No space left on device")
        real(file)

    with monkeypatch.context() as patch:
        patch.setattr("models.common.writing.os.fsync", full)
        shown = cli("run", study, "--out", out, "--isolate", status=2)
    assert "No space left on device" in shown.err
    assert "what is finished is kept" in shown.err
    assert str(out / "cells") in shown.err
    assert not list(out.rglob("*.tmp"))
    cli("run", study, "--out", out, "--isolate")
    assert {each["status"] for each in RunFolder(out).records()} == {"ok"}
    assert len(RunFolder(out).records()) == 3
