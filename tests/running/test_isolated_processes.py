"""The real thing: workers that are processes, in which samplers crash, exit, fill the memory and raise."""

import tempfile
from pathlib import Path

import psutil
import pytest
from commands import Cli
from worker_runs import only, worker_study

from bench.purity.plugins import load_plugins
from bench.record import RunFolder

_PLUGIN = """
import ctypes, os
from dataclasses import dataclass
from samplers.ddim import DDIM
from samplers.registry import register

calls = 0

def fifth():
    global calls
    calls += 1
    if calls == 5:
        os._exit(0)

def fill():
    import torch
    torch.ones(2**50, dtype=torch.uint8)

def fail():
    raise ValueError("no")

for name, act in {
    "segfaults": lambda: ctypes.string_at(0), "exits-in-its-fifth-call": fifth, "fills": fill, "raises": fail,
    "exits": lambda: exit(3),
}.items():
    def sample(self, *given, act=act):
        act()
        return DDIM.sample(self, *given)
    register(name)(dataclass(frozen=True)(type("Of", (DDIM,), {"sample": sample, "__module__": __name__})))
"""


def test_a_run_whose_processes_crash_and_end_has_all_other_cells(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real thing; it leaves no process and no folder."""
    monkeypatch.setattr("bench.cli.reporting.report.FORMATS", ("md",))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    plugin, out = tmp_path / "plugin.py", tmp_path / "run"
    plugin.write_text(_PLUGIN)
    lost = {
        "segfaults": ("it killed its process (SIGSEGV)", "ctypes"),
        "fills": ("RuntimeError: ", "in fill"),
        "raises": ("ValueError: no (", "in fail"),
        "exits": ("SystemExit: 3 (", "plugin.py"),
    }
    whole = ["ddpm", "exits-in-its-fifth-call"]
    given = ["--out", out, "--isolate", "--threads", 1, "--plugin", plugin]
    load_plugins([plugin])
    study = worker_study(tmp_path, [*lost, *whole], images=20, metrics=["law"], timing={"repeats": 3, "seconds": 0.0})
    cli("run", study, *given, status=1)
    for sampler, (error, trace) in lost.items():
        record = only(out, sampler)
        assert (record["status"], record["error"][: len(error)]) == ("failed", error)
        assert trace in RunFolder(out).traceback(record["id"]).read_text()
    assert {only(out, sampler)["status"] for sampler in whole} == {"ok"}
    assert only(out, "ddpm")["timing_rounds"] == only(out, "ddim")["timing_rounds"] == 3
    note = only(out, "exits-in-its-fifth-call")["timing_note"]
    assert note == "timing failed: it ended its process, with status 0"
    assert not list((tmp_path / "temporary").iterdir())
    assert not [each for each in psutil.Process().children() if "popen_loky" in " ".join(each.cmdline())]
