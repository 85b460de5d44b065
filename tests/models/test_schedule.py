"""Noise schedules against diffusers, exact arithmetic and numerical derivatives."""

import math
from collections.abc import Sequence
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_sde_ve import ScoreSdeVeScheduler
from hypothesis import given
from hypothesis import strategies as st

from models.schedule import VE, ContinuousVP, DiscreteVP, Flow, GeometricVE, Schedule, transition

LINEAR = DiscreteVP.linear()


def within(rel: float, expected: float) -> object:
    """Equal to `expected` within a relative tolerance alone; pytest's default adds an absolute one of 1e-12."""
    return pytest.approx(expected, rel=rel, abs=0.0)


def alphas2(schedule: DiscreteVP) -> np.ndarray:
    """alpha^2 at every trained index."""
    total = schedule.train_steps or 0
    return np.array([schedule.level((n + 1) / total).alpha ** 2 for n in range(total)])


@pytest.mark.parametrize(
    ("schedule", "name", "beta_start", "beta_end", "rtol"),
    [
        (DiscreteVP.linear(), "linear", 1e-4, 0.02, 1e-5),
        (DiscreteVP.scaled_linear(), "scaled_linear", 8.5e-4, 0.012, 1e-5),
        (DiscreteVP.cosine(), "squaredcos_cap_v2", 1e-4, 0.02, 1e-4),
    ],
)
def test_discrete_schedules_equal_diffusers_up_to_its_float32_products(
    schedule: DiscreteVP, name: str, beta_start: float, beta_end: float, rtol: float
) -> None:
    """diffusers multiplies a thousand float32 factors; of cosine's last one, 1 - 0.999, only four digits are right."""
    theirs = DDPMScheduler(beta_schedule=name, beta_start=beta_start, beta_end=beta_end).alphas_cumprod
    np.testing.assert_allclose(alphas2(schedule), theirs.double().numpy(), rtol=rtol)


def test_linear_and_scaled_linear_equal_the_float64_product_of_their_betas() -> None:
    betas = 1e-4 + (0.02 - 1e-4) * np.arange(1000) / 999
    np.testing.assert_allclose(alphas2(DiscreteVP.linear()), np.cumprod(1.0 - betas), rtol=1e-12)
    roots = math.sqrt(8.5e-4) + (math.sqrt(0.012) - math.sqrt(8.5e-4)) * np.arange(1000) / 999
    np.testing.assert_allclose(alphas2(DiscreteVP.scaled_linear()), np.cumprod(1.0 - roots**2), rtol=1e-12)


def test_cosine_equals_its_closed_form_up_to_the_cut_of_the_last_beta() -> None:
    times = np.arange(1, 1001) / 1000
    closed = np.cos((times + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    ours = alphas2(DiscreteVP.cosine())
    np.testing.assert_allclose(ours[:-1], closed[:-1], rtol=1e-11)
    assert ours[-1] == within(1e-9, closed[-2] * (1 - 0.999))


def test_alphas_cumprod_come_back_from_a_schedule_made_of_them() -> None:
    given_alphas = np.linspace(0.999, 0.001, 37)
    np.testing.assert_allclose(alphas2(DiscreteVP.from_alphas_cumprod(given_alphas)), given_alphas, rtol=1e-12)


def test_time_zero_is_exactly_the_data(schedule: Schedule) -> None:
    clean = schedule.level(0.0)
    assert (clean.alpha, clean.sigma) == (1.0, 0.0)
    assert math.copysign(1.0, clean.sigma) == 1.0
    assert clean.is_clean
    assert clean.logsnr == math.inf


def test_only_time_zero_is_clean(schedule: Schedule) -> None:
    assert not any(schedule.level(t).is_clean for t in (1e-12, schedule.t_min, 0.5, 1.0))


def test_variance_preserving_schedules_preserve_variance() -> None:
    for schedule in (DiscreteVP.linear(), DiscreteVP.scaled_linear(), DiscreteVP.cosine(), ContinuousVP()):
        for t in np.linspace(0.0, 1.0, 301):
            level = schedule.level(float(t))
            assert level.alpha**2 + level.sigma**2 == pytest.approx(1.0, abs=4e-16)


@pytest.mark.parametrize("index", [0, 1, 2, 9])
def test_sigma_of_a_discrete_schedule_keeps_all_its_digits_near_the_data(index: int) -> None:
    betas = [Fraction(float(beta)) for beta in np.linspace(1e-4, 0.02, 1000)[: index + 1]]
    exact = 1 - math.prod(1 - beta for beta in betas)
    assert LINEAR.level((index + 1) / 1000).sigma ** 2 == within(1e-14, float(exact))


@pytest.mark.parametrize("t", [1e-15, 1e-9, 1e-5, 1e-3, 0.1])
def test_sigma_of_a_continuous_schedule_keeps_all_its_digits_near_the_data(t: float) -> None:
    with localcontext() as context:
        context.prec = 60
        time = Decimal(t)
        integral = (Decimal("20") - Decimal("0.1")) * time * time / 2 + Decimal("0.1") * time  # of beta from 0 to t
        exact = 1 - (-integral).exp()
    assert ContinuousVP().level(t).sigma ** 2 == within(1e-14, float(exact))


def test_edm_and_flow_levels_are_their_definitions() -> None:
    for t in (0.0, 1e-9, 0.3, 1.0):
        assert VE(sigma_max=80.0).level(t)[:3] == (t, 1.0, 80.0 * t)
        assert Flow().level(t)[:3] == (t, 1.0 - t, t)


@pytest.mark.parametrize("steps", [2, 7, 1000])
def test_geometric_ve_equals_score_sde_and_diffusers(steps: int) -> None:
    """sigma and g^2 in Score SDE's closed form at its levels from t = 1 to 1e-5, and diffusers' list of sigmas."""
    schedule = GeometricVE(0.01, 50.0)
    times = np.linspace(1.0, 1e-5, steps)
    levels = [schedule.level(float(t)) for t in times]
    sigmas = 0.01 * (50.0 / 0.01) ** times
    np.testing.assert_allclose([level.sigma for level in levels], sigmas, rtol=1e-13)
    assert {(level.alpha, level.drift) for level in levels} == {(1.0, 0.0)}
    g = sigmas * np.sqrt(2 * (np.log(50.0) - np.log(0.01)))
    np.testing.assert_allclose([level.diffusion2 for level in levels[:-1]], g[:-1] ** 2, rtol=1e-13)
    theirs = ScoreSdeVeScheduler(sigma_min=0.01, sigma_max=50.0, sampling_eps=1e-5)
    theirs.set_timesteps(steps)
    theirs.set_sigmas(steps)
    np.testing.assert_allclose([level.sigma for level in levels], theirs.sigmas.double().numpy(), rtol=1e-5)


def test_below_the_lowest_level_of_score_sde_sigma_falls_to_zero_without_a_jump() -> None:
    schedule = GeometricVE(0.01, 50.0, t_min=1e-3)
    lowest = schedule.level(1e-3)
    assert schedule.level(math.nextafter(1e-3, 1.0)).sigma == within(1e-12, lowest.sigma)
    assert schedule.level(5e-4).sigma == within(1e-14, lowest.sigma / 2)
    # Euler's step on the probability flow from there to t = 0 ends at E[x_0 | x], score = (x_0 - x) / sigma^2
    assert 0.5 * lowest.diffusion2 * lowest.t == within(1e-13, lowest.sigma**2)


def test_the_lowest_time_of_edm_has_sigma_min() -> None:
    schedule = VE(sigma_min=0.002, sigma_max=80.0)
    assert schedule.level(schedule.t_min).sigma == within(1e-14, 0.002)


def numerical_sde(schedule: Schedule, t: float, low: float, high: float) -> tuple[float, float]:
    """f = d log alpha / dt and g^2 = d sigma^2 / dt - 2 f sigma^2 by differences between two times around t."""
    below, above = schedule.level(low), schedule.level(high)
    f = (math.log(above.alpha) - math.log(below.alpha)) / (high - low)
    return f, (above.sigma**2 - below.sigma**2) / (high - low) - 2.0 * f * schedule.level(t).sigma ** 2


@pytest.mark.parametrize("n", [0, 1, 7, 100, 500, 990, 998])
@pytest.mark.parametrize("part", [0.25, 0.5, 0.9])
def test_drift_and_diffusion_are_the_derivatives_of_the_path(schedule: Schedule, n: int, part: float) -> None:
    t, h = (n + part) / 1000, 1e-5
    level = schedule.level(t)
    f, g2 = numerical_sde(schedule, t, t - h, t + h)
    assert level.drift == pytest.approx(f, rel=1e-4, abs=1e-12)
    assert level.diffusion2 == within(1e-4, g2)


@pytest.mark.parametrize("n", [0, 1, 41, 500, 999])
def test_at_an_index_the_rates_are_those_of_the_interval_below(n: int) -> None:
    """Also where arithmetic on times, such as 0.1 + 0.2, ends a hair above the index."""
    beta = 1e-4 + (0.02 - 1e-4) * n / 999
    for t in ((n + 1) / 1000, math.nextafter((n + 1) / 1000, 0.0), min(math.nextafter((n + 1) / 1000, 2.0), 1.0)):
        level = LINEAR.level(t)
        assert level.drift == within(1e-11, 500.0 * math.log1p(-beta))
        assert level.diffusion2 == within(1e-11, -1000.0 * math.log1p(-beta))


@given(t=st.floats(1e-6, 1.0))
def test_log_snr_and_time_are_inverse(schedule: Schedule, t: float) -> None:
    assert schedule.t_at(schedule.level(t).logsnr) == within(1e-9, t)


def test_infinite_log_snr_is_time_zero(schedule: Schedule) -> None:
    assert schedule.t_at(math.inf) == 0.0


@given(times=st.lists(st.floats(0.0, 1.0), min_size=2, max_size=2, unique=True))
def test_noise_never_falls_with_time(schedule: Schedule, times: list[float]) -> None:
    early, late = (schedule.level(t) for t in sorted(times))
    assert late.logsnr <= early.logsnr
    assert late.sigma >= early.sigma
    assert late.alpha <= early.alpha


@pytest.mark.parametrize("t", [-1e-9, 1.0 + 1e-9, 2.0, math.nan, math.inf])
def test_times_outside_zero_to_one_are_refused(schedule: Schedule, t: float) -> None:
    with pytest.raises(ValueError, match="outside"):
        schedule.level(t)


@pytest.mark.parametrize(
    "betas", [[], [0.0, 0.1], [0.1, 1.0], [0.1, -0.1], [0.1, 1.5], [0.1, math.nan], np.full((2, 2), 0.1)]
)
def test_betas_outside_zero_to_one_are_refused(betas: Sequence[float] | np.ndarray) -> None:
    with pytest.raises(ValueError, match="betas"):
        DiscreteVP(betas)


@pytest.mark.parametrize("alphas", [[1.0, 0.5], [0.5, 0.6], [0.5, 0.5], [0.5, 0.0], [0.5, -0.1]])
def test_alphas_cumprod_that_do_not_fall_from_below_one_to_above_zero_are_refused(alphas: list[float]) -> None:
    with pytest.raises(ValueError, match="strictly"):
        DiscreteVP.from_alphas_cumprod(alphas)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0), (1.0, 1.0)])
def test_impossible_ranges_are_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="beta_min"):
        ContinuousVP(beta_min=low, beta_max=high)
    with pytest.raises(ValueError, match="sigma_min"):
        VE(sigma_min=low, sigma_max=high)
    with pytest.raises(ValueError, match="sigma_min"):
        GeometricVE(sigma_min=low, sigma_max=high)


def test_the_network_gets_exactly_the_index_it_was_trained_on() -> None:
    for total in (1000, 50, 7):
        schedule = DiscreteVP.linear(total)
        assert [np.float32(schedule.index((n + 1) / total)) for n in range(total)] == list(range(total))
    assert LINEAR.index(0.5005) == pytest.approx(499.5)


def test_the_nearest_trained_time_is_that_of_the_nearest_index() -> None:
    assert LINEAR.nearest(0.50049) == 0.5
    assert LINEAR.nearest(0.50051) == 0.501
    assert ContinuousVP().nearest(0.50049) == 0.50049


@given(times=st.lists(st.floats(1e-4, 0.9999), min_size=3, max_size=3, unique=True))
def test_two_transitions_in_a_row_are_the_transition_between_the_ends(schedule: Schedule, times: list[float]) -> None:
    r, s, t = (schedule.level(time) for time in sorted(times))
    (ratio_sr, variance_sr), (ratio_ts, variance_ts), (ratio, variance) = (
        transition(r, s),
        transition(s, t),
        transition(r, t),
    )
    assert ratio_ts * ratio_sr == within(1e-12, ratio)
    # the variance is a difference of numbers as large as sigma_t^2
    assert ratio_ts**2 * variance_sr + variance_ts == pytest.approx(variance, abs=1e-14 * t.sigma**2)


def test_the_transition_from_the_data_is_the_level_itself(schedule: Schedule) -> None:
    for t in (1e-6, 0.3, 1.0):
        level = schedule.level(t)
        assert transition(schedule.level(0.0), level) == (level.alpha, level.sigma**2)


@pytest.mark.parametrize("n", [1, 2, 100, 999])
def test_the_transition_between_neighbouring_indices_has_the_schedules_own_beta(n: int) -> None:
    ratio, variance = transition(LINEAR.level(n / 1000), LINEAR.level((n + 1) / 1000))
    beta = 1e-4 + (0.02 - 1e-4) * n / 999
    assert ratio == within(1e-13, math.sqrt(1.0 - beta))
    assert variance == within(1e-11, beta)


@pytest.mark.parametrize("schedule", [LINEAR, ContinuousVP()])
def test_the_respaced_variance_of_a_vp_schedule_is_one_minus_the_squared_ratio(schedule: Schedule) -> None:
    ratio, variance = transition(schedule.level(0.2), schedule.level(0.7))
    assert variance == within(1e-14, 1.0 - ratio**2)


@pytest.mark.parametrize(
    ("schedule", "t", "std"), [(LINEAR, 0.9, 1.0), (ContinuousVP(), 0.9, 1.0), (VE(), 0.5, 40.0), (Flow(), 0.9, 0.9)]
)
def test_sampling_starts_from_the_level_of_its_noise_where_variance_is_not_preserved(
    schedule: Schedule, t: float, std: float
) -> None:
    assert schedule.prior_std(schedule.level(t)) == within(1e-14, std)
