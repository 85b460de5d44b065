"""Timed calls make the images that were scored, or their times are none."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import torch
from quiet import Quiet
from torch import Tensor
from two_faced import CALLS, TwoFaced

from bench.quality.images import preview_kind, preview_size, read_preview, save_preview, shown
from bench.record import RunFolder
from bench.running.runner import Outcome, run_study
from bench.running.session import Session
from bench.study.file import parse_study
from bench.study.overrides import Overrides
from models.denoiser import Denoiser
from models.schedule import Level
from samplers import Noise, register
from samplers.ddim import DDIM

_STUDY = """
name = "test"
title = "Test"
model = "digits-mixture"
metrics = ["law"]
images = 24
batch = 8
timing = { repeats = 2, seconds = 0.0, batches = [2, 16] }
device = "cpu"
baseline = { sampler = "ddim", grid = "trailing", steps = 3 }
[[block]]
samplers = ["SAMPLER"]
grids = ["trailing"]
steps = [3]
"""


@pytest.fixture(autouse=True)
def two_faced(registered: None) -> None:
    register("two-faced")(TwoFaced)
    CALLS.clear()


def _run(path: Path, sampler: str, change: tuple[str, str] = ("", "")) -> tuple[Outcome, pd.DataFrame]:
    study = parse_study(_STUDY.replace("SAMPLER", sampler).replace(*change), "test", Overrides())
    folder = RunFolder(path)
    outcome = run_study(study, Session.load(study), folder, force=False, progress=Quiet())
    return outcome, folder.load().set_index("sampler")


@pytest.mark.parametrize("spec", ["two-faced[after=6]", "two-faced[batch=2]", "two-faced[batch=16]"])
def test_a_sampler_that_makes_other_images_when_it_is_timed_has_no_times(tmp_path: Path, spec: str) -> None:
    outcome, frame = _run(tmp_path, spec)
    assert outcome == Outcome(measured=2, untimed=1)
    row = frame.loc[spec]
    assert not row["timing_valid"]
    said = f"timing failed: OtherImages: {spec} made other images in a timed call of"
    assert said in row["timing_note"]
    assert frame.loc["ddim", "timing_rounds"] == 2


def test_images_of_timed_calls_have_to_be_images(tmp_path: Path) -> None:
    spec = "two-faced[batch=16,nan=true]"
    assert _run(tmp_path, spec)[0] == Outcome(measured=2, untimed=1)


def test_what_an_earlier_process_scored_is_compared_and_where_it_is_gone_that_is_said(tmp_path: Path) -> None:
    spec = "two-faced[after=5]"  # the images of a run, and the first again twice
    assert _run(tmp_path, spec, ("repeats = 2", "repeats = 0"))[0] == Outcome(measured=2)
    for preview in (tmp_path / "cells").glob("*.png"):
        preview.rename(preview.with_suffix(".gone"))
    outcome, frame = _run(tmp_path, spec, ("repeats = 2", "repeats = 1"))
    assert outcome == Outcome(kept=2)
    assert frame["note"].str.contains("timed images were not compared with those that were scored").all()
    for gone in (tmp_path / "cells").glob("*.gone"):
        gone.rename(gone.with_suffix(".png"))
    outcome, frame = _run(tmp_path, spec)
    assert outcome == Outcome(kept=2, untimed=1)
    assert "OtherImages" in frame.loc[spec, "timing_note"]  # type: ignore[operator]
    assert frame["note"].str.count("not compared").eq(1).all()  # of that round


_GENERATOR = torch.Generator()
_LAST: dict[torch.Size, Tensor] = {}


@dataclass(frozen=True)
class Keeps(DDIM):
    """DDIM with something kept outside of it from call to call.

    Attributes:
        what: a "generator" of noise, or the "last" output of states of a shape.
    """

    what: str = ""

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        found = super().step(model, x, t, s, noise)
        if self.what == "generator":
            return found + 0.2 * s.alpha * torch.randn(x.shape, generator=_GENERATOR)
        before, _LAST[x.shape] = _LAST.get(x.shape, found), found
        return 0.7 * found + 0.3 * before


@pytest.mark.parametrize("timing", ["repeats = 0", "repeats = 2"])
@pytest.mark.parametrize("what", ["generator", "last"])
def test_images_that_depend_on_what_ran_before_fail_their_cell_timed_or_not(
    tmp_path: Path, what: str, timing: str
) -> None:
    register("keeps")(Keeps)
    _LAST.clear()
    outcome, frame = _run(tmp_path, f"keeps[what={what}]", ("repeats = 2", timing))
    assert (outcome.measured, outcome.failed) == (1, 1)
    said = str(frame.loc[f"keeps[what={what}]", "error"])
    assert said.startswith(f"OtherImages: keeps[what={what}] made other images")
    assert "they depend on what ran before, or on the batch" in said


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 4, 6), (4, 4, 6), (2, 3, 5), (20, 3, 3), (2, 1, 1), (5, 1, 1)])
def test_a_preview_is_read_as_it_was_shown(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images: Tensor = torch.randint(0, 256, (preview_size(shape), *shape), dtype=torch.uint8)
    images = images[: 7 if preview_kind(shape) != "points" else 70]
    save_preview(images, tmp_path / "preview.png")
    read = read_preview(tmp_path / "preview.png", len(images), shape)
    assert torch.equal(read, shown(images))
    with pytest.raises((ValueError, RuntimeError)):
        read_preview(tmp_path / "preview.png", len(images) + 1, shape)
