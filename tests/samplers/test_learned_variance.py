"""`ddpm[variance=learned_range]`: against diffusers, at the ends of its range, in a study, and where it cannot be."""

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from checkpoints import CPU, DDPM, images, make, network, write
from commands import Cli
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers_runs import SCHEDULE, ZOO, NoiseOf, Stepped, as_timesteps, difference
from quiet import Quiet
from safetensors.torch import load_file, save_file
from studies import study_toml
from torch import Tensor, nn

from bench.record import RunFolder
from bench.running.runner import run_study
from bench.running.session import Session
from bench.study.file import load_study, parse_study
from bench.study.overrides import Overrides
from models.cards.changes import Changes
from models.common.errors import UsageError
from models.denoiser import ClipRange, Denoiser
from models.grids import GRIDS
from models.guidance import GUIDANCES
from models.loading.layout import CONFIG, WEIGHTS
from models.loading.zoo import load_model
from models.networks.network import IndexedUNet
from models.schedule import Level
from samplers import SAMPLERS

LEARNED = "ddpm[variance=learned_range]"
SHAPE = (2, 3, 8, 8)


def exact_tables(scheduler: Any, levels: Sequence[Level], dtype: torch.dtype) -> None:
    """Our levels, for a state in any precision, from tables that are not rounded to float32."""
    as_timesteps(scheduler, levels, torch.float64)


AGREE = {
    "float64": (torch.float64, as_timesteps, 1e-10),
    "float32": (torch.float32, exact_tables, 1e-5),
    "float32, tables as shipped": (torch.float32, as_timesteps, 1e-4),
}
"""Precision of the state, and how near; as shipped 1 - alphas_cumprod is four digits short at index 0."""


@cache
def learned(dtype: torch.dtype) -> IndexedUNet:
    """Six channels for images with three, of which the second three vary and go beyond -1 ... 1."""
    unet = nn.Module.to(network(out_channels=6), dtype)
    with torch.no_grad():
        unet.conv_out.weight.mul_(4.0)
    return IndexedUNet(unet, SCHEDULE)


@pytest.mark.parametrize("clip", [None, (-1.0, 1.0)], ids=["unclipped", "clipped"])
@pytest.mark.parametrize("precision", AGREE)
@pytest.mark.parametrize(("grid", "steps"), [("leading", 10), ("quad", 20)])
def test_it_is_that_of_diffusers(grid: str, steps: int, precision: str, clip: ClipRange | None, noise: NoiseOf) -> None:
    dtype, place, tolerance = AGREE[precision]
    options = {"variance_type": "learned_range", "clip_sample": clip is not None}
    theirs = Stepped(DDPMScheduler, options, place, network=learned)
    assert difference(LEARNED, grid, steps, theirs, noise, dtype, clip, learned, SHAPE) < tolerance


@pytest.mark.parametrize(("said", "fixed"), [(-1.0, "fixed_small"), (1.0, "fixed_large")])
def test_at_the_ends_of_its_range_it_is_what_is_fixed(said: float, fixed: str, noise: NoiseOf) -> None:
    def network(x: Tensor, at: Level) -> Tensor:
        return torch.cat([0.8 * x, torch.full_like(x, said)], dim=1)

    levels, x = GRIDS.make("trailing")(SCHEDULE, 10), images(dtype=torch.float64)
    model = Denoiser(network, "epsilon", SCHEDULE, learns_variance=True)
    found, expected = (
        SAMPLERS.make(f"ddpm[variance={each}]").sample(model, x, levels, noise(2)) for each in ("learned_range", fixed)
    )
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


def test_some_rows_of_a_batch_have_the_variance_that_they_have_in_it() -> None:
    def network(x: Tensor, at: Level, labels: Tensor) -> Tensor:
        return torch.cat([x, labels.view(-1, 1, 1, 1).expand_as(x)], dim=1)

    labels, at = torch.tensor([3, 1, 2]), SCHEDULE.level(0.5)
    model = Denoiser(network, "epsilon", SCHEDULE, labels=labels, learns_variance=True)
    x = images()
    assert torch.equal(model.rows(slice(1, 3))(x[1:3], at).variance, model(x, at).variance[1:3])
    assert torch.equal(model(x, at).variance[0], torch.full_like(x[0], 3.0))


def folder_of(path: Path, variance: str = "learned_range", **unet: Any) -> Path:
    return make(path, DDPM | {"variance_type": variance}, out_channels=6, **unet)


def study_of(folder: Path, *samplers: str, **more: Any) -> str:
    """Sixteen images in four steps, of which nothing is worked out but the distance to the exact flow of one."""
    return study_toml(
        samplers, (4,), model=str(folder), metrics=["solver_error"], solver_images=1, timing={"repeats": 0}, **more
    )


def ran(folder: Path, text: str) -> pd.DataFrame:
    """The records of a study by sampler, none of which failed."""
    study, records = parse_study(text, "test", Overrides()), RunFolder(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.running.solution.STEPS", 4)  # no test looks at the distance
        outcome = run_study(study, Session.load(study), records, False, Quiet())
    frame = records.load().set_index("sampler")
    assert (outcome.failed, outcome.measured) == (0, len(frame)), frame["error"].tolist()
    return frame


def test_a_folder_is_sampled_with_the_variance_it_says_and_without(tmp_path: Path) -> None:
    """`rk45` splits its batch into single images, each with its rows of what the network says."""
    folder = folder_of(tmp_path / "model")
    frame = ran(tmp_path / "run", study_of(folder, LEARNED, "ddpm", "rk45[rtol=0.1,atol=0.1]"))
    assert frame["nfe"][[LEARNED, "ddpm"]].tolist() == [4, 4]
    assert set(frame["model_variance"]) == {"learned_range"}
    previews = {frame.loc[each, "preview_sha256"] for each in (LEARNED, "ddpm")}
    assert len(previews) == 2  # the noise that is added is another


def test_under_guidance_the_variance_is_that_of_the_conditional_branch(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "model", num_class_embeds=4)
    model = load_model(str(folder), CPU, Changes(classes=3, null_label=3))
    guided, labels = model.guided(GUIDANCES.make("cfg[scale=3]")), torch.tensor([0, 2, 1])
    x, at = images(), model.schedule.level(0.5)
    found = model.denoiser(None, labels, guided)(x, at)
    network: Callable[..., Tensor] = model.network
    one, other = (network(x, at, each) for each in (labels, torch.full_like(labels, 3)))
    torch.testing.assert_close(found.variance, one[:, 3:])
    torch.testing.assert_close(found.eps, other[:, :3] + 3.0 * (one - other)[:, :3], rtol=1e-4, atol=1e-5)

    said = {"guidance": ["cfg[scale=3]"], "checkpoint": {"classes": 3, "null_label": 3}}
    frame = ran(tmp_path / "run", study_of(folder, LEARNED, baseline="ddpm", **said))
    assert (frame.loc[LEARNED, "calls"], frame.loc[LEARNED, "nfe"]) == (4, 8)


@pytest.mark.parametrize(
    ("variance", "has"),
    [
        ("learned", "has variance 'learned'"),
        ("fixed_large", "has variance 'fixed_large'"),
        (None, "says nothing of it"),
    ],
)
def test_another_network_is_refused_before_anything_runs(
    tmp_path: Path, cli: Cli, variance: str | None, has: str
) -> None:
    folder = Path("digits")
    if variance is not None:
        channels = 6 if variance == "learned" else 3
        folder = make(tmp_path / "model", DDPM | {"variance_type": variance}, out_channels=channels)
    text = study_of(folder, LEARNED)
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(UsageError, match=f"needs a network that says the variance of a step.*{has}"):
        load_study(str(tmp_path / "study.toml"), Overrides(), complete=True)
    said = cli("run", tmp_path / "study.toml", "--out", tmp_path / "run", status=2).err
    assert has in " ".join(said.split())
    assert not (tmp_path / "run").exists()


def test_check_model_reads_the_mean_of_such_a_network(tmp_path: Path, cli: Cli) -> None:
    """The digits' network with a channel more is as good as the digits'."""
    config, weights = json.loads((ZOO / CONFIG).read_text()), load_file(ZOO / WEIGHTS)
    weights |= {name: torch.cat([weights[name], 7.0 + weights[name]]) for name in ("conv_out.weight", "conv_out.bias")}
    folder = tmp_path / "model"
    write(folder / "unet" / CONFIG, config | {"out_channels": 2})
    save_file(weights, folder / "unet" / WEIGHTS)
    write(folder / "scheduler" / "scheduler_config.json", DDPM | {"variance_type": "learned_range"})
    parts = {"scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", "UNet2DModel"]}
    write(folder / "model_index.json", {"_class_name": "DDPMPipeline"} | parts)

    def table(model: object) -> str:
        said = cli("check-model", model, "--data", "digits", "--images", 8).out
        return next(line for line in said.splitlines() if "error / guess" in line)

    assert table(folder).split() == table("digits").split()
