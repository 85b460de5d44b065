"""PSNR of cells: of deterministic samplers alone, of decoded images, and what of it a study may say."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import latents
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from studies import study_toml

from bench.running.measuring import Found, Measuring
from bench.running.part import Part, packed, unpacked
from bench.running.resolve import Resolved, resolve
from bench.running.session import Session
from bench.study.file import parse_study
from bench.study.plan import plan
from models.common.errors import UsageError

LATENT: dict[str, Any] = {
    "metrics": ["psnr", "solver_error"],
    "solver_images": 14,
    "solver_steps": 4,
    "timing": {"repeats": 0},
}


def measured(session: Session, cell: Resolved, folder: Path, bounds: Sequence[int]) -> tuple[dict[str, Any], Part]:
    """The columns of a cell in parts between these numbers, and its first part as it came."""
    measuring, parts = Measuring(session, folder / "solutions", folder / "fits"), list[Part]()
    for first, end in pairwise(bounds):
        part = measuring.part(cell, range(first, end), lambda _: None)
        assert isinstance(part, Part), part
        parts.append(part)
    found = measuring.quality(cell, [unpacked(packed(part)) for part in parts])
    assert isinstance(found, Found), found
    return found.columns, parts[0]


def cells(session: Session) -> dict[str, Resolved]:
    return {cell.sampler: resolve(cell, session) for cell in plan(session.study)}


def test_of_latents_it_is_that_of_decoded_images(tmp_path: Path) -> None:
    folder = latents.ldm()
    text = study_toml(["ddim", "ddpm"], [3], model=str(folder), images=20, batch=10, **LATENT)
    session = Session.load(parse_study(text, "test", complete=True))
    found, part = measured(session, cells(session)["ddim"], tmp_path, (0, 20))
    (solved,) = (tmp_path / "solutions").iterdir()
    vae = latents.library().VQModel.from_pretrained(folder / "vqvae").eval()
    scale = vae.config.scaling_factor
    exact, given = load_file(solved)["images"], part.score["first"]
    assert given.shape == exact.shape == (14, 3, 8, 8)
    with torch.inference_mode():
        a, b = (vae.decode(each / scale).sample.clamp(-1, 1).double().numpy() for each in (given, exact))
    each = 10 * np.log10(4 / ((a - b) ** 2).mean(axis=(1, 2, 3)))
    assert a.shape == (14, 3, 16, 16)
    assert found["psnr"] == pytest.approx(each.mean(), abs=1e-3)
    assert found["solver_rmse"] == pytest.approx(float((given - exact).square().mean().sqrt()), rel=1e-5)
    assert found["solver_steps"] == 4
    again, _ = measured(session, cells(session)["ddim"], tmp_path / "parts", (0, 10, 20))
    assert again["psnr"] == pytest.approx(found["psnr"], rel=1e-6)
    stochastic, _ = measured(session, cells(session)["ddpm"], tmp_path, (0, 20))
    assert "psnr" not in stochastic


@pytest.mark.parametrize("metrics", [["psnr"], ["psnr", "solver_error"]])
def test_it_needs_neither_extractor_nor_reference_and_no_other_metric(metrics: list[str], tmp_path: Path) -> None:
    more: dict[str, Any] = {"metrics": metrics, "solver_images": 16, "solver_steps": 4, "timing": {"repeats": 0}}
    session = Session.load(parse_study(study_toml(**more), "test", complete=True))
    assert session.extractor is None
    assert session.reference is None
    found, _ = measured(session, cells(session)["ddim"], tmp_path, (0, 16))
    assert 0 < found["psnr"] < 120
    assert len(found["psnr_left_out"]) == 10
    assert ("solver_rmse" in found) == ("solver_error" in metrics)
    assert found["solver_rmse_reference"] > 0


def test_the_usual_number_of_steps_goes_without_saying_and_any_other_is_another_cell() -> None:
    identities = {}
    for steps in (None, 250, 20):
        said: dict[str, Any] = {} if steps is None else {"solver_steps": steps}
        session = Session.load(parse_study(study_toml(metrics=["psnr"], **said), "test"))
        identities[steps] = cells(session)["ddim"].identity
    assert identities[None] == identities[250]
    assert "solver_steps" not in identities[None]
    assert identities[20] == identities[None] | {"solver_steps": 20}
    session = Session.load(parse_study(study_toml(metrics=["law"], solver_steps=20), "test"))
    assert "solver_steps" not in cells(session)["ddim"].identity


@pytest.mark.parametrize(
    ("steps", "why"),
    [(7, "expected an even number: a solution's error is its distance from that in half"), (0, "whole number, 2 ...")],
)
def test_a_number_of_steps_that_cannot_be_is_refused(steps: int, why: str) -> None:
    with pytest.raises(UsageError, match=f"solver_steps: .*{why}"):
        parse_study(study_toml(metrics=["psnr"], solver_steps=steps), "test")
