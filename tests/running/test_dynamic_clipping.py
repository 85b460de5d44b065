"""Dynamic thresholding of x_0 (arXiv 2205.11487), as an axis of a study: the published one, of each image alone."""

import json
from pathlib import Path

import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from quiet import Quiet
from torch import Tensor

from bench.record import RunFolder
from bench.running.runner import run_study
from bench.running.session import Session
from bench.study.file import parse_study
from bench.study.overrides import Overrides
from models.common.errors import UsageError
from models.denoiser import Clip, Denoiser
from models.schedule import VE

AT = VE().level(0.01)


def x0(scale: float = 1.0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Three images (3, 2, 8, 8), of which the first lies within the range."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 2, 8, 8, generator=generator, dtype=torch.float64) * scale
    return (images * torch.tensor([0.1, 1.0, 3.0]).view(3, 1, 1, 1)).to(dtype)


def clamped(images: Tensor, clip: Clip) -> Tensor:
    return Denoiser(lambda x, at: images, "sample", VE(), clip)(torch.zeros_like(images), AT).x0


def test_it_is_that_of_diffusers_and_of_diff_samplers_code() -> None:
    found = clamped(x0(), (-1.0, 1.0, 0.995))
    scheduler = DDPMScheduler(thresholding=True, sample_max_value=1e9)
    torch.testing.assert_close(found, scheduler._threshold_sample(x0()), rtol=0.0, atol=1e-14)
    edge = x0().abs().reshape(3, -1).quantile(0.995, dim=1).clamp(min=1.0).view(3, 1, 1, 1)
    torch.testing.assert_close(found, torch.clamp(x0(), -edge, edge) / edge, rtol=0.0, atol=1e-14)
    assert torch.equal(found[0], x0()[0])
    assert found.abs().amax(dim=(1, 2, 3)).tolist()[1:] == [1.0, 1.0]


def test_a_range_around_another_middle_is_the_same_moved_and_scaled() -> None:
    found = clamped(x0() * 0.5 + 0.5, (0.0, 1.0, 0.9))
    torch.testing.assert_close(found, clamped(x0(), (-1.0, 1.0, 0.9)) * 0.5 + 0.5, rtol=0.0, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_image_does_not_depend_on_its_batch(dtype: torch.dtype) -> None:
    whole = clamped(x0(dtype=dtype), (-1.0, 1.0, 0.995))
    for n in range(3):
        assert torch.equal(clamped(x0(dtype=dtype)[n : n + 1], (-1.0, 1.0, 0.995))[0], whole[n])


def test_the_noise_follows_from_the_thresholded_x0() -> None:
    x = torch.full((3, 2, 8, 8), 0.3, dtype=torch.float64)
    prediction = Denoiser(lambda x, at: x0(), "sample", VE(), (-1.0, 1.0, 0.995))(x, AT)
    torch.testing.assert_close(prediction.x0 + AT.sigma * prediction.eps, x, rtol=0.0, atol=1e-13)


STUDY = """
name = "clipping"
title = "Clipping"
model = "digits"
images = 16
batch = 16
metrics = ["fd"]
timing = { repeats = 0 }
clip = false
baseline = { sampler = "ddim", grid = "trailing", steps = 2 }

[[block]]
samplers = ["ddim"]
grids = ["trailing"]
steps = [2]
clip = "dynamic"
"""


def test_a_blocks_cells_are_clamped_dynamically_and_say_so(tmp_path: Path) -> None:
    study = parse_study(STUDY, "study.toml", Overrides(device="cpu"))
    run_study(study, Session.load(study), RunFolder(tmp_path / "run"), False, Quiet())
    records = [json.loads(path.read_text()) for path in (tmp_path / "run" / "cells").glob("*.json")]
    assert {str(record["clip"]) for record in records} == {"None", "[-1.0, 1.0, 0.995]"}
    free, dynamic = sorted(records, key=lambda record: record["clip"] is not None)
    assert free["fd_digits"] != dynamic["fd_digits"]


def test_another_word_is_refused() -> None:
    with pytest.raises(UsageError, match="clip"):
        parse_study(STUDY.replace("dynamic", "dynamically"), "study.toml", Overrides())
