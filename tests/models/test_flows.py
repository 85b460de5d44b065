"""Flow models: grids start where samplers can, every sampler ends in the exact law, and the authors' Euler is there."""

import math
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import CPU, folder_of
from safetensors.torch import save_file
from torch import Tensor

from bench.conformance.laws import Convergence
from bench.fitting.model import fitted_to
from bench.noise.stream import ImageNoise
from bench.study.file import load_study
from bench.study.overrides import Overrides
from bench.study.placement import grid_ends, place
from bench.study.plan import Cell, most_steps, plan
from models.analytic import Gaussian
from models.cards.card import Card
from models.common.errors import UsageError
from models.denoiser import Denoiser
from models.grids import GRIDS
from models.loading.zoo import load_model
from models.networks.network import Network
from models.schedule import DiscreteVP, Flow, Level
from samplers import SAMPLERS, Sampler

FLOW = Flow()
GRID_NAMES = ["karras", "leading", "linspace", "logsnr", "power", "quad", "shift", "trailing", "vp-time"]
"""A grid of each kind; what others have in common with these stands in test_grids.py."""
_FILES = {"points.safetensors": "0" * 64}
_CARD = Card.model_validate(
    {
        "schema_version": 1,
        "name": "exact",
        "shape": (1, 2, 2),
        "network": "finite-data",
        "parametrisation": "sample",
        "schedule": {"kind": "flow"},
        "files": _FILES,
    }
)


@cache
def _law() -> Gaussian:
    spread = torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    covariance = 0.2 * spread @ spread.T + 0.1 * torch.eye(4, dtype=torch.float64)
    return Gaussian(torch.tensor([0.4, -0.3, 0.0, 0.2], dtype=torch.float64), covariance, (1, 2, 2))


def _network(sampler: Sampler) -> Network:
    """The exact posterior mean, or for samplers of generators the exact end of the flow."""
    if sampler.needs == "generator":
        return lambda x, at: _law().flow(x, at, FLOW.level(0.0))
    return _law()


@cache
def _fitted(sampler: Sampler) -> Any:
    return fitted_to(sampler, lambda numbers: Denoiser(_network(sampler), "sample", FLOW), (1, 2, 2))


def _model(sampler: Sampler) -> Denoiser:
    return Denoiser(_network(sampler), "sample", FLOW, fitted=_fitted(sampler))


def _sampled(sampler: Sampler, levels: list[Level], images: int) -> tuple[Tensor, Tensor]:
    """The initial state and what a sampler makes of it."""
    source = ImageNoise(0, torch.arange(images))
    x = source(torch.empty(images, 1, 2, 2, dtype=torch.float64)) * FLOW.prior_std(levels[0])
    with torch.inference_mode():
        return x, sampler.sample(_model(sampler), x, levels, source)


def _assert_right(name: str, grid: str) -> None:
    """Deterministic samplers end near the exact solution, the others in the law, as far as their steps allow."""
    sampler = SAMPLERS.make(name)
    if not sampler.stochastic:
        levels = GRIDS.make(grid)(FLOW, 60)
        x, found = _sampled(sampler, levels, 2 if sampler.nfe(levels) is None else 16)
        error = float((found - _law().flow(x, levels[0], FLOW.level(0.0))).square().mean().sqrt())
        assert error < (0.05 if sampler.order == 1 or name == "dpm-adaptive" else 0.02), (name, grid, error)
        return
    langevin = sampler.family == "Langevin"  # the default step size is meant for 1,000 levels
    _, found = _sampled(sampler, GRIDS.make(grid)(FLOW, 200 if langevin else 100), 400)
    white = (found.flatten(1) - _law().mean) @ torch.linalg.inv(torch.linalg.cholesky(_law().covariance)).T
    shift = float(white.mean(0).square().mean().sqrt())
    spread = float(torch.cov(white.T).diagonal().mean()) - 1.0
    assert shift < (0.3 if langevin else 0.15), (name, grid, shift)  # 0.05 of 400 perfect samples
    assert abs(spread) < (0.4 if langevin else 0.2), (name, grid, spread)


_EACH_KIND = ("ddim", "heun", "dpm++2m", "ddpm", "dpm++sde", "langevin", "consistency")
"""A sampler of one step and of two, one with a past, two with noise, a corrector and one of generators."""


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_every_sampler_is_right_on_a_flow_and_those_of_each_kind_on_every_grid_by_default(name: str) -> None:
    """A grid says where a sampler starts and ends: in time, or within a range of sigma / alpha."""
    for grid in GRID_NAMES if name in _EACH_KIND else ("trailing", "karras"):
        _assert_right(name, grid)


@pytest.mark.parametrize("name", [name for name in SAMPLERS.names() if SAMPLERS.make(name).order is not None])
def test_solvers_converge_on_a_flow_with_their_declared_order_or_faster(name: str) -> None:
    sampler, errors = SAMPLERS.make(name), []
    steps = (128, 254)
    for count in steps:
        levels = GRIDS.make("logsnr[clean=false]")(FLOW, count)
        x, found = _sampled(sampler, levels, 8)
        errors.append(float((found - _law().flow(x, levels[0], levels[-1])).square().mean().sqrt()))
    assert Convergence(steps, errors).orders[0] > (sampler.order or 0) - 0.25  # on so smooth a flow some are faster


@pytest.mark.parametrize("name", SAMPLERS.names())
@pytest.mark.parametrize("grid", ["trailing[t_start=1]", "linspace[t_start=1]"])
def test_a_start_at_pure_noise_is_right_or_refused_before_anything_runs(name: str, grid: str) -> None:
    cell = Cell(name, grid, 5, 0, "exact")
    if SAMPLERS.make(name).starts_at_noise:
        sampler, levels = place(cell, _CARD, _CARD)
        assert levels[0] == FLOW.level(1.0)
        assert grid_ends(sampler, levels)["sigma_start"] is None
        _assert_right(name, grid)
    else:
        with pytest.raises(UsageError, match=rf"t = 1, where alpha is 0.*{re.escape(name)} cannot start there.*0.99"):
            place(cell, _CARD, _CARD)


def test_a_predictor_corrector_starts_where_its_predictor_does() -> None:
    cell = Cell("predictor-corrector", "trailing[t_start=1]", 5, 0, "exact")
    place(cell, _CARD, _CARD)
    euler = replace(cell, sampler='predictor-corrector[predictor="euler-maruyama"]')
    with pytest.raises(UsageError, match="cannot start there"):
        place(euler, _CARD, _CARD)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 8, 10, 50, 128])
def test_ddim_from_pure_noise_is_rectified_flow_s_euler_byte_for_byte(steps: int) -> None:
    """x + (s - t) u from t = 1 to 0 in N even steps (arXiv 2209.03003, algorithm 1), in one rounding a step."""
    weight = torch.randn(3, 3, 3, 3, generator=torch.Generator().manual_seed(2))

    def velocity(x: Tensor, at: Level) -> Tensor:
        return torch.nn.functional.conv2d(x, weight, padding=1).sin() + at.t * x

    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    levels = GRIDS.make("trailing[t_start=1]")(FLOW, steps)
    found = SAMPLERS.make("ddim").sample(Denoiser(velocity, "flow", FLOW), x, levels, ImageNoise(0, torch.arange(4)))
    for n in range(steps, 0, -1):
        x = torch.add(x, velocity(x, FLOW.level(n / steps)), alpha=(n - 1) / steps - n / steps)
    assert found.numpy().tobytes() == x.numpy().tobytes()


def test_where_a_flow_s_grids_start_is_recorded_and_can_be_set_on_its_card() -> None:
    sampler, levels = place(Cell("heun", "logsnr", 5, 0, "exact"), _CARD, _CARD)
    assert grid_ends(sampler, levels)["sigma_start"] == pytest.approx(99.0)
    schedule = {"kind": "flow", "t_max": 0.9}
    own = Card.model_validate(_CARD.model_dump() | {"schedule": schedule})
    for grid in GRID_NAMES:
        levels = GRIDS.make(grid)(own.schedule.build(), 40)
        assert levels[0].t <= 0.9
        assert levels[0].t == pytest.approx(0.9, abs=0.03)
    assert own.digest_content() != _CARD.digest_content()
    with pytest.raises(ValueError, match="expected t_min < t_max"):
        Card.model_validate(_CARD.model_dump() | {"schedule": schedule | {"t_min": 0.95}})


def test_other_schedules_start_where_they_did() -> None:
    betas = DiscreteVP.linear()
    assert GRIDS.make("trailing")(betas, 7)[0] == GRIDS.make("linspace")(betas, 7)[0] == betas.level(1.0)


def _flow_folder(folder: Path, **changes: object) -> Path:
    law = _law()
    mixture = {"weights": torch.ones(1), "means": law.means, "covariances": law.covariance[None]}
    save_file({name: tensor.contiguous() for name, tensor in mixture.items()}, folder / "mixture.safetensors")
    said = {"network": "mixture", "parametrisation": "sample", "schedule": {"kind": "flow"}, "shape": [1, 2, 2]}
    return folder_of(folder, {"mixture.safetensors": folder / "mixture.safetensors"}, **said | changes)


def test_the_solvers_study_can_be_placed_on_a_flow(tmp_path: Path) -> None:
    folder = _flow_folder(tmp_path)
    card = load_model(str(folder), CPU).card
    for cell in plan(load_study("solvers", Overrides(model=str(folder)))):
        _, levels = place(cell, card, card)
        assert all(math.isfinite(level.logsnr) for level in levels[:-1])


def test_a_grid_that_cannot_be_placed_says_so_and_not_that_steps_are_too_many() -> None:
    """It used to end with "takes more than 5 evaluations in a single step"."""
    ddim = SAMPLERS.make("ddim")
    for grid, schedule, said in (
        ("logsnr", Flow(t_max=1.0), r"expected finite lambda\(t_start\)"),
        ("karras[sigma_max=1000]", DiscreteVP.linear(), "sigma_max=1000.0 lies above the schedule's noisiest level"),
        ("explicit[t=[0.9,0.1]]", FLOW, "the explicit grid lists 2 noisy levels"),
        ("linspace[t_start=0.1,t_end=0.2]", FLOW, "expected t_end < t_start"),
        ("power[t_end=0.0001]", DiscreteVP.linear(), "below 1/1000, the lowest level of training"),
    ):
        with pytest.raises(UsageError, match=said):
            most_steps(ddim, GRIDS.make(grid), schedule, 5)


def test_too_many_steps_still_take_as_many_as_there_are() -> None:
    ddim, betas = SAMPLERS.make("ddim"), DiscreteVP.linear()
    assert most_steps(ddim, GRIDS.make("linspace[t_start=0.1]"), betas, 5000) == 100
    assert most_steps(ddim, GRIDS.make("trailing[clean=false]"), betas, 5000) == 999


@pytest.mark.parametrize("kind", ["flow", "vp", "ve"])
def test_a_scheduler_that_needs_betas_is_refused_on_a_schedule_without_before_anything_runs(kind: str) -> None:
    card = Card.model_validate(_CARD.model_dump() | {"schedule": {"kind": kind}})
    with pytest.raises(UsageError, match=f"needs betas.*model 'exact' is of kind '{kind}'"):
        place(Cell("diffusers:DDIMScheduler", "native", 5, 0, "exact"), card, card)
