"""Grids that users know from other programs: against diffusers' sigmas and against the formulas of the others."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_utils import AysSchedules
from scipy import stats

from models.common.errors import UsageError
from models.grids import GRIDS, Shift, TooManySteps
from models.grids.published import _AYS, _OSS, log_linear
from models.schedule import VE, ContinuousVP, DiscreteVP, Flow, Schedule

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

LINEAR, SD = DiscreteVP.linear(), DiscreteVP.scaled_linear()
KINDS: tuple[Schedule, ...] = (LINEAR, ContinuousVP(), VE(), Flow())
SD_BETAS: dict[str, Any] = {"beta_schedule": "scaled_linear", "beta_start": 8.5e-4, "beta_end": 0.012}
each_steps = pytest.mark.parametrize("steps", [1, 2, 5, 10, 24])


def ratios(spec: str, schedule: Schedule, steps: int) -> np.ndarray:
    """sigma / alpha of the noisy levels."""
    levels = GRIDS.make(spec)(schedule, steps)
    assert levels[-1].is_clean
    return np.array([level.ratio for level in levels[:-1]])


def flow_times(spec: str, schedule: Schedule, steps: int) -> np.ndarray:
    return np.array([level.sigma / (level.alpha + level.sigma) for level in GRIDS.make(spec)(schedule, steps)])


def range_of(schedule: Schedule) -> tuple[float, float]:
    return schedule.level(schedule.t_min).ratio, schedule.level(schedule.t_max).ratio


# k-diffusion


@each_steps
@pytest.mark.parametrize("schedule", KINDS)
@pytest.mark.parametrize("rho", [1.0, 3.0, 0.5])
def test_polyexponential_is_that_of_k_diffusion(schedule: Schedule, steps: int, rho: float) -> None:
    low, high = range_of(schedule)
    ramp = np.linspace(1, 0, steps) ** rho
    theirs = np.exp(ramp * (math.log(high) - math.log(low)) + math.log(low))
    np.testing.assert_allclose(ratios(f"polyexponential[rho={rho}]", schedule, steps), theirs, rtol=1e-9)


@each_steps
def test_exponential_is_logsnr_and_that_of_k_diffusion(steps: int) -> None:
    assert GRIDS.make("exponential") == GRIDS.make("logsnr")
    theirs = np.exp(np.linspace(math.log(80.0), math.log(0.002), steps))
    np.testing.assert_allclose(ratios("exponential", VE(), steps), theirs, rtol=1e-12)
    np.testing.assert_allclose(ratios("polyexponential", VE(), steps), theirs, rtol=1e-12)


@each_steps
@pytest.mark.parametrize("schedule", KINDS)
@pytest.mark.parametrize(("mu", "beta"), [(0.0, 0.5), (-0.4, 0.7)])
def test_laplace_is_that_of_comfyui_up_to_what_it_adds_to_keep_the_logarithm_finite(
    schedule: Schedule, steps: int, mu: float, beta: float
) -> None:
    low, high = range_of(schedule)
    x, epsilon = np.linspace(0, 1, steps), 1e-5
    logarithms = mu - beta * np.sign(0.5 - x) * np.log(1 - 2 * np.abs(0.5 - x) + epsilon)
    theirs = np.exp(logarithms).clip(low, high)
    ours = ratios(f"laplace[mu={mu},beta={beta}]", schedule, steps)
    np.testing.assert_allclose(ours[1:-1], theirs[1:-1], rtol=2e-4)
    law = stats.laplace(mu, beta)
    np.testing.assert_allclose(np.log(ours[1:-1]), law.ppf(1 - x[1:-1]), atol=1e-9)
    assert ours[0] == pytest.approx(high, rel=1e-9)
    assert ours[-1] == pytest.approx(low if steps > 1 else high, rel=1e-9)


def test_a_laplace_law_that_is_wider_than_the_schedule_is_refused_with_what_to_do() -> None:
    with pytest.raises(TooManySteps, match=r"beta=2 .*not within 157.* to 0\.01; take fewer steps, a smaller beta"):
        GRIDS.make("laplace[beta=2]")(LINEAR, 100)


# theorem 3.1 of Align Your Steps


@each_steps
@pytest.mark.parametrize("schedule", KINDS)
def test_kl_optimal_is_theorem_3_1(schedule: Schedule, steps: int) -> None:
    low, high = range_of(schedule)
    share = np.arange(steps) / max(steps - 1, 1)
    theirs = np.tan(share * math.atan(low) + (1 - share) * math.atan(high))
    np.testing.assert_allclose(ratios("kl-optimal", schedule, steps), theirs, rtol=1e-9)
    a1111 = np.tan(np.linspace(0, 1, steps + 1) * (math.atan(low) - math.atan(high)) + math.atan(high))
    without_data = [level.ratio for level in GRIDS.make("kl-optimal[clean=false]")(schedule, steps)]
    np.testing.assert_allclose(without_data, a1111, rtol=1e-9)
    within = ratios("kl-optimal[sigma_min=0.1,sigma_max=10]", schedule, steps)
    assert within[0] == pytest.approx(10.0, rel=1e-12)
    assert within[-1] == pytest.approx(0.1 if steps > 1 else 10.0, rel=1e-12)


@pytest.mark.parametrize("name", ["polyexponential", "laplace", "kl-optimal"])
def test_grids_in_sigma_refuse_a_schedule_that_starts_at_infinity(name: str) -> None:
    with pytest.raises(UsageError, match="finite sigma_min < sigma_max"):
        GRIDS.make(name)(Flow(t_max=1.0), 5)
    assert ratios(f"{name}[sigma_max=80]", Flow(t_max=1.0), 5)[0] == pytest.approx(80.0)


# by index


@each_steps
@pytest.mark.parametrize(("alpha", "beta"), [(0.6, 0.6), (0.9, 1.0), (0.5, 0.7)])
def test_beta_has_the_indices_of_comfyui(steps: int, alpha: float, beta: float) -> None:
    places = stats.beta.ppf(1 - np.linspace(0, 1, steps, endpoint=False), alpha, beta)
    theirs = list(dict.fromkeys(np.rint(places * 999).tolist()))
    ours = [level.t * 1000 - 1 for level in GRIDS.make(f"beta[alpha={alpha},beta={beta}]")(LINEAR, steps)[:-1]]
    assert ours == pytest.approx(theirs, abs=1e-9)


def test_beta_leaves_out_an_index_that_comes_twice_and_is_not_rounded_in_continuous_time() -> None:
    assert len(GRIDS.make("beta")(LINEAR, 400)) < 400
    times = [level.t for level in GRIDS.make("beta")(ContinuousVP(), 400)]
    assert len(times) == 401
    np.testing.assert_allclose(
        times[:-1], 1e-3 + 0.999 * stats.beta.ppf(np.arange(400, 0, -1) / 400, 0.6, 0.6), rtol=1e-9
    )
    # a flow's table in ComfyUI is 1/1000 ... 1
    places = stats.beta.ppf(np.arange(8, 0, -1) / 8, 0.6, 0.6)
    flow = [level.t for level in GRIDS.make("beta[t_start=1]")(Flow(), 8)[:-1]]
    np.testing.assert_allclose(flow, 0.001 + 0.999 * places, rtol=1e-12)


@each_steps
def test_diffusers_has_quantiles_of_a_beta_law_of_sigma_instead_of_time(steps: int) -> None:
    """Which is another grid: its fifth level of ten on DDPM's betas has five times the noise of ours."""
    theirs = DPMSolverMultistepScheduler(beta_start=1e-4, beta_end=0.02, use_beta_sigmas=True)
    theirs.set_timesteps(steps)
    low, high = range_of(LINEAR)
    formula = low + stats.beta.ppf(1 - np.linspace(0, 1, steps), 0.6, 0.6) * (high - low)
    np.testing.assert_allclose(theirs.sigmas.numpy()[:-1], formula, rtol=1e-3)
    if steps == 10:
        assert formula[4] > 5.0 * ratios("beta", LINEAR, steps)[4]


@each_steps
def test_sgm_uniform_is_that_of_comfyui_to_how_it_interpolates(steps: int) -> None:
    """It is even in log sigma between two indices where ours is even in log alpha."""
    table = np.log([LINEAR.level((n + 1) / 1000).ratio for n in range(1000)])
    at = np.linspace(999, 0, steps + 1)[:-1]
    ours = [level.t * 1000 - 1 for level in GRIDS.make("sgm-uniform")(LINEAR, steps)[:-1]]
    np.testing.assert_allclose(ours, at, atol=1e-9)
    theirs = np.exp(np.interp(at, np.arange(1000), table))
    np.testing.assert_allclose(ratios("sgm-uniform", LINEAR, steps), theirs, rtol=2e-4)


# flow matching


@each_steps
@pytest.mark.parametrize("shift", [1.0, 3.0, 0.5])
def test_shift_is_that_of_the_pipeline_of_flux(steps: int, shift: float) -> None:
    """It gives the scheduler 1, ..., 1/N."""
    theirs = FlowMatchEulerDiscreteScheduler(shift=shift)
    theirs.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps).tolist())
    ours = flow_times(f"shift[shift={shift},t_start=1]", Flow(), steps)
    np.testing.assert_allclose(ours, theirs.sigmas.numpy(), rtol=1e-6)


@each_steps
def test_shift_to_an_end_is_what_the_scheduler_places_alone(steps: int) -> None:
    """It shifts its lowest level, 1/1000, twice."""
    theirs = FlowMatchEulerDiscreteScheduler(shift=3.0)
    theirs.set_timesteps(steps)
    once = 0.003 / 1.002
    twice = 3 * once / (1 + 2 * once)
    ours = flow_times(f"shift[shift=3,t_start=1,t_end={twice}]", Flow(), steps)
    np.testing.assert_allclose(ours, theirs.sigmas.numpy(), rtol=1e-5)


@pytest.mark.parametrize("steps", [5, 28])
def test_sd3_has_the_levels_of_its_scheduler_which_are_not_those_of_flux(steps: int) -> None:
    theirs = FlowMatchEulerDiscreteScheduler(shift=3.0)  # its pipeline gives the number of steps alone
    theirs.set_timesteps(steps)
    sd3 = flow_times("shift[shift=3,t_start=1,t_end=0.00893]", Flow(), steps)
    np.testing.assert_allclose(sd3, theirs.sigmas.numpy(), atol=2e-6)
    flux = flow_times("shift[shift=3,t_start=1]", Flow(), steps)
    assert abs(flux - theirs.sigmas.numpy()).max() > 0.08


@pytest.mark.parametrize("tokens", [256, 1024, 4096, 9216])
def test_the_shift_for_a_number_of_tokens_is_that_of_flux(tokens: int) -> None:
    """`calculate_shift` of diffusers' pipeline, then the scheduler's `mu`."""
    slope = (1.15 - 0.5) / (4096 - 256)
    mu = tokens * slope + 0.5 - slope * 256
    theirs = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    theirs.set_timesteps(sigmas=np.linspace(1.0, 1 / 7, 7).tolist(), mu=mu)
    np.testing.assert_allclose(
        flow_times(f"shift[tokens={tokens},t_start=1]", Flow(), 7), theirs.sigmas.numpy(), rtol=1e-6
    )


@pytest.mark.parametrize("schedule", KINDS)
@pytest.mark.parametrize("spec", ["shift[shift=3]", "shift[shift=0.4]", "linear-quadratic"])
def test_grids_in_flow_time_are_the_same_on_every_schedule_from_its_noisiest_level_on(
    schedule: Schedule, spec: str
) -> None:
    ours, top = flow_times(spec, schedule, 9), flow_times(spec, schedule, 9)[0]
    high = range_of(schedule)[1]
    assert top == pytest.approx(high / (1 + high), rel=1e-12)
    shift = GRIDS.make(spec)
    if spec == "linear-quadratic":
        expected = top * np.array(mochi(9, 0.025))
    else:
        assert isinstance(shift, Shift)
        factor = shift.factor()
        start = top / (factor - (factor - 1) * top)
        even = start * np.arange(9, -1, -1) / 9
        expected = factor * even / (1 + (factor - 1) * even)
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-15)
    lower = GRIDS.make(spec.replace("]", ",t_start=0.6]") if "[" in spec else f"{spec}[t_start=0.6]")(schedule, 9)
    assert lower[0] == schedule.level(0.6)


def mochi(steps: int, threshold: float, linear: int | None = None) -> list[float]:
    """Genmo's formula, solved for a parabola through three conditions."""
    linear = steps // 2 if linear is None else linear
    slope = threshold / linear
    # value and slope at n = linear, and 1 at n = steps
    conditions = [[linear**2, linear, 1], [2 * linear, 1, 0], [steps**2, steps, 1]]
    parabola = np.linalg.solve(np.array(conditions, dtype=float), [threshold, slope, 1.0])
    noisy = [n * slope if n < linear else float(np.polyval(parabola, n)) for n in range(steps)]
    return [1.0 - each for each in [*noisy, 1.0]]


@pytest.mark.parametrize(
    ("steps", "given", "linear"), [(2, "", None), (7, "", None), (20, "", None), (8, "linear_steps=6,", 6)]
)
def test_linear_quadratic_is_mochis(steps: int, given: str, linear: int | None) -> None:
    ours = flow_times(f"linear-quadratic[{given}threshold=0.05,t_start=1]", Flow(), steps)
    np.testing.assert_allclose(ours, mochi(steps, 0.05, linear), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("shift[shift=3,tokens=1024]", "takes shift or tokens, got shift=3.0 and tokens=1024"),
        ("shift[tokens=10,base_tokens=9,max_tokens=9]", "base_tokens < max_tokens, got 9 and 9"),
        ("shift[tokens=99999999]", r"99999999 tokens make a shift of exp\(1.69e\+04\)"),
        ("shift[t_start=0.2,t_end=0.5]", "expected t_end < t_start, got t_end=0.5 and t_start=0.2"),
        ("linear-quadratic[linear_steps=10]", r"10 even steps .* expected linear_steps < 10"),
        (
            "linear-quadratic[threshold=0.6]",
            r"threshold 0.6 .* expected linear_steps < 10 and threshold < linear_steps / 10",
        ),
    ],
)
def test_what_a_grid_in_flow_time_cannot_place_is_said(spec: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        GRIDS.make(spec)(Flow(), 10)


@pytest.mark.parametrize("name", ["shift[shift=1]", "linear-quadratic"])
def test_levels_below_the_lowest_of_training_are_too_many_steps(name: str) -> None:
    with pytest.raises(TooManySteps, match="below 1/1000, the lowest level of training; take fewer steps"):
        GRIDS.make(name)(SD, 200)


# tables


@pytest.mark.parametrize(
    ("table", "sigmas", "timesteps"),
    [
        ("sd15", "StableDiffusionSigmas", "StableDiffusionTimesteps"),
        ("sdxl", "StableDiffusionXLSigmas", "StableDiffusionXLTimesteps"),
        ("svd", "StableDiffusionVideoSigmas", None),
    ],
)
def test_the_tables_of_align_your_steps_are_those_of_diffusers(table: str, sigmas: str, timesteps: str | None) -> None:
    """Its sigmas are rounded; its timesteps have ours to the last digit."""
    schedule: Schedule = SD if timesteps else VE(sigma_max=700.0)
    ours = ratios(f"ays[table={table}]", schedule, 10)
    known: Any = AysSchedules
    np.testing.assert_allclose(ours, known[sigmas][:-1], rtol=3e-3, atol=2e-3)
    if timesteps:
        at = [level.t * 1000 - 1 for level in GRIDS.make(f"ays[table={table}]")(SD, 10)[:-1]]
        np.testing.assert_allclose(at, known[timesteps], atol=1e-6)
    else:
        assert ours.tolist() == pytest.approx(known[sigmas][:-1], rel=1e-12)


def interpolated(table: tuple[float, ...], count: int) -> np.ndarray:
    """`loglinear_interp` of the authors' page."""
    at = np.linspace(0, 1, count)
    return np.exp(np.interp(at, np.linspace(0, 1, len(table)), np.log(table[::-1])))[::-1]


@pytest.mark.parametrize("steps", [1, 2, 5, 9, 10, 11, 31])
def test_other_numbers_of_steps_are_interpolated_as_the_authors_say(steps: int) -> None:
    for name, table in _AYS.items():
        schedule = VE(sigma_min=0.002, sigma_max=700.0)
        theirs = interpolated(table, steps + 1)
        np.testing.assert_allclose(ratios(f"ays[table={name}]", schedule, steps), theirs[:-1], rtol=1e-9)
        to_noise = GRIDS.make(f"ays[table={name},clean=false]")(schedule, steps)
        np.testing.assert_allclose([level.ratio for level in to_noise], theirs, rtol=1e-9)
    for name, table in _OSS.items():
        theirs = interpolated(table, steps + 1)
        np.testing.assert_allclose(flow_times(f"oss[table={name}]", Flow(), steps)[:-1], theirs[:-1], rtol=1e-9)


def test_the_tables_descend_and_have_the_steps_that_they_were_made_for() -> None:
    assert [len(table) - 1 for table in (*_AYS.values(), *_OSS.values())] == [10, 10, 10, 10, 20, 40]
    for table in (*_AYS.values(), *_OSS.values()):
        assert list(table) == sorted(set(table), reverse=True)
        assert log_linear(table, len(table)) == list(table)


@pytest.mark.parametrize("steps", [1, 5, 10, 300])
@pytest.mark.parametrize("schedule", [LINEAR, SD, ContinuousVP(), VE(), Flow()])
def test_a_table_is_placed_by_noise_on_any_schedule_that_reaches_it(schedule: Schedule, steps: int) -> None:
    flow = ("oss", "oss[table=chroma]", "oss[table=wan]") if isinstance(schedule, Flow) else ()
    for spec in ("ays", "ays[table=sdxl]", *flow):
        levels = GRIDS.make(spec)(schedule, steps)
        assert len(levels) == steps + 1
        assert all(t.t > s.t for t, s in pairwise(levels))


@pytest.mark.parametrize(
    ("spec", "schedule", "at"),
    [
        ("ays[table=svd]", LINEAR, "700"),
        ("oss", VE(), "311.5"),
        ("oss[table=wan]", LINEAR, "inf"),
        ("oss", SD, "311.5"),
    ],
)
def test_a_table_above_the_noisiest_level_is_refused(spec: str, schedule: Schedule, at: str) -> None:
    with pytest.raises(UsageError, match=rf"starts at sigma / alpha = {at}, above the schedule's noisiest level"):
        GRIDS.make(spec)(schedule, 10)


# diffusers' other grids, which ours had before


@each_steps
def test_the_exponential_and_lu_sigmas_of_diffusers_are_logsnr(steps: int) -> None:
    for option in ("use_exponential_sigmas", "use_lu_lambdas"):
        theirs = DPMSolverMultistepScheduler(**SD_BETAS, **{option: True})
        theirs.set_timesteps(steps)
        np.testing.assert_allclose(ratios("logsnr", SD, steps), theirs.sigmas.numpy()[:-1], rtol=1e-3)


@each_steps
def test_the_flow_sigmas_of_diffusers_are_a_shifted_linspace(steps: int) -> None:
    theirs = DPMSolverMultistepScheduler(
        use_flow_sigmas=True, flow_shift=3.0, prediction_type="flow_prediction", beta_schedule="linear"
    )
    theirs.set_timesteps(steps)
    top, shifted = 0.999, 3 * 0.999 / (1 + 2 * 0.999)
    ours = flow_times(f"shift[shift=3,t_start={shifted}]", Flow(), steps)
    np.testing.assert_allclose(ours[:-1], theirs.sigmas.numpy()[:-1], rtol=1e-5)
    assert top < ours[0]
