"""Cells whose grid is fitted: what they share, what records say of it, and what cannot be fitted."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from commands import Cli
from quiet import Quiet
from studies import study_toml
from torch import Tensor

from bench.record import RunFolder
from bench.running.fit import Fits
from bench.running.resolve import resolve
from bench.running.runner import run_study
from bench.running.session import Session
from bench.study.file import parse_study
from bench.study.overrides import Overrides
from bench.study.plan import plan
from models.denoiser import Denoiser
from models.fitted import FitModel, Fitted
from models.grids import FitGrid
from models.schedule import Level, Schedule
from samplers import SAMPLERS, Noise, Sampler

FIT = "fit-grid[images=16,held_out=16,iterations=2]"


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The fits that are made, in order."""
    made, actual = list[Any](), FitGrid.fit

    def spy(grid: FitGrid, model: Any) -> dict[str, Tensor]:
        made.append(model)
        return actual(grid, model)

    monkeypatch.setattr(FitGrid, "fit", spy)
    return made


def on_grids(toml: str, *grids: str) -> str:
    return toml.replace('grids = ["trailing"]', f"grids = {json.dumps(grids)}")


def ran(
    folder: Path, samplers: tuple[str, ...], grids: tuple[str, ...], steps: tuple[int, ...] = (4,), **more: Any
) -> pd.DataFrame:
    given = {"metrics": ["solver_error"], "timing": {"repeats": 1, "seconds": 0.0}} | more
    toml = on_grids(study_toml(samplers, steps, "ddim", 4, **given), *grids)
    session = Session.load(parse_study(toml, "test", Overrides()))
    outcome = run_study(session.study, session, RunFolder(folder), False, Quiet())
    frame = RunFolder(folder).load()
    assert (outcome.failed, outcome.untimed) == (0, 0), frame["error"].tolist()
    return frame


def test_records_have_the_levels_of_a_fitted_grid_and_its_cost(tmp_path: Path, fits: list[Any]) -> None:
    frame = ran(tmp_path, ("ddim", "heun"), ("trailing", FIT), seeds=[0, 1])
    mine = frame[frame["grid"] == FIT]
    assert len(fits) == 2  # each sampler's own, for both seeds
    assert len(mine) == 4
    for _, record in mine.iterrows():
        times = record["fitted_t"]
        assert times[0] == 1.0
        assert all(later < earlier for earlier, later in pairwise(times))
        assert len(times) == record["steps"]
        assert record["fit_images"] == 32
        assert record["fit_nfe"] > 0
    assert mine["timing_rounds"].dropna().eq(1).all()
    assert mine.groupby("sampler")["fit_nfe"].nunique().eq(1).all()
    assert frame[frame["grid"] != FIT]["fit_nfe"].isna().all()


def test_a_grid_that_is_fitted_to_one_sampler_is_fitted_once_for_all_that_walk_it(
    tmp_path: Path, fits: list[Any]
) -> None:
    grid = FIT.replace("[", "[sampler=unipc[solver_order=2],")
    frame = ran(tmp_path, ("ddim", "ddpm", "dpm++2m"), (grid,), seeds=[0])
    assert len(fits) == 1
    assert frame[frame["grid"] == grid]["fitted_t"].map(tuple).nunique() == 1


def test_a_fit_that_sampler_and_grid_share_is_counted_once(tmp_path: Path) -> None:
    solver = "dpm-solver-v3[images=16,nodes=8]"
    grid = FIT.replace("[", f"[sampler={solver},")
    frame = ran(tmp_path, (solver,), ("trailing", FIT, grid))
    costs = frame[frame["sampler"] == solver].set_index("grid")["fit_nfe"]
    assert costs[grid] == costs[FIT] > costs["trailing"] > 0


@dataclass(frozen=True)
class OfSteps(Sampler, Fitted):
    """Euler's steps, with coefficients that are for a number of them."""

    gives: str = "tensors"

    family = "ODE, one step"
    order = 1
    stochastic = False
    fits_steps = True
    fit_images = 4

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def fit_evaluations(self, schedule: Schedule, steps: int) -> int:
        return 4

    def fit(self, model: FitModel) -> Any:
        numbers, first = torch.arange(4), model.schedule.level(1.0)
        scale = model.denoiser(numbers)(model.start(numbers, first), first).x0.isfinite().all().float()
        return {"ones": scale.expand(model.steps).clone()} if self.gives == "tensors" else {"ones": 1.0}

    def read(self, found: Mapping[str, Tensor], steps: int) -> list[float]:
        assert len(found["ones"]) == steps
        values: list[float] = found["ones"].tolist()
        return values

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        for scale, (t, s) in zip(model.fitted, pairwise(levels), strict=True):
            x = scale * SAMPLERS.make("ddim").sample(model, x, [t, s], noise)
        return x


@pytest.fixture
def of_steps(registered: None) -> None:
    SAMPLERS.register("of-steps")(OfSteps)


@pytest.mark.usefixtures("of_steps")
def test_a_sampler_s_fit_may_be_for_a_number_of_steps_which_grids_share(tmp_path: Path) -> None:
    frame = ran(tmp_path, ("of-steps",), ("trailing", "karras"), steps=(3, 5))
    assert frame[frame["sampler"] == "of-steps"]["fit_nfe"].eq(4).all()
    assert len(list((tmp_path / "fits").iterdir())) == 2


@pytest.mark.usefixtures("of_steps")
def test_the_parts_of_a_fit_are_files_of_their_own_and_each_can_be_made_alone(tmp_path: Path) -> None:
    toml = on_grids(study_toml(("of-steps",), (4,), "ddim", 4, metrics=["solver_error"]), FIT)
    session = Session.load(parse_study(toml, "test", Overrides()))
    cell = next(each for each in plan(session.study) if each.sampler == "of-steps")
    resolved, fits = resolve(cell, session), Fits(tmp_path, session)
    own, grid = fits.places(resolved)
    assert list(fits.of(resolved, last=own.name)) == ["sampler"]
    assert [path.name for path in tmp_path.iterdir()] == [own.name]
    assert list(fits.of(resolved, last=grid.name)) == ["sampler", "grid"]
    assert grid.is_file()


@pytest.mark.usefixtures("of_steps")
def test_what_is_fitted_has_to_be_tensors_and_depend_on_parameters_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failed(sampler: str) -> str:
        toml = study_toml((sampler,), (4,), "ddim", 4, metrics=["solver_error"], timing={"repeats": 0})
        session = Session.load(parse_study(toml, "test", Overrides()))
        run_study(session.study, session, RunFolder(tmp_path / sampler), False, Quiet())
        frame = RunFolder(tmp_path / sampler).load()
        (error,) = frame[frame["sampler"] == sampler]["error"]
        return str(error)

    assert "of-steps[gives=floats]: fit()" in (said := failed("of-steps[gives=floats]"))
    assert "expected tensors by name" in said
    monkeypatch.setattr(OfSteps, "fit_parameters", ("give",))
    assert "fit_parameters has 'give'; expected names of its parameters: gives" in failed("of-steps")


def test_a_resumed_run_reads_the_fit(tmp_path: Path, fits: list[Any]) -> None:
    first = ran(tmp_path, ("ddim",), (FIT,))
    (path,) = (tmp_path / "cells" / f"{name}.json" for name in first[first["grid"] == FIT]["id"])
    path.unlink()
    again = ran(tmp_path, ("ddim",), (FIT,))
    assert len(fits) == 1
    for column in ("fitted_t", "fit_nfe", "solver_rmse"):
        assert again[again["grid"] == FIT][column].tolist() == first[first["grid"] == FIT][column].tolist()


@pytest.mark.parametrize(
    ("sampler", "grid", "said"),
    [
        ("ddpm", FIT, "ddpm draws noise; give it another grid, or fit to a solver: fit-grid[sampler=ddim]"),
        (
            "ddim",
            "fit-grid[sampler=ddpm]",
            "is fitted to where a solver of the probability flow ends, but ddpm",
        ),
        ("ddim", "fit-grid[sampler=rk45]", "but rk45 places its steps itself"),
        ("ddim", "fit-grid[sampler=dim]", "unknown sampler 'dim'. Did you mean 'ddim'?"),
        (
            "ddim",
            "fit-grid[start=leading]",
            "fit-grid keeps its ends, and start='leading' does not begin at",
        ),
        ("ddim", "gits[nodes=3]", "4 steps of 3 levels to choose from; give the grid more nodes"),
    ],
)
def test_what_cannot_be_fitted_is_refused_before_anything_runs(
    sampler: str, grid: str, said: str, tmp_path: Path, cli: Cli
) -> None:
    study = tmp_path / "study.toml"
    study.write_text(on_grids(study_toml((sampler,), (4,), "ddim", 4), grid))
    printed = cli("run", study, "--out", tmp_path / "run", status=2)
    assert said in " ".join(printed.err.split())
    assert not (tmp_path / "run" / "cells").exists()
