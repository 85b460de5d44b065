"""Blocks that give budgets of evaluations instead of steps."""

import pytest

from bench.study.file import parse_study
from bench.study.overrides import Overrides
from bench.study.plan import most_steps, plan
from models.common.errors import UsageError
from models.grids import GRIDS
from models.schedule import DiscreteVP
from samplers import SAMPLERS

LINEAR = DiscreteVP.linear()


def study(block: str, overrides: Overrides | None = None) -> dict[str, list[int]]:
    """The steps of each sampler in a study with one block, the baseline left out."""
    text = f"""
name = "budgets"
title = "Budgets"
model = "digits"
images = 16
batch = 16
baseline = {{ sampler = "ddpm", grid = "trailing", steps = 7 }}
[[block]]
{block}
"""
    found: dict[str, list[int]] = {}
    for cell in plan(parse_study(text, "budgets", overrides or Overrides()))[1:]:
        found.setdefault(cell.sampler, []).append(cell.steps)
    return found


@pytest.mark.parametrize(
    "spec", [name for name in SAMPLERS.names() if name not in ("dpm-adaptive", "rk45", "one-step")]
)
@pytest.mark.parametrize("grid", ["trailing", "karras", "logsnr[clean=false]"])
@pytest.mark.parametrize("budget", [10, 37, 100])
def test_a_budget_buys_the_most_steps_within_it(spec: str, grid: str, budget: int) -> None:
    sampler, placed = SAMPLERS.make(spec), GRIDS.make(grid)
    steps = most_steps(sampler, placed, LINEAR, budget)
    within, beyond = (sampler.nfe(placed(LINEAR, n)) for n in (steps, steps + 1))
    assert within is not None
    assert beyond is not None
    assert within <= budget < beyond


def test_samplers_of_one_and_two_evaluations_a_step_get_the_same_budget() -> None:
    found = study('samplers = ["ddim", "heun", "pndm"]\ngrids = ["trailing"]\nevaluations = [10, 20]')
    assert found == {"ddim": [10, 20], "heun": [5, 10], "pndm": [3, 11]}


def test_a_budget_beyond_the_levels_of_training_takes_all_of_them() -> None:
    assert most_steps(SAMPLERS.make("ddim"), GRIDS.make("trailing"), LINEAR, 5000) == 1000


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ('samplers = ["ddim"]\ngrids = ["trailing"]', "either steps or evaluations"),
        ('samplers = ["ddim"]\ngrids = ["trailing"]\nsteps = [5]\nevaluations = [5]', "either steps or evaluations"),
        ('samplers = ["rk45"]\ngrids = ["trailing"]\nevaluations = [5]', "rk45 cannot say its evaluations before"),
        (
            'samplers = ["langevin"]\ngrids = ["trailing"]\nevaluations = [2]',
            "more than 2 evaluations in a single step",
        ),
    ],
)
def test_a_block_that_cannot_be_planned_is_refused(block: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        study(block)


def test_steps_and_evaluations_of_the_command_line_replace_those_of_the_block() -> None:
    block = 'samplers = ["heun"]\ngrids = ["trailing"]\n'
    assert study(block + "evaluations = [10]", Overrides(steps=[4])) == {"heun": [4]}
    assert study(block + "steps = [4]", Overrides(evaluations=[19])) == {"heun": [10]}
