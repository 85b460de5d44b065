"""Grids that are fitted: their costs against closed forms and an independent sum, the best path against all paths."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any, Literal

import numpy as np
import pytest
import torch
from scipy.integrate import quad, solve_ivp
from torch import Tensor

from bench.conformance import laws
from bench.fitting.model import CountedModel
from models.common.errors import UsageError
from models.denoiser import Denoiser
from models.fitted import FitModel
from models.grids import GITS, GRIDS, AYSFit, FitGrid, FittedGrid, LogSNR
from models.grids.ays_fit import _bound, _moved
from models.grids.fit_grid import _FIRST_IMAGE, _STARTS
from models.grids.gits import cheapest_path
from models.networks.network import counted
from models.schedule import VE, ContinuousVP, DiscreteVP, Level, Schedule
from samplers import SAMPLERS

SHAPE = (1, 8, 8)


def model_of(network: Callable[..., Tensor], schedule: Schedule, steps: int, sampler: str = "ddim") -> CountedModel:
    solver = SAMPLERS.make(sampler)

    def make(numbers: Tensor) -> tuple[Denoiser, Callable[[], int]]:
        evaluate, count = counted(network)
        return Denoiser(evaluate, "sample", schedule), count

    def run(model: Denoiser, x: Tensor, levels: Any) -> Tensor:
        return solver.sample(model, x, list(levels), lambda like: torch.randn_like(like))

    return CountedModel(
        schedule, SHAPE, (-4.0, 4.0), make, 64, torch.device("cpu"), steps, run, dtype=torch.float64
    )  # fmt: skip


def fitted(grid: FittedGrid, model: CountedModel) -> list[Level]:
    with torch.inference_mode():
        return grid.fitted(model.schedule, model.steps, grid.fit(model))


@pytest.mark.parametrize("coefficient", [1.0, 1.15, 0.5])
def test_the_cheapest_path_is_the_best_of_all(coefficient: float) -> None:
    draws = np.random.default_rng(0)
    for intervals in range(1, 7):
        cost = draws.uniform(0.1, 1.0, (8, 8))
        each = [(0, *inner, 7) for inner in combinations(range(1, 7), intervals - 1)]

        totals = [sum(coefficient**n * cost[a, b] for n, (a, b) in enumerate(pairwise(path))) for path in each]
        assert cheapest_path(cost, intervals, coefficient) == list(each[int(np.argmin(totals))])
    assert cheapest_path(cost, 0) == [0]


def test_what_ays_measures_and_sums_has_a_closed_form_on_a_gaussian() -> None:
    """Of variance v: D(x, t) = v x / (v + t^2), and x_s is x_t with noise of variance s^2 - t^2 more."""
    variance, schedule = 0.5, VE()
    law = laws.gaussian()
    law = type(law)(torch.zeros(64, dtype=torch.float64), variance * torch.eye(64, dtype=torch.float64), SHAPE)
    nodes = [schedule.at_ratio(ratio) for ratio in np.geomspace(20.0, 0.05, 60)]
    model, count = model_of(law, schedule, 5), 2048
    draws = torch.Generator().manual_seed(1)
    x0 = math.sqrt(variance) * torch.randn(count, *SHAPE, generator=draws, dtype=torch.float64)
    with torch.inference_mode():
        moved = _moved(model, nodes, x0, torch.arange(count)).mean(0).numpy()

    def expected(low: float, high: float) -> float:
        a, b = (variance / (variance + each**2) for each in (low, high))
        first, second = (variance + each**2 for each in (low, high))
        return 64 * (a**2 * first + b**2 * second - 2.0 * a * b * first)

    for i, j in ((0, 20), (10, 40), (30, 59)):
        high, low = nodes[i].ratio, nodes[j].ratio
        assert moved[i, j] == pytest.approx(expected(low, high), rel=0.05)
    exact = np.array([[expected(min(s, t), max(s, t)) for t in ratios(nodes)] for s in ratios(nodes)])
    bound = _bound(nodes, torch.from_numpy(exact)).numpy()
    for i, j in ((0, 20), (10, 40), (30, 59)):
        high, low = nodes[i].ratio, nodes[j].ratio
        integral = quad(lambda t, high=high: expected(t, high) / t**3, low, high)[0]
        assert bound[i, j] == pytest.approx(integral, rel=0.02)


def ratios(nodes: list[Level]) -> list[float]:
    return [node.ratio for node in nodes]


@pytest.mark.parametrize("metric", ["dev", "l1", "l2"])
def test_what_gits_measures_is_the_authors_sum_over_exact_trajectories(metric: Literal["dev", "l1", "l2"]) -> None:
    """Image by image in numpy, from trajectories of another solver in another variable."""
    schedule, law = ContinuousVP(), laws.mixture_law().network
    grid = replace(GITS(images=4, nodes=12), metric=metric)
    model, nodes = model_of(law, schedule, 5), grid.candidates(schedule)
    numbers = torch.arange(4)
    with torch.inference_mode():
        found = grid._costs(model, nodes, numbers).numpy()
        start = model.start(numbers, nodes[0])
    denoiser = Denoiser(law, "sample", schedule)

    def slope(rho: float, flat: np.ndarray) -> np.ndarray:
        at = schedule.at_ratio(rho)
        state = at.alpha * torch.from_numpy(flat).reshape(4, *SHAPE)
        with torch.inference_mode():
            return denoiser(state, at).eps.numpy().flatten()

    rho = np.array(ratios(nodes))
    first = (start / nodes[0].alpha).numpy().flatten()
    exact = solve_ivp(slope, (rho[0], rho[-1]), first, "DOP853", rho, rtol=1e-9, atol=1e-9)
    way = exact.y.T.reshape(len(nodes), 4, -1).transpose(1, 0, 2)
    for image in range(4):
        for i, j in ((0, 3), (2, 11), (5, 6), (0, 11)):
            eps = slope(rho[i], way[:, i].flatten()).reshape(4, -1)[image]
            end = way[image, i] + (rho[j] - rho[i]) * eps
            if metric == "dev":
                expected = off_line(end, way[image]) - off_line(way[image, j], way[image])
            else:
                expected = float(np.linalg.norm(end - way[image, j], 1 if metric == "l1" else 2))
            assert found[image, i, j] == pytest.approx(expected, rel=0.02, abs=0.02)


def off_line(point: np.ndarray, way: np.ndarray) -> float:
    line = (way[-1] - way[0]) / np.linalg.norm(way[-1] - way[0])
    offset = point - way[0]
    return float(np.sqrt(max(offset @ offset - (offset @ line) ** 2, 0.0)))


@pytest.mark.parametrize("grid", [GITS(images=16), AYSFit(images=16), FitGrid(images=16, held_out=16, iterations=3)])
@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("schedule", [DiscreteVP.linear(), ContinuousVP(), VE()], ids=lambda each: type(each).__name__)
def test_fitted_levels_descend_between_the_schedules_ends(grid: FittedGrid, clean: bool, schedule: Schedule) -> None:
    law, grid = laws.mixture_law().network, replace(grid, clean=clean)
    for steps in (1, 2, 5):
        levels = fitted(grid, model_of(law, schedule, steps))
        assert len(levels) == steps + 1
        assert levels[0] == schedule.level(schedule.t_max)
        assert levels[-1].is_clean == clean
        assert clean or levels[-1] == schedule.level(schedule.t_min)
        assert all(later.ratio < earlier.ratio for earlier, later in pairwise(levels))


@pytest.mark.parametrize("sampler", ["ddim", "heun", "dpm++2m", "unipc"])
def test_a_fitted_grid_is_better_than_its_start_on_noise_that_it_has_not_seen(sampler: str) -> None:
    schedule, law, grid = ContinuousVP(), laws.mixture_law().network, FitGrid(images=32, held_out=32, start="logsnr")
    model = model_of(law, schedule, 6, sampler)
    with torch.inference_mode():
        found = grid.fit(model)
        best, first = found["errors"].tolist()
        assert best < 0.9 * first
        levels = grid.fitted(schedule, 6, found), LogSNR()(schedule, 6)
        errors = {
            images: [float(_errors(model, each, _FIRST_IMAGE + torch.arange(*images)).median()) for each in levels]
            for images in ((32, 64), (100, 164))
        }
    np.testing.assert_allclose(errors[32, 64], [best, first], rtol=1e-6)
    assert errors[100, 164][0] < 0.9 * errors[100, 164][1]


def _errors(model: CountedModel, levels: list[Level], numbers: Tensor) -> Tensor:
    x, schedule = model.start(numbers, levels[0]), model.schedule
    exact = model.flow(model.denoiser(numbers), x, levels[0], schedule.level(0.0), 100)
    end = model.solver(model.denoiser(numbers), x, levels)
    return (end - exact).square().flatten(1).mean(1).sqrt()


def test_it_starts_from_the_best_fixed_grid_and_is_never_worse_on_what_decides() -> None:
    schedule, law = DiscreteVP.linear(), laws.mixture_law().network
    model, grid = model_of(law, schedule, 5), FitGrid(images=16, held_out=16, iterations=1)
    with torch.inference_mode():
        found = grid.fit(model)
        numbers = _FIRST_IMAGE + torch.arange(16)
        best = min(grid._starts(schedule, 5), key=lambda each: float(_errors(model, each, numbers).log().mean()))
    assert found["start_t"].tolist() == pytest.approx([level.t for level in best[:-1]])
    assert float(found["errors"][0]) <= float(found["errors"][1])


@pytest.mark.parametrize("steps", [4, 5])
def test_it_ends_where_it_ends_from_other_starts(steps: int) -> None:
    """For Euler's method the best fixed grid has its last level at the lowest, from which the way is long."""
    schedule, law = DiscreteVP.linear(), laws.mixture_law().network
    found = {}
    for start in (None, "trailing", "logsnr"):
        with torch.inference_mode():
            grid = FitGrid(images=32, held_out=32, start=start)
            found[start] = grid.fit(model_of(law, schedule, steps))["errors"].tolist()
    assert found[None][0] < 0.95 * found[None][1]
    assert found[None][0] < 1.05 * min(best for best, _ in found.values())


def test_it_starts_from_grids_of_ours_whatever_plugins_register() -> None:
    fixed = {name for name in GRIDS.names() if not issubclass(GRIDS.get(name), FittedGrid)}
    unlike = {"explicit", "native", "leading", "oss"}  # given, none, beginning lower, and of another model
    assert {*_STARTS} == fixed - unlike


def test_what_is_fitted_itself_is_no_start() -> None:
    with pytest.raises(UsageError, match="start='gits' is fitted"):
        FitGrid(start="gits")(DiscreteVP.linear(), 5)


@pytest.mark.parametrize("name", ["gits", "ays-fit"])
def test_one_fit_of_costs_gives_the_levels_for_any_number_of_steps(name: str) -> None:
    schedule, law = ContinuousVP(), laws.mixture_law().network
    grid = GRIDS.make(f"{name}[images=16]")
    assert isinstance(grid, FittedGrid)
    with torch.inference_mode():
        found = grid.fit(model_of(law, schedule, 9))
        for steps in (2, 5, 9):
            assert grid.fitted(schedule, steps, found) == fitted(grid, model_of(law, schedule, steps))


def test_a_start_that_does_not_begin_at_the_noisiest_level_is_refused() -> None:
    with pytest.raises(UsageError, match="does not begin at the noisiest level"):
        FitGrid(start="leading")(DiscreteVP.linear(), 5)


def test_a_network_that_gives_no_numbers_is_no_fit() -> None:
    for grid in (GITS(images=8), AYSFit(images=8), FitGrid(images=8, held_out=8)):
        with pytest.raises(ValueError, match="nothing can be fitted"):
            fitted(grid, model_of(lambda x, at: math.nan * x, ContinuousVP(), 4))


def test_times_that_are_not_what_the_grid_says_are_refused() -> None:
    schedule, grid = ContinuousVP(), FitGrid()
    for times in ([1.0, 0.5], [1.0, 0.5, 0.6], [0.9, 0.5, 0.1], [1.0, 0.5, 1e-9]):
        with pytest.raises(ValueError, match="expected 3 times that descend from 1"):
            grid.fitted(schedule, 3, {"t": torch.tensor(times, dtype=torch.float64)})


def test_what_is_fitted_is_asked_by_the_protocol() -> None:
    model: FitModel = model_of(laws.mixture_law().network, ContinuousVP(), 3)
    assert model.steps == 3
