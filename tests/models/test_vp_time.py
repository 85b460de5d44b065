"""Steps placed in the time of a VP schedule, against EDM's closed form, on every kind of schedule."""

import math

import numpy as np
import pytest

from models.common.errors import UsageError
from models.grids import Grid, InVPTime, Power
from models.schedule import VE, ContinuousVP, DiscreteVP, GeometricVE, Level, Schedule


def ratios(levels: list[Level]) -> list[float]:
    return [level.sigma / level.alpha for level in levels]


def edm_vp_time(low: float, high: float, times: np.ndarray) -> np.ndarray:
    """sigma at VP times, with EDM's two coefficients for sigma(1e-3) = low and sigma(1) = high."""
    beta_d = 2 * (np.log(low**2 + 1) / 1e-3 - np.log(high**2 + 1)) / (1e-3 - 1)
    beta_min = np.log(high**2 + 1) - 0.5 * beta_d
    return np.asarray(np.sqrt(np.e ** (0.5 * beta_d * times**2 + beta_min * times) - 1))


@pytest.mark.parametrize("steps", [2, 4, 11, 40])
@pytest.mark.parametrize("rho", [1.0, 2.0])
@pytest.mark.parametrize("schedule", [VE(), ContinuousVP(), GeometricVE(), DiscreteVP.linear()])
def test_vp_time_equals_the_formula_of_edm_on_every_schedule(schedule: Schedule, steps: int, rho: float) -> None:
    times = (1 + np.arange(steps) / (steps - 1) * (1e-3 ** (1 / rho) - 1)) ** rho
    expected = edm_vp_time(0.02, 40.0, times)
    found = InVPTime(rho=rho, sigma_min=0.02, sigma_max=40.0)(schedule, steps)
    np.testing.assert_allclose(ratios(found[:-1]), expected, rtol=1e-9)


def test_vp_time_on_edms_noise_levels() -> None:
    """From sigma 80 to 0.002, as in the published tables of DEIS; the number in the middle is worked out by hand."""
    levels = InVPTime(clean=False)(VE(), 2)
    # sqrt(t) halfway: t = ((1 + sqrt(0.001)) / 2)^2; beta_d = 17.537957, beta_min = -0.0047684
    t = ((1 + math.sqrt(1e-3)) / 2) ** 2
    middle = math.sqrt(math.expm1(0.5 * 17.537957 * t**2 - 0.0047684 * t))
    np.testing.assert_allclose(ratios(levels), [80.0, middle, 0.002], rtol=1e-6)


@pytest.mark.parametrize("steps", [3, 10])
def test_on_a_vp_schedule_vp_time_is_its_own(steps: int) -> None:
    times = Power(exponent=2.0, t_end=1e-3).times(ContinuousVP(), steps)
    np.testing.assert_allclose(InVPTime().times(ContinuousVP(), steps), times, rtol=1e-9)


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        (InVPTime(sigma_min=30.0, sigma_max=20.0), "sigma_min < sigma_max"),
        (
            InVPTime(sigma_min=10.0, sigma_max=20.0),
            "no VP schedule has sigma / alpha = 20 at t = 1 and 10 at t = 0.001",
        ),
    ],
)
def test_noise_levels_that_no_vp_time_spans_are_refused(grid: Grid, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        grid(VE(), 5)
