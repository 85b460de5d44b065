"""The command that fits grids: what it writes holds in studies, and a second time it reads."""

import json
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
from commands import Cli
from torch import Tensor

from bench.cli.fitting import _for_diffusers
from models.fitted import FitModel
from models.grids import GRIDS, FitGrid
from models.schedule import DiscreteVP, Flow

SCHEDULERS: Any = diffusers
GRID = "fit-grid[images=16,held_out=16,iterations=2]"


def fitted(cli: Cli, out: Path, *more: Any) -> list[dict[str, Any]]:
    given = ("fit", "--model", "digits-mixture", "--sampler", "heun", "--steps", "3,5", "--grid", GRID, "--out", out)
    found: list[dict[str, Any]] = json.loads(cli(*given, "--json", *more).out)
    assert json.loads((out / "levels.json").read_text()) == found
    assert (out / "levels.png").read_bytes().startswith(b"\x89PNG")
    return found


def test_what_it_writes_are_the_levels_of_an_explicit_grid(tmp_path: Path, cli: Cli) -> None:
    schedule = DiscreteVP.linear()
    for each in fitted(cli, tmp_path):
        levels = GRIDS.make(each["explicit"])(schedule, each["steps"])
        assert [level.t for level in levels[:-1]] == each["t"]
        assert levels[-1].is_clean
        assert each["sigma"] == pytest.approx([schedule.level(t).ratio for t in each["t"]])
        assert each["index"] == pytest.approx([1000.0 * t - 1.0 for t in each["t"]])
        assert each["error"] <= each["error_at_start"]
        assert (each["fit_images"], each["sampler"], each["model"]) == (32, "heun", "digits-mixture")


def test_diffusers_schedulers_have_the_levels_from_what_is_written_for_them(tmp_path: Path, cli: Cli) -> None:
    schedule = DiscreteVP.linear()
    betas: dict[str, Any] = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
    for each in fitted(cli, tmp_path):
        given = each["diffusers"]
        euler = SCHEDULERS.EulerDiscreteScheduler(**betas)
        euler.set_timesteps(**given["EulerDiscreteScheduler"])
        np.testing.assert_allclose(euler.sigmas, [*each["sigma"], 0.0], rtol=1e-6)
        euler.set_timesteps(timesteps=each["index"])
        np.testing.assert_allclose(euler.sigmas, [*each["sigma"], 0.0], rtol=2e-3)  # it interpolates in sigma
        for scheduler in (SCHEDULERS.DPMSolverMultistepScheduler(**betas), SCHEDULERS.DDPMScheduler(**betas)):
            scheduler.set_timesteps(timesteps=given["timesteps"])
            exact = [schedule.level((t + 1) / 1000).ratio for t in given["timesteps"]]
            assert scheduler.timesteps.tolist() == given["timesteps"]
            np.testing.assert_allclose(exact, each["sigma"], rtol=0.2)


def test_the_scheduler_of_flows_adds_its_end_itself() -> None:
    levels = GRIDS.make("logsnr")(Flow(), 4)
    scheduler = SCHEDULERS.FlowMatchEulerDiscreteScheduler()
    given = _for_diffusers(Flow(), levels[:-1], clean=True)
    scheduler.set_timesteps(**given["FlowMatchEulerDiscreteScheduler"])
    np.testing.assert_allclose(scheduler.sigmas, [level.t for level in levels], rtol=1e-6)


def test_a_fit_evaluates_as_many_images_at_a_time_as_it_is_told(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, actual = list[int](), FitGrid.fit

    def counted(numbers: Tensor) -> Tensor:
        seen.append(len(numbers))
        return numbers

    def spy(grid: FitGrid, model: FitModel) -> dict[str, Tensor]:
        model.in_batches(range(32), counted)
        return actual(grid, model)

    monkeypatch.setattr(FitGrid, "fit", spy)
    fitted(cli, tmp_path, "--batch", 32)
    assert set(seen) == {32}


def test_what_was_fitted_is_read_the_next_time(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fitted(cli, tmp_path)
    monkeypatch.setattr(FitGrid, "fit", lambda grid, model: pytest.fail("fitted again"))
    assert fitted(cli, tmp_path) == first


def test_a_study_says_its_model_and_a_table_what_came_of_it(tmp_path: Path, cli: Cli) -> None:
    printed = cli("fit", "--study", "quick", "--grid", "gits[images=4,nodes=8]", "--steps", 4, "--out", tmp_path)
    said = " ".join((printed.out + printed.err).split())
    assert "gits[images=4,nodes=8] on digits" in said
    assert "fitted to" not in said
    assert f"wrote {tmp_path}" in said.replace("\n", "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--grid", "trailing"),
            "grid 'trailing' is the same on every model; expected one that is fitted: ays-fit,",
        ),
        (("--model", "digits", "--study", "quick"), "expected either --model or --study, got 'digits' and 'quick'"),
        (("--sampler", "ddpm"), "but ddpm draws noise"),
        (("--sampler", "diffusers:DDIMScheduler"), "diffusers:DDIMScheduler places its steps itself"),
        (("--sampler", "one-step", "--grid", "gits", "--model", "digits-vae"), "generators have none"),
        (("--grid", "fit-grid[start=gits]"), "start='gits' is fitted"),
        (("--steps", "0"), "block.0.steps.0: expected a whole number"),
        (("--model", "digit"), "digits"),
    ],
)
def test_what_cannot_be_fitted_is_refused(options: tuple[str, ...], said: str, tmp_path: Path, cli: Cli) -> None:
    printed = cli("fit", *options, "--out", tmp_path / "out", status=2)
    assert said in " ".join(printed.err.split())
    assert "baseline" not in printed.err or "digits-vae" in options  # nobody gave one; of generators it says the same
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_folder_for_fits(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "out").write_text("kept")
    printed = cli("fit", "--model", "digits-mixture", "--out", tmp_path / "out", status=2)
    assert "is a file; expected a folder" in " ".join(printed.err.split())
    assert (tmp_path / "out").read_text() == "kept"
