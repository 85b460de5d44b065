"""A whole study in the modes of the device: every cell is measured and timed, and nothing is measured twice."""

import json
import subprocess
import sys
from pathlib import Path

import device_cells
import torch
from quiet import Quiet
from studies import study_toml

from bench.cli.app import app
from bench.record import Record, RunFolder
from bench.running.runner import Outcome, run_study
from bench.running.session import Session
from bench.study.study import Study

_ON_CUDA = ("fp32", "tf32", "bf16+channels_last+compile", "fp32+graph")
_ON_CPU = ("fp32", "bf16+channels_last")
_METRICS = ("fd", "kid", "inception_score", "precision_recall", "solver_error")


def _run(study: Study, folder: RunFolder) -> tuple[Outcome, list[Record]]:
    """What was done, and the records."""
    outcome = run_study(study, Session.load(study), folder, False, Quiet())
    records = [record for cell in folder.manifest()["cells"] if (record := folder.read(cell)) is not None]
    assert (outcome.failed, outcome.untimed) == (0, 0), [record["error"] for record in records]
    return outcome, records


def test_every_mode_of_a_study_is_measured_and_timed_and_a_second_run_measures_nothing(
    device: torch.device, tmp_path: Path
) -> None:
    modes, folder = _ON_CUDA if device.type == "cuda" else _ON_CPU, RunFolder(tmp_path)
    study = device_cells.study_of(device, modes, metrics=_METRICS)
    outcome, records = _run(study, folder)
    assert outcome.measured == len(records) == 1 + len(modes)  # the baseline in the first mode, DDIM in all
    assert {record["mode"] for record in records} == set(modes)
    for record in records:
        assert (record["status"], record["device"], record["timing_rounds"]) == ("ok", device.type, 2)
        assert all(record[name] > 0.0 for name in ("latency_s_median", "fd_digits", "evaluations_per_s"))
    if device.type == "cuda":
        _check_cuda(records)
    before = {path.name: path.read_bytes() for path in folder.cells.glob("*.json")}
    outcome, _ = _run(study, folder)
    assert (outcome.measured, outcome.kept) == (0, len(records))
    assert before == {path.name: path.read_bytes() for path in folder.cells.glob("*.json")}


def _check_cuda(records: list[Record]) -> None:
    """What is there on CUDA alone, and that modes are near one another, as they start from the same noise."""
    for record in records:
        assert record["device_name"] == torch.cuda.get_device_name()
        assert record["peak_mem_mib"] > 0.0
        assert len(record["device_s"]) == len(record["latency_s"]) == 2
        assert record["captured"] is (True if record["graph"] else None)
        assert (record["network_s_median"] is None) == record["graph"]  # nothing inside a replay can be clocked
        assert (record["compile_s"] is not None) == record["compile"]
    ddim = {record["mode"]: record for record in records if record["sampler"] == "ddim"}
    plain, graph, tf32 = (ddim[mode] for mode in ("fp32", "fp32+graph", "tf32"))
    assert abs(graph["fd_digits"] - plain["fd_digits"]) < 1e-3 * plain["fd_digits"]
    assert abs(graph["solver_rmse"] - plain["solver_rmse"]) < 1e-3
    assert abs(tf32["solver_rmse"] - plain["solver_rmse"]) < 0.05
    assert abs(ddim["bf16+channels_last+compile"]["solver_rmse"] - plain["solver_rmse"]) < 0.2


def test_images_beside_diffusers_are_the_same_pictures(device: torch.device, tmp_path: Path) -> None:
    modes = "fp32,fp32+graph" if device.type == "cuda" else "fp32"
    arguments = ["versus", "--samplers", "ddim", "--steps", "4", "--batch", "16", "--repeats", "1", "--modes", modes]
    arguments += ["--device", str(device), "--out", str(tmp_path / "versus.json")]
    assert app(arguments, exit_on_error=False, print_error=False, result_action="return_value") == 0
    found = json.loads((tmp_path / "versus.json").read_text())["sampling"]
    assert [each["mode"] for each in found if each["peer"] == "DDIMPipeline"] == modes.split(",")
    assert all(each["apart"] < 1.0 for each in found)  # grey levels of 255


_FROM_PYTHON = """
import sys, tomllib, torch, bench
run = bench.run(tomllib.loads(sys.argv[1]), {"device": sys.argv[2]}, out=sys.argv[3], quiet=True)
assert run.failed.empty and len(run.cells) == 1, run.failed
print(torch.cuda.is_initialized(), torch.cuda.is_initialized() and torch.cuda.current_device())
"""


def test_a_run_from_python_leaves_the_device_current_that_is_so_when_cuda_starts(
    device: torch.device, tmp_path: Path
) -> None:
    arguments = [study_toml(timing={"repeats": 0}), str(device), str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-c", _FROM_PYTHON, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == (["True", "0"] if device.type == "cuda" else ["False", "False"])
