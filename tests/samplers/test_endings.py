"""What an order that falls at the end is good for: the exact flow of a mixture on grids whose last step is long."""

import pytest
import torch

from bench.conformance import laws
from bench.noise.stream import ImageNoise
from models.denoiser import Denoiser
from models.grids import GRIDS
from samplers import SAMPLERS

_TIME_UNIFORM = "linspace"
"""To the clean level from t = 1e-3, which the step before reaches from t = 1 / N: the longest in log-SNR by far."""


def error(spec: str, steps: int, grid: str = _TIME_UNIFORM) -> float:
    """RMS distance from the solution of the flow at t = 1e-3."""
    x, solution = laws._solution()
    model, levels = Denoiser(laws.smooth_mixture(), "sample", laws._SMOOTH), GRIDS.make(grid)(laws._SMOOTH, steps)
    with torch.inference_mode():
        found = SAMPLERS.make(spec).sample(model, x, levels, ImageNoise(0, torch.arange(len(x))))
    return float((found - solution).square().mean().sqrt())


@pytest.mark.parametrize(
    ("spec", "without", "steps", "at_most", "at_least"),
    [
        ("dpm++2m", "lower_order_below=0", 9, 0.13, 0.24),
        ("dpm++3m", "lower_order_below=0", 9, 0.12, 0.6),
        ("dpm++3m", "lower_order_below=10", 11, 0.08, 0.35),
        ("unipc[variant=bh1]", "lower_order_below=0", 9, 0.1, 0.6),
        ("unipc[variant=bh1]", "first_order_to=clean", 9, 0.1, 1.4),
        ("unipc", "first_order_to=clean", 9, 0.12, 0.3),
        ("sa-solver[tau=0]", "lower_order_below=0", 11, 0.08, 0.4),
        ("sa-solver[tau=0,predictor_order=2,corrector_order=1]", "lower_order_below=0", 11, 0.06, 0.5),
        ("sa-solver[tau=0,predictor_order=3,corrector_order=4]", "lower_order_below=0", 11, 0.08, 0.35),
    ],
)
def test_by_default_the_last_step_between_noisy_levels_is_of_first_order(
    spec: str, without: str, steps: int, at_most: float, at_least: float
) -> None:
    changed = f"{spec[:-1]},{without}]" if spec.endswith("]") else f"{spec}[{without}]"
    assert error(spec, steps) < at_most
    assert error(changed, steps) > at_least


@pytest.mark.parametrize("spec", ["dpm++2m", "dpm++3m", "unipc", "unipc[variant=bh1]", "sa-solver[tau=0]"])
@pytest.mark.parametrize("steps", [6, 11, 21])
def test_a_step_to_the_clean_level_does_not_move_the_ending(spec: str, steps: int) -> None:
    """It is x_0 itself: with it and without a method loses as much, as in the authors' code."""
    to_noise = error(spec, steps - 1, f"{_TIME_UNIFORM}[clean=false]")
    assert error(spec, steps) == pytest.approx(to_noise, rel=0.5)


def test_one_more_evaluation_at_the_end_changes_what_sa_solver_ends_in_by_little() -> None:
    plain, more = (error(f"sa-solver[tau=0,evaluate_end={value}]", 11) for value in ("false", "true"))
    assert plain != more
    assert more == pytest.approx(plain, rel=0.2)
