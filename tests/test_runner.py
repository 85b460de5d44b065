"""Runs: what is finished is kept, what fails is recorded and stops nobody else, and NFE is what the network saw."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from bench.noise import ImageNoise
from bench.plan import Cell
from bench.record import SCHEMA, NewerRun, Record, RunFolder
from bench.rig import Rig
from bench.runner import Outcome, run_study
from bench.study import Study
from bench.study_file import Overrides, load_study, parse_study
from models.denoiser import Denoiser
from models.errors import UsageError
from models.grids import GRIDS
from models.networks import IndexedUNet
from models.schedule import Level
from models.zoo import load_model
from samplers import SAMPLERS, Noise, Sampler, register

_ROOT = Path(__file__).parent.parent
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
    outcome = run_study(study, Rig.load(study), folder, force, heard)
    return outcome, heard, folder.load()


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


def test_a_run_records_every_cell_with_measured_cost_and_quality(tmp_path: Path) -> None:
    outcome, heard, frame = _run(_study(), tmp_path / "run")
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
    assert all((tmp_path / "run" / "cells" / f"{name}.png").is_file() for name in frame["id"])


def test_a_second_run_keeps_what_is_there_and_measures_only_what_is_new(tmp_path: Path) -> None:
    _run(_study(), tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cells").glob("*.json")}
    outcome, _, _ = _run(_study(steps=[2, 4]), tmp_path)
    assert (outcome.measured, outcome.kept) == (2, 3)
    assert all((tmp_path / "cells" / name).stat().st_mtime_ns == then for name, then in before.items())
    outcome, _, _ = _run(_study(), tmp_path, force=True)
    assert (outcome.measured, outcome.kept) == (5, 0)


def test_quality_is_the_same_whatever_the_batch(tmp_path: Path) -> None:
    frames = [_run(_study(batch=batch, samplers=["ddim", "ddpm"]), tmp_path / str(batch))[2] for batch in (7, 40)]
    pd.testing.assert_frame_equal(frames[0][_QUALITY], frames[1][_QUALITY], rtol=1e-3)


def test_a_broken_record_is_measured_again_and_the_others_are_kept_and_a_newer_one_is_refused(tmp_path: Path) -> None:
    """One is cut short, one has a digit changed, one says nothing wrong but is of another cell."""
    _, _, frame = _run(_study(), tmp_path)
    cut, digit, other = (tmp_path / "cells" / f"{name}.json" for name in frame["id"][:3])
    cut.write_text(cut.read_text()[:100])
    digit.write_text(digit.read_text().replace('"fd_digits": ', '"fd_digits": 1'))
    record = json.loads(other.read_text()) | {"steps": 7}
    other.write_text(json.dumps({key: value for key, value in record.items() if not key.startswith("sha256_of")}))
    outcome, _, again = _run(_study(), tmp_path)
    assert (outcome.measured, outcome.kept) == (3, 2)
    pd.testing.assert_frame_equal(frame[_QUALITY], again[_QUALITY])
    assert all(path.with_suffix(".broken").exists() for path in (cut, digit, other))
    for path in (cut, tmp_path / "study.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": SCHEMA + 1}))
        before = {each: each.read_bytes() for each in tmp_path.rglob("*.*") if each.is_file()}
        with pytest.raises(NewerRun, match="a newer version has written it"):
            _run(_study(), tmp_path)
        assert {each: each.read_bytes() for each in tmp_path.rglob("*.*") if each.is_file()} == before


@pytest.mark.usefixtures("odd")
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raises", "RuntimeError: a sampler broke (tests/test_runner.py:"),
        ("nan", "BadSamples: 16 of 16 images of a batch hold NaN or Inf"),
        ("shape", "BadSamples: expected torch.float32 of shape (16, 1, 8, 8)"),
        ("dtype", "the sampler returned torch.float64"),
        ("negative", "sampler 'odd[how=negative]': nfe() gave -1; expected a whole number from 0 on, or None"),
        ("text", "nfe() gave '1'; expected a whole number from 0 on, or None (tests/test_runner.py:"),
    ],
)
def test_a_cell_that_fails_is_recorded_and_the_others_go_on(tmp_path: Path, how: str, said: str) -> None:
    study = _study(samplers=[f"odd[how={how}]", "ddim"], steps=[2])
    outcome, _, frame = _run(study, tmp_path)
    assert (outcome.measured, outcome.failed) == (2, 1)
    failed = frame[frame["status"] == "failed"].iloc[0]
    assert said in failed["error"]
    assert failed[[*_QUALITY, "latency_s_median"]].isna().all()
    assert "Traceback" in (tmp_path / "cells" / f"{failed['id']}.traceback.txt").read_text()
    outcome, _, _ = _run(study, tmp_path)  # only the failed one is tried again
    assert (outcome.kept, outcome.failed) == (2, 1)


@pytest.mark.usefixtures("odd")
def test_a_sampler_that_declares_too_few_evaluations_is_charged_what_the_network_saw(tmp_path: Path) -> None:
    _, _, frame = _run(_study(samplers=["odd[how=undercounts]"], steps=[2]), tmp_path)
    row = frame.iloc[-1]
    assert (row["nfe"], row["nfe_declared"]) == (2, 1)
    assert row["note"] == "the sampler declares 1 evaluations an image, but made 2"


_ODDER = {
    "nothing": "BadSamples: expected a tensor of shape (16, 1, 8, 8), the sampler returned a NoneType",
    "nan-nfe": "nfe(): NotPlain: nan is no finite number (tests/test_runner.py:",
    "file": "OSError: [Errno 28] No space left on device (tests/test_runner.py:",
    "exit": "SystemExit: 0 (tests/test_runner.py:",
    "words": "_Unprintable: (its words cannot be had: to print it raises SystemExit) (tests/test_runner.py:",
}


@pytest.mark.usefixtures("odd")
def test_nothing_that_a_sampler_raises_ends_a_run(tmp_path: Path) -> None:
    samplers = [f"odd[how={how}]" for how in _ODDER]
    outcome, _, frame = _run(_study(samplers=[*samplers, "ddim"], steps=[2]), tmp_path)
    assert (outcome.measured, outcome.failed, outcome.untimed) == (2, len(_ODDER), 0)
    errors = frame.set_index("sampler")["error"]
    for how, said in _ODDER.items():
        assert said in errors[f"odd[how={how}]"]


@pytest.mark.usefixtures("odd")
def test_evaluations_declared_in_a_number_of_numpys_are_recorded(tmp_path: Path) -> None:
    outcome, _, frame = _run(_study(samplers=["odd[how=numpy]"], steps=[2]), tmp_path)
    assert outcome.failed == 0
    record = json.loads((tmp_path / "cells" / f"{frame['id'].iloc[-1]}.json").read_text())
    assert (record["nfe_declared"], record["nfe"]) == (1, 1.0)


def test_what_cannot_be_written_ends_the_run_and_fails_no_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a cell, at its preview, and at its record."""

    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    study = parse_study(_STUDY.replace("images", 'metrics = ["solver_error"]\nimages', 1), "test", Overrides(images=16))
    monkeypatch.setattr("bench.solution.STEPS", 2)
    for place in ("bench.solution.save_sealed", "bench.runner.save_preview", "bench.record.write_json"):
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


@pytest.mark.parametrize("spec", [name for name in SAMPLERS.names() if name != "rk45"] + ["rk45[rtol=0.1,atol=0.1]"])
def test_images_of_a_seed_do_not_depend_on_the_batch(spec: str) -> None:
    """To 1e-9 with the digits network in float64; in float32 it differs by 1e-6 between batch sizes in itself."""
    model = load_model("digits", torch.device("cpu"))
    assert isinstance(model.network, IndexedUNet)
    model.network.unet.double()
    levels = GRIDS.make("trailing")(model.schedule, 6)

    def draw(numbers: Tensor) -> Tensor:
        noise = ImageNoise(0, numbers)
        x = noise(torch.empty(len(numbers), *model.card.shape, dtype=torch.float64))
        denoiser = Denoiser(model.network, model.card.parametrisation, model.schedule, model.card.clip)
        with torch.inference_mode():
            return SAMPLERS.make(spec).sample(denoiser, x, levels, noise)

    numbers = torch.arange(8 if spec.startswith("rk45") else 64)  # rk45 takes them one by one in any case
    whole = draw(numbers)
    for batch in (1, 7):
        parts = torch.cat([draw(part) for part in numbers[:7].split(batch)])
        torch.testing.assert_close(parts, whole[:7], rtol=0, atol=1e-9)


def test_a_run_that_is_killed_again_and_again_ends_as_if_it_never_was(tmp_path: Path) -> None:
    """`kill -9` at random moments, also between rounds of timing: what is finished stays, quality is the same."""
    study = tmp_path / "study.toml"
    study.write_text(_STUDY)
    command = [sys.executable, "run_bench.py", "run", str(study), "--out"]
    folder, moments = tmp_path / "killed" / "cells", random.Random(0)
    done: dict[str, Record] = {}

    def finished() -> dict[str, Record]:
        return {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}

    def wait_for_a_cell() -> bool:
        return len(list(folder.glob("*.json"))) > len(done)

    def wait_for_a_round() -> bool:
        return any("timing_rounds" in record for record in finished().values())

    for enough in (wait_for_a_cell, wait_for_a_round):
        run = subprocess.Popen([*command, str(tmp_path / "killed")], cwd=_ROOT, stderr=subprocess.DEVNULL)
        while not enough() and run.poll() is None:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.05))
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        now = finished()
        assert all(now[name]["finished"] == record["finished"] for name, record in done.items())
        done = now
    (after, _, killed), (_, _, whole) = (_run(load_study(str(study)), tmp_path / name) for name in ("killed", "whole"))
    assert after.kept == len(done) >= 2
    frames = [killed, whole]
    pd.testing.assert_frame_equal(frames[0][_QUALITY], frames[1][_QUALITY])
    assert not list(folder.glob("*.attempts"))
    for name, record in finished().items():
        before = done.get(name, record)
        assert (record["status"], record["finished"]) == ("ok", before["finished"])
        assert record["timing_rounds"] == len(record["latency_s"]) == 3
        timed = before.get("latency_s", [])
        assert record["latency_s"][: len(timed)] == timed


def test_a_published_value_finds_its_cell_where_there_is_no_range_to_clip_to(tmp_path: Path) -> None:
    """The two blocks' cells differ in clipping only, which the exact model has not: they are one."""
    text = _STUDY.replace('"digits"', '"digits-mixture"').replace('sampler = "ddpm"', 'sampler = "ddim"')
    block = '[[block]]\nsamplers = ["ddim"]\ngrids = ["trailing"]\nsteps = [6]\n'
    blocks = f'{block}published = {{ source = "a paper", column = "law_fd", values = [1.0] }}\n{block}clip = false\n'
    text = text.partition("[[block]]")[0].replace("batch = 16", 'batch = 16\nmetrics = ["law"]')
    outcome, _, _ = _run(parse_study(text + blocks, "test", Overrides()), tmp_path / "run")
    manifest = RunFolder(tmp_path / "run").manifest()
    assert outcome.measured == 1
    assert [entry["cell"] for entry in manifest["published"]] == manifest["cells"]
