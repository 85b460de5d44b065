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
from bench.running.same_images import places
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
        what: a "generator" of noise, the "last" output of states of a shape, or the first "noise" of these.
    """

    what: str = ""

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        found = super().step(model, x, t, s, noise)
        if self.what == "generator":
            return found + 0.2 * s.alpha * torch.randn(x.shape, generator=_GENERATOR)
        if self.what == "noise":
            return found + 0.4 * s.alpha * _LAST.setdefault(x.shape, torch.randn(x.shape, generator=_GENERATOR))
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


@pytest.mark.parametrize("mode", ["fp32", "bf16"])
def test_what_is_kept_from_call_to_call_is_seen_in_every_precision(tmp_path: Path, mode: str) -> None:
    """Noise by the place in a batch, which is the same in every call but for the order of the images."""
    register("keeps")(Keeps)
    _LAST.clear()
    law, other = 'digits-mixture"\nmetrics = ["law"]', f'digits"\nmetrics = ["fd"]\nmodes = ["{mode}"]'
    outcome, frame = _run(tmp_path, "keeps[what=noise]", (law, other))
    assert (outcome.measured, outcome.failed) == (1, 1)
    assert "made other images from one call to the next" in str(frame.loc["keeps[what=noise]", "error"])


@dataclass(frozen=True)
class LeavesTheEnd(DDIM):
    """DDIM that leaves the last images of a batch as they are, from a number on."""

    good: int = 4

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        return torch.cat([super().step(model, x, t, s, noise)[: self.good], x[self.good :]])


def test_images_at_the_end_of_a_batch_are_made_again_too(tmp_path: Path) -> None:
    register("leaves-the-end")(LeavesTheEnd)
    outcome, frame = _run(tmp_path, "leaves-the-end", ("batch = 8", "batch = 24"))
    assert (outcome.measured, outcome.failed) == (1, 1)
    assert "made other images" in str(frame.loc["leaves-the-end", "error"])


def test_places_are_apart_and_within_the_batch() -> None:
    assert [places(batch) for batch in (1, 7, 8, 11, 12, 100)] == [[0], [0], [0, 4], [0, 7], [0, 4, 8], [0, 48, 96]]


@dataclass(frozen=True)
class FasterWhenLarge(DDIM):
    """DDIM that has the network take larger batches in bf16, and says nothing of it."""

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=len(x) > 8):
            return super().step(model, x, t, s, noise)


def test_what_executes_the_network_otherwise_at_a_timed_batch_alone_has_no_times(tmp_path: Path) -> None:
    register("faster-when-large")(FasterWhenLarge)
    outcome, frame = _run(tmp_path, "faster-when-large")
    assert outcome == Outcome(measured=2, untimed=1)
    assert "evaluates the network with autocast changed" in str(frame.loc["faster-when-large", "timing_note"])
