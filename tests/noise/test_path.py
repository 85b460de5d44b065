"""The path of an image is Brownian and a function of (seed, image, clock) alone, and what samplers take adds up."""

import math
from itertools import combinations, pairwise

import pytest
import torch
from scipy import stats
from torch import Tensor

from bench.conformance import laws
from bench.conformance.strong import solution
from bench.noise.path import BrownianPath, _combination
from models.denoiser import Denoiser
from models.schedule import ContinuousVP, Flow, Level
from samplers import SAMPLERS
from samplers.brownian import increment, increments

VP = ContinuousVP()
LIKE = torch.empty(3, 2, 3, 1, dtype=torch.float64)


def path(seed: int = 5, images: int = 3) -> BrownianPath:
    return BrownianPath(seed, torch.arange(images))


def factors(log_clock: float) -> dict[tuple[int, int], float]:
    return dict(zip(*_combination(log_clock), strict=True))


@pytest.mark.parametrize(
    "clocks", [(-0.1, 0.0), (-60.0, 63.0), (2.0, 2.0 + 1e-4), (1.0, 1.0), (-3.7, 11.2), (-64.0, 64.0)]
)
def test_values_have_the_covariance_of_a_brownian_motion(clocks: tuple[float, float]) -> None:
    """E W(a) W(b) = min(a, b) of the sums of independent normals that they are, but for the lines at the end."""
    a, b = (factors(each) for each in clocks)
    covariance = sum(factor * b.get(number, 0.0) for number, factor in a.items())
    assert covariance == pytest.approx(math.exp(min(clocks)), rel=1e-6)


@pytest.mark.parametrize("width", [1e-3, 1e-5, 1e-6])
def test_the_variance_of_a_short_increment_is_short_by_as_much_as_its_docstring_says(width: float) -> None:
    shares = []
    for start in torch.linspace(-3.0, 3.0, 200, dtype=torch.float64).tolist():
        a, b = factors(start), factors(start + width)
        variance = sum((b.get(number, 0.0) - a.get(number, 0.0)) ** 2 for number in a.keys() | b.keys())
        shares.append(variance / (math.exp(start) * math.expm1(width)))
    assert 1.0 - sum(shares) / len(shares) == pytest.approx(1e-8 / width, rel=0.05)


def test_no_two_midpoints_have_the_same_noise() -> None:
    numbers = [number for log_clock in (-63.9, -0.3, 0.2, 0.21, 63.9) for number in _combination(log_clock)[0]]
    assert all(0 <= which < 2**32 and level >= 3 for which, level in numbers)  # noise has 0, and labels 1 and 2
    by_place: dict[tuple[int, int], float] = {}
    for log_clock in (-63.9, -0.3, 0.2, 0.21, 63.9):
        low, high = -64.0, 64.0
        for number in _combination(log_clock)[0][2:]:
            middle = 0.5 * (low + high)
            assert by_place.setdefault(number, middle) == middle
            low, high = (low, middle) if log_clock < middle else (middle, high)


def test_increments_are_standard_normal_and_independent() -> None:
    source, like = path(images=2000), torch.empty(2000, 2, 3, 1, dtype=torch.float64)
    levels = [VP.level(t) for t in (1.0, 0.7, 0.65, 0.1)]
    found = [source.between(like, t, s, 1.0).flatten(1) for t, s in pairwise(levels)]
    for each in found:
        assert stats.kstest(each.flatten().numpy(), "norm").pvalue > 1e-3
    together = torch.cat(found, dim=1)  # elements of three increments
    assert (torch.corrcoef(together.T) - torch.eye(together.shape[1])).abs().max() < 5 / 2000**0.5


@pytest.mark.parametrize("rate", [1.0, 0.3, -0.5, -1.0])
def test_the_increments_of_parts_of_a_step_make_up_that_of_the_step(rate: float) -> None:
    t, m, s = (VP.level(time) for time in (0.8, 0.5, 0.2))
    variances = [
        abs(math.exp(2 * rate * b.logsnr) - math.exp(2 * rate * a.logsnr)) for a, b in ((t, m), (m, s), (t, s))
    ]
    first, second, whole = (
        math.sqrt(variance) * path().between(LIKE, a, b, rate)
        for variance, (a, b) in zip(variances, ((t, m), (m, s), (t, s)), strict=True)
    )
    torch.testing.assert_close(first + second, whole, rtol=1e-10, atol=1e-10)


def test_a_value_is_the_same_bit_for_bit_in_any_batch_and_after_any_other() -> None:
    whole, like = path(images=16), torch.empty(16, 1, 4, 4)
    clocks = torch.linspace(-9.0, 9.0, 7).tolist()
    expected = {each: whole.value(like, each).clone() for each in clocks}
    for numbers in (torch.tensor([11]), torch.arange(3, 10)):
        source = BrownianPath(5, numbers)
        for each in [*reversed(clocks), *clocks]:
            assert torch.equal(source.value(like[: len(numbers)], each), expected[each][numbers])


def test_the_path_of_a_seed_never_changes() -> None:
    """The first elements of image 3 of seed 2^33 + 7."""
    source = BrownianPath(2**33 + 7, torch.tensor([3]))
    found = [source.value(torch.empty(1, 2), each).flatten().tolist() for each in (0.0, 4.5)]
    assert found[0] == pytest.approx([0.21333452225657393, 0.39458203372113315], abs=1e-10)
    assert found[1] == pytest.approx([20.39167670901525, -11.39771279547031], abs=1e-8)


def test_seeds_images_and_the_noise_that_is_drawn_beside_are_uncorrelated() -> None:
    like, t, s = torch.empty(4000, 4, dtype=torch.float64), VP.level(0.9), VP.level(0.4)
    source = path(images=4000)
    base = source.between(like, t, s, 1.0)
    others = (path(6, 4000).between(like, t, s, 1.0), base.roll(1, 0), source(like), path(images=4000)(like))
    for other in others[:3]:
        assert torch.corrcoef(torch.stack([base.flatten(), other.flatten()]))[0, 1].abs() < 5 / 16000**0.5
    assert torch.equal(others[2], others[3])


def test_a_path_starts_at_pure_noise_and_ends_where_its_clock_does() -> None:
    flow = Flow(t_max=1.0)
    assert bool(path().between(LIKE, flow.level(1.0), flow.level(0.5), 1.0).isfinite().all())
    with pytest.raises(ValueError, match=r"asked for at log clock = inf; it runs from -64 to 64"):
        path().between(LIKE, VP.level(0.5), VP.level(0.0), 1.0)
    with pytest.raises(ValueError, match="at log clock = 200"):
        path().value(LIKE, 200.0)


def test_fresh_draws_are_put_together_as_a_path_is() -> None:
    """The shares of two draws in the increments from one start, in the clock 1, 2, ... of rate 1/2."""

    def at(clock: float) -> Level:
        return VP.level(VP.t_at(math.log(clock)))

    drawn = iter([torch.full((1, 1), 1.0), torch.full((1, 1), 10.0), torch.full((1, 1), 100.0)])
    found = increments(lambda like: next(drawn), torch.empty(1, 1), 0.5, at(1.0), at(2.0), at(4.0), at(10.0))
    expected = [1.0, (1.0 + 2**0.5 * 10.0) / 3**0.5, (1.0 + 2**0.5 * 10.0 + 6**0.5 * 100.0) / 9**0.5]
    assert [float(each) for each in found] == pytest.approx(expected, rel=1e-6)
    even = increments(lambda like: torch.ones(1, 1), torch.empty(1, 1), 1e-30, at(1.0), at(2.0), at(4.0))
    assert float(even[1]) == pytest.approx(2**0.5)  # a clock that hardly runs is even in log-SNR


def test_samplers_take_the_path_of_a_source_that_has_one() -> None:
    t, m, s = (VP.level(time) for time in (0.8, 0.5, 0.2))
    expected = [path().between(LIKE, t, each, -0.5) for each in (m, s)]
    assert torch.equal(increment(path(), LIKE, t, s, -0.5), expected[1])
    for found, by_path in zip(increments(path(), LIKE, -0.5, t, m, s), expected, strict=True):
        assert torch.equal(found, by_path)


SAME_EQUATION = (
    "ddpm",
    "ddim[eta=1]",
    "dpm++2m-sde",
    "dpm++2m-sde[solver=heun]",
    "dpm++3m-sde",
    "dpm++sde[clock=snr]",
    "dpm++2s-ancestral",
    "dpm-2-ancestral",
    "er-sde[noise_scale=sde]",
    "euler-maruyama",
    "reverse-diffusion",
    "sa-solver[t_min=0,t_max=1]",
    "seeds-2",
    "seeds-2[r=1,solver=phi_2]",
    "seeds-3",
)


def test_every_sampler_with_a_strong_order_is_compared_with_the_others() -> None:
    """Fails with one that has the path in none of its forms below: enter it as it solves the usual reverse SDE."""
    declare = {name for name in SAMPLERS.names() if SAMPLERS.make(name).strong_order is not None}
    assert declare <= {spec.partition("[")[0] for spec in SAME_EQUATION}
    assert all(SAMPLERS.make(spec).strong_order == 1.0 for spec in SAME_EQUATION)


def test_all_solvers_of_the_reverse_sde_end_in_the_same_solution_on_the_same_path() -> None:
    """Those of one clock, in whatever variable they work; of a half of its noise it is another."""
    model = Denoiser(laws.smooth_mixture(), "sample", VP)
    ends = {spec: solution(SAMPLERS.make(spec), 256, model)[0] for spec in SAME_EQUATION}
    for one, other in combinations(SAME_EQUATION, 2):
        assert apart(ends[one], ends[other]) < 0.035, (one, other)
    elsewhere = solution(SAMPLERS.make("dpm++2m-sde[eta=0.5]"), 256, model)[0]
    assert apart(elsewhere, ends["seeds-3"]) > 0.1


def apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).square().mean((1, 2, 3)).sqrt().median())
