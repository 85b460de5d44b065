"""The command that fits grids: what it writes holds in studies, and a second time it reads."""

import json
from pathlib import Path
from typing import Any

import pytest
from commands import Cli

from models.grids import GRIDS, FitGrid
from models.schedule import DiscreteVP

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
        (("--steps", "0"), "block.0.steps.0: expected a whole number"),
        (("--model", "digit"), "digits"),
    ],
)
def test_what_cannot_be_fitted_is_refused(options: tuple[str, ...], said: str, tmp_path: Path, cli: Cli) -> None:
    printed = cli("fit", *options, "--out", tmp_path / "out", status=2)
    assert said in " ".join(printed.err.split())
    assert not (tmp_path / "out").exists()
