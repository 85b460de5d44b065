"""Grids against diffusers, the papers' and authors' formulas, and exact arithmetic."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_heun_discrete import HeunDiscreteScheduler
from hypothesis import assume, given
from hypothesis import strategies as st

from models.common.errors import UsageError
from models.grids import GRIDS, Explicit, FittedGrid, Grid, Karras, Leading, Linspace, LogSNR, Power, Quad, Trailing
from models.schedule import VE, ContinuousVP, DiscreteVP, Flow, Level, Schedule

LINEAR = DiscreteVP.linear()
PLACED = [name for name in GRIDS.names() if not issubclass(GRIDS.get(name), (Explicit, FittedGrid))]


def indices(grid: Grid, steps: int, schedule: DiscreteVP = LINEAR) -> list[int]:
    """Trained indices of the noisy levels, which must be exactly on the schedule; the clean level must follow them."""
    total = schedule.train_steps or 0
    levels = grid(schedule, steps)
    found = [round(level.t * total) - 1 for level in levels[:-1]]
    assert levels == [*(schedule.level((n + 1) / total) for n in found), schedule.level(0.0)]
    return found


def diffusers_timesteps(spacing: str, steps: int) -> list[int]:
    scheduler = DDIMScheduler(timestep_spacing=spacing, steps_offset=0)
    scheduler.set_timesteps(steps)
    timesteps: list[int] = scheduler.timesteps.tolist()
    return timesteps


def ratios(levels: list[Level]) -> np.ndarray:
    """sigma / alpha of each level."""
    return np.array([level.sigma / level.alpha for level in levels])


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 10, 25, 48, 61, 333, 334, 600, 999, 1000])
def test_leading_equals_diffusers_and_the_authors_range(steps: int) -> None:
    ours = indices(Leading(), steps)
    assert ours == diffusers_timesteps("leading", steps)
    assert ours == list(range(0, 1000, 1000 // steps))[:steps][::-1]


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 10, 16, 25, 50, 99, 333, 600, 1000])
def test_trailing_equals_diffusers_where_its_float_range_is_right(steps: int) -> None:
    """Elsewhere diffusers' `arange(T, 0, -T/S)` returns S + 1 values (S = 61) or falls just short of a tie (S = 48)."""
    assert indices(Trailing(), steps) == diffusers_timesteps("trailing", steps)


def test_trailing_equals_exact_arithmetic_at_every_number_of_steps() -> None:
    for steps in range(1, 1001):
        exact = [round(Fraction(1000 * n, steps)) / 1000 for n in range(steps, 0, -1)]
        assert Trailing().times(LINEAR, steps) == exact, steps


@pytest.mark.parametrize("steps", [2, 3, 5, 7, 10, 13, 28, 50, 112, 334, 500, 999, 1000])
def test_linspace_equals_diffusers_where_its_float_range_is_right(steps: int) -> None:
    """Elsewhere (S = 27 is the first) some index that lies halfway between two comes out a hair beside it."""
    assert indices(Linspace(), steps) == diffusers_timesteps("linspace", steps)


def test_linspace_equals_exact_arithmetic_at_every_number_of_steps() -> None:
    """It is the index that is rounded, halves to even, as in diffusers and the authors' `space_timesteps`."""
    for steps in range(2, 1001):
        exact = [(round(Fraction(999 * n, steps - 1)) + 1) / 1000 for n in reversed(range(steps))]
        assert Linspace().times(LINEAR, steps) == exact, steps


def test_a_single_linspace_or_trailing_step_starts_at_the_noisiest_level() -> None:
    assert indices(Linspace(), 1) == indices(Trailing(), 1) == [999]


@pytest.mark.parametrize("steps", [2, 5, 10, 20, 29, 30, 49, 50, 51, 100, 1000])
def test_quad_equals_the_authors_formula_with_repeated_indices_once(steps: int) -> None:
    authors = [int(s) for s in np.linspace(0, np.sqrt(1000 * 0.8), steps) ** 2]
    assert indices(Quad(), steps) == sorted(set(authors), reverse=True)


def test_quad_starts_at_800_and_has_49_noisy_levels_at_50_steps() -> None:
    noisy = indices(Quad(), 50)
    assert (noisy[0], noisy[-1], len(noisy)) == (800, 0, 49)
    assert len(indices(Quad(), 29)) == 29  # up to here no index comes twice


@pytest.mark.parametrize("steps", [2, 5, 18, 40])
@pytest.mark.parametrize("rho", [7.0, 3.0])
def test_karras_equals_equation_5_of_edm(steps: int, rho: float) -> None:
    place = np.arange(steps)
    edm = (80 ** (1 / rho) + place / (steps - 1) * (0.002 ** (1 / rho) - 80 ** (1 / rho))) ** rho
    np.testing.assert_allclose(ratios(Karras(rho=rho)(VE(), steps)[:-1]), edm, rtol=1e-12)
    vp = Karras(rho=rho, sigma_min=0.002, sigma_max=80.0)(ContinuousVP(), steps)
    np.testing.assert_allclose(ratios(vp[:-1]), edm, rtol=1e-9)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("steps", [2, 7, 10, 30])
def test_karras_equals_the_sigmas_of_diffusers_heun_scheduler(steps: int) -> None:
    """Up to its sigma_min: 1 - alphas_cumprod[0] in float32 has lost all but four digits."""
    theirs = HeunDiscreteScheduler(beta_start=1e-4, beta_end=0.02, use_karras_sigmas=True)
    theirs.set_timesteps(steps)
    sigmas = theirs.sigmas.double().unique().flip(0).numpy()  # it lists all but the first and the last twice
    np.testing.assert_allclose(ratios(Karras()(LINEAR, steps)), sigmas, rtol=1e-4)


def test_karras_covers_the_range_that_it_is_given() -> None:
    levels = Karras(sigma_min=0.05, sigma_max=20.0)(LINEAR, 9)
    assert ratios(levels)[[0, -2]] == pytest.approx([20.0, 0.05], rel=1e-12)


@pytest.mark.parametrize("schedule", [LINEAR, DiscreteVP.cosine(), ContinuousVP(), VE()])
@pytest.mark.parametrize("t_end", [None, 0.02])
def test_logsnr_is_even_in_lambda_between_its_ends(schedule: Schedule, t_end: float | None) -> None:
    levels = LogSNR(t_end=t_end)(schedule, 13)[:-1]
    low, high = levels[0].logsnr, schedule.level(schedule.t_min if t_end is None else t_end).logsnr
    assert levels[0].t == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose([level.logsnr for level in levels], np.linspace(low, high, 13), atol=1e-9)


@pytest.mark.parametrize("schedule", [ContinuousVP(t_min=1e-3), VE(), Flow(t_min=1e-3)])
def test_in_continuous_time_grids_are_the_formulas_without_rounding(schedule: Schedule) -> None:
    n, low, high = np.arange(7), schedule.t_min, schedule.t_max
    reach = high - low if isinstance(schedule, Flow) else 0.8
    for grid, times in (
        (Leading(), low + n[::-1] / 7),
        (Trailing(), high * (7 - n) / 7),
        (Linspace(), high + n / 6 * (low - high)),
        (Quad(), low + reach * (1 - n / 6) ** 2),
    ):
        levels = grid(schedule, 7)
        np.testing.assert_allclose([level.t for level in levels], [*times, 0.0], rtol=1e-12, atol=1e-15)


def test_an_explicit_grid_is_what_it_lists() -> None:
    times = (1.0, 0.9, 0.123, 0.001)
    assert Explicit(t=times)(LINEAR, 4) == [LINEAR.level(t) for t in (*times, 0.0)]
    assert Explicit(t=times, clean=False)(LINEAR, 3) == [LINEAR.level(t) for t in times]


def test_an_explicit_grid_lists_times_noise_levels_or_indices() -> None:
    indices = (999, 850, 736, 645, 545, 455, 343, 233, 124, 24)  # published for Stable Diffusion, arXiv 2404.14507
    by_index = GRIDS.make(f"explicit[index={list(indices)}]")(LINEAR, 10)
    assert by_index == [LINEAR.level(t) for t in (*((n + 1) / 1000 for n in indices), 0.0)]
    sigmas = tuple(level.ratio for level in by_index[:-1])
    by_sigma = Explicit(sigma=sigmas)(LINEAR, 10)
    assert [level.ratio for level in by_sigma[:-1]] == pytest.approx(sigmas, rel=1e-12, abs=0.0)


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        (Explicit(), "one list of t, sigma or index, got none"),
        (Explicit(t=(0.5, 0.1), sigma=(3.0, 1.0)), "got t and sigma"),
        (Explicit(index=(900, 100)), "the schedule is continuous"),
        (Explicit(sigma=(3.0, 0.0)), "expected sigma > 0"),
    ],
)
def test_explicit_lists_that_say_nothing_or_two_things_are_refused(grid: Grid, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        grid(ContinuousVP(), 2)


@pytest.mark.parametrize("make", [Linspace, Power, LogSNR])
@pytest.mark.parametrize("schedule", [LINEAR, ContinuousVP(), VE()])
def test_grids_between_two_times_start_and_end_there(make: type[Linspace], schedule: Schedule) -> None:
    for count in (2, 7):
        levels = make(t_start=0.9, t_end=0.1)(schedule, count)
        assert [levels[0].t, levels[-2].t] == pytest.approx([0.9, 0.1], rel=1e-9, abs=0.0)
        assert levels[-1].is_clean
    with pytest.raises(UsageError, match="expected t_end < t_start"):
        make(t_start=0.1, t_end=0.5)(schedule, 4)


def test_the_power_grid_is_even_in_a_root_of_time() -> None:
    n = np.arange(6)
    expected = (1.0 + n / 5 * (0.04**0.5 - 1.0)) ** 2  # DPM-Solver's time_quadratic
    np.testing.assert_allclose(Power(t_end=0.04).times(ContinuousVP(), 6), expected, rtol=1e-14)
    even = Linspace(t_end=0.04).times(ContinuousVP(), 6)
    np.testing.assert_allclose(Power(t_end=0.04, exponent=1.0).times(ContinuousVP(), 6), even, rtol=1e-14)


@given(name=st.sampled_from(PLACED), steps=st.integers(1, 1000), clean=st.booleans())
def test_every_grid_descends_strictly_on_every_schedule(schedule: Schedule, name: str, steps: int, clean: bool) -> None:
    assume(clean or steps < 1000)
    levels = GRIDS.get(name)(clean=clean)(schedule, steps)
    assert all(t.t > s.t and t.logsnr < s.logsnr for t, s in pairwise(levels))
    assert len(levels) == steps + 1 or name == "quad"
    assert 0.0 <= levels[-1].t < levels[0].t <= 1.0
    assert [level.is_clean for level in levels] == [False] * (len(levels) - 1) + [clean]


@pytest.mark.parametrize("name", PLACED)
@pytest.mark.parametrize("schedule", [LINEAR, ContinuousVP(), VE()])
def test_a_grid_without_the_clean_level_ends_at_the_lowest_noisy_one(name: str, schedule: Schedule) -> None:
    levels = GRIDS.get(name)(clean=False)(schedule, 12)
    assert levels == GRIDS.get(name)(clean=True)(schedule, 13)[:-1]
    assert len(levels) == 13
    lowest = schedule.nearest(1 / 13) if name in ("trailing", "native") else schedule.t_min
    assert levels[-1].t == pytest.approx(lowest, rel=1e-9, abs=0.0)


@pytest.mark.parametrize("name", GRIDS.names())
@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_fewer_steps_than_one_or_more_than_trained_are_refused(name: str, steps: int) -> None:
    with pytest.raises(UsageError, match="1 to 1000"):
        GRIDS.get(name)()(LINEAR, steps)


@pytest.mark.parametrize("name", ["leading", "trailing", "linspace", "quad"])
def test_more_noisy_levels_than_the_network_was_trained_on_are_refused(name: str) -> None:
    """Without the clean level, T steps need T + 1 noisy levels; fewer steps than asked for must not pass silently."""
    with pytest.raises(UsageError, match="cannot place 1000 steps"):
        GRIDS.get(name)(clean=False)(LINEAR, 1000)


@pytest.mark.parametrize("schedule", [ContinuousVP(), VE(), Flow()])
def test_continuous_time_has_no_upper_limit_of_steps(schedule: Schedule) -> None:
    for name in PLACED:
        assert len(GRIDS.make(name)(schedule, 5000)) == 5001
    with pytest.raises(UsageError, match="at least 1"):
        Linspace()(ContinuousVP(), 0)


@pytest.mark.parametrize(
    "times", [(), (1.0,), (1.0, 0.5, 0.2), (0.5, 1.0), (0.5, 0.5), (1.0, 0.0), (1.5, 0.5), (1.0, -0.5), (1.0, math.nan)]
)
def test_explicit_lists_of_the_wrong_length_order_or_range_are_refused(times: tuple[float, ...]) -> None:
    with pytest.raises(UsageError):
        Explicit(t=times)(ContinuousVP(), 2)


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0)])
def test_an_empty_range_of_sigma_is_refused(low: float, high: float) -> None:
    with pytest.raises(UsageError, match="sigma_min < sigma_max"):
        Karras(sigma_min=low, sigma_max=high)(VE(), 5)


@pytest.mark.parametrize("schedule", [LINEAR, VE()])
def test_a_sigma_above_the_schedules_highest_is_refused(schedule: Schedule) -> None:
    """All levels above the highest would be that same one, and fewer steps than asked for would be left."""
    with pytest.raises(UsageError):
        Karras(sigma_max=1000.0)(schedule, 10)


@pytest.mark.parametrize("grid", [Karras(), LogSNR()])
def test_grids_in_log_snr_refuse_a_schedule_that_starts_at_zero_snr(grid: Grid) -> None:
    with pytest.raises(UsageError, match="finite"):
        grid(Flow(t_max=1.0), 5)


def test_karras_with_a_highest_sigma_works_on_a_schedule_that_starts_at_zero_snr() -> None:
    assert ratios(Karras(sigma_max=80.0)(Flow(), 5))[0] == pytest.approx(80.0, rel=1e-12)
