"""CLIP score and PSNR of a text-to-image model, through the commands that a user types."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_clip
import torch
from commands import Cli
from PIL import Image
from studies import study_toml

from bench.quality.clip_model import load_clip
from bench.record import RunFolder
from models.text.prompts import Prompts

Tiny = Callable[[str], tuple[Path, Any]]
_TEXTS = ("a cat", "the dog, 3", "x y z")


def test_a_text_study_has_clip_scores_and_psnr_of_decoded_images(
    tiny: Tiny, tmp_path: Path, cli: Cli, cache: None
) -> None:
    (tmp_path / "prompts.txt").write_text("\n".join(_TEXTS))
    clip = tiny_clip.make(tmp_path / "clip")
    said: dict[str, Any] = {"model": str(tiny("sd")[0]), "metrics": ["clip_score", "psnr", "solver_error"]}
    said |= {"prompts": str(tmp_path / "prompts.txt"), "clip_model": str(clip), "name": "text"}
    said |= {"solver_images": 12, "solver_steps": 2, "batch": 8, "timing": {"repeats": 0}, "images": 20}
    path, out = tmp_path / "study.toml", tmp_path / "run"
    path.write_text(study_toml(["ddim", "ddpm"], [2], guidance=["cfg[scale=4]"], **said))
    cli("run", path, "--out", out, "--save-images", "png")
    records = {each["sampler"]: each for each in (json.loads(p.read_text()) for p in (out / "cells").glob("*.json"))}
    assert {each["status"] for each in records.values()} == {"ok"}
    loaded = load_clip(str(clip), torch.device("cpu"))
    texts, _ = loaded.texts(Prompts(_TEXTS), 20)
    for sampler, record in records.items():
        files = sorted(RunFolder(out).images(record["id"], "png").glob("*.png"))
        pixels = torch.from_numpy(np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files]))
        cosines = (loaded(pixels.movedim(3, 1))["image"] * texts[torch.arange(20) % 3]).sum(1)
        expected = 100 * float(cosines.clamp(min=0).mean())
        assert record["clip_score"] == pytest.approx(expected, abs=1e-4), sampler
        assert record["clip_sha256"] == loaded.sha256
        assert record["prompts_sha256"] == Prompts(_TEXTS).sha256
        assert ("psnr" in record) == (sampler == "ddim")
    table = " ".join((out / "table.md").read_text().split())
    assert "CLIP score: 100 max(cos, 0) of the embeddings of an image and of its prompt by" in table
    assert "PSNR: in dB, of images to those of a tight solution" in table
