"""A guidance in an interval that no cell walks is told before the run, as its rows are the unguided model's."""

from pathlib import Path

import pytest

from bench.cli.app import run
from bench.study.file import parse_study
from bench.study.idle import idle_guidances
from bench.study.overrides import Overrides
from bench.study.study import Study

_STUDY = """
name = "idle"
title = "Idle"
model = "digits-conditional"
images = 16
batch = 16
metrics = ["solver_error"]
timing = { repeats = 0 }
guidance = ["none", "GUIDANCE"]
baseline = { sampler = "ddim", grid = "trailing", steps = 2 }
[[block]]
samplers = ["ddim"]
grids = ["trailing"]
steps = [2, 4]
"""


def _study(guidance: str) -> Study:
    return parse_study(_STUDY.replace("GUIDANCE", guidance), "test", Overrides())


@pytest.mark.parametrize(
    ("guidance", "idle"),
    [
        ("cfg[scale=2]", False),
        ("cfg[scale=2,low=0.5,high=300]", False),
        ("cfg[scale=2,low=500,high=600]", True),
        ("cfg[scale=2,low=0.0001,high=0.0002]", True),
        ("cfg[scale=1,low=500,high=600]", False),
    ],
)
def test_a_guidance_whose_interval_holds_no_level_of_any_of_its_cells_is_told(guidance: str, idle: bool) -> None:
    lines = idle_guidances(_study(guidance))
    assert len(lines) == idle
    assert all("no level of its cells' grids lies there" in each for each in lines)


def test_a_dry_run_tells_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "idle.toml"
    path.write_text(_STUDY.replace("GUIDANCE", "cfg[scale=2,low=500,high=600]"))
    assert run(str(path), dry_run=True, out=tmp_path / "out") == 0
    assert "guides where sigma/alpha is in (500, 600], and no level" in " ".join(capsys.readouterr().err.split())
