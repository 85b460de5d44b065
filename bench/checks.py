"""The conformance suite: what must be true of every sampler, in the tree or from a package.

Nothing here names a sampler. Each check runs one on a network in closed form, where the right answer is known exactly,
and says by how much it holds. `run_bench.py check NAME` prints the outcome; the test suite runs all of it on every
registered sampler.
"""

import dataclasses
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from bench import exact
from bench.noise import ImageNoise
from models.denoiser import Denoiser
from models.grids import GRIDS
from models.networks import Network
from models.schedule import ContinuousVP, DiscreteVP, Schedule
from samplers import SAMPLERS, Sampler

SHAPE = (1, 8, 8)
LAW_STEPS, LAW_IMAGES = 2000, 512
LAW_TOLERANCE = 0.08
ORDER_TOLERANCE = 0.2


class Nonconforming(AssertionError):
    """A sampler fails a check; the message says by how much."""


class NotApplicable(Exception):
    """A check says nothing about this sampler; the message says why."""


@dataclass(frozen=True)
class Check:
    """One property: its name is what must be true, `run` returns how well it holds or raises `Nonconforming`."""

    name: str
    run: Callable[[Sampler], str]


@dataclass(frozen=True)
class Result:
    """The outcome of a check on a sampler."""

    outcome: Literal["passed", "failed", "skipped"]
    detail: str


def run_check(check: Check, sampler: Sampler) -> Result:
    """Run one check; whatever the sampler raises is a failure."""
    try:
        return Result("passed", check.run(sampler))
    except NotApplicable as reason:
        return Result("skipped", str(reason))
    except Nonconforming as failure:
        return Result("failed", str(failure))
    except Exception as error:
        return Result("failed", f"raised {type(error).__name__}: {error}")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise Nonconforming(message)


@dataclass(frozen=True)
class _Run:
    """One `sample` call on a law in closed form."""

    x: Tensor
    start: Tensor
    result: Tensor
    model: Denoiser
    noise: "_CountingNoise"


class _CountingNoise:
    """Counter-based noise that remembers how often it was asked."""

    def __init__(self, seed: int, images: Tensor) -> None:
        self._source, self.draws = ImageNoise(seed, images), 0

    def __call__(self, like: Tensor) -> Tensor:
        self.draws += 1
        return self._source(like)


def _sample(
    sampler: Sampler,
    network: Network,
    steps: int = 10,
    images: Tensor | None = None,
    grid: str = "trailing",
    schedule: Schedule | None = None,
) -> _Run:
    numbers = torch.arange(16) if images is None else images
    schedule = DiscreteVP.linear() if schedule is None else schedule
    levels = GRIDS.make(grid)(schedule, steps)
    noise = _CountingNoise(0, numbers)
    x = noise(torch.empty(len(numbers), *SHAPE, dtype=torch.float64)) * schedule.prior_std(levels[0])
    noise.draws = 0
    model = Denoiser(network, "sample", schedule)
    start = x.clone()
    with torch.inference_mode():
        result = sampler.sample(model, x, levels, noise)
    return _Run(x, start, result, model, noise)


def _keeps_shape(sampler: Sampler) -> str:
    for dtype in (torch.float32, torch.float64):
        schedule = DiscreteVP.linear()
        levels = GRIDS.make("trailing")(schedule, 5)
        law = exact.gaussian(dtype)
        x = torch.randn(3, *SHAPE, dtype=dtype, generator=torch.Generator().manual_seed(0))
        result = sampler.sample(Denoiser(law, "sample", schedule), x, levels, ImageNoise(0, torch.arange(3)))
        given = (x.shape, x.dtype, x.device)
        got = (result.shape, result.dtype, result.device)
        _require(given == got, f"given {given}, returned {got}")
        _require(bool(result.isfinite().all()), f"{int((~result.isfinite()).sum())} values are NaN or Inf")
    return "as given, in float32 and float64"


def _leaves_input(sampler: Sampler) -> str:
    run = _sample(sampler, exact.gaussian())
    change = float((run.x - run.start).abs().max())
    _require(change == 0.0, f"the initial state changed by up to {change:.3g}")
    return "the initial state is unchanged"


def _numpy_state() -> str:
    state: Any = np.random.get_state(legacy=False)
    return repr((state["state"]["key"].tobytes(), state["state"]["pos"], state["has_gauss"], state["gauss"]))


def _leaves_random_state(sampler: Sampler) -> str:
    before = (torch.get_rng_state(), _numpy_state(), random.getstate())
    _sample(sampler, exact.gaussian())
    torch_same = torch.equal(before[0], torch.get_rng_state())
    numpy_same = before[1] == _numpy_state()
    moved = [
        name
        for name, same in (("torch", torch_same), ("numpy", numpy_same), ("random", before[2] == random.getstate()))
        if not same
    ]
    _require(not moved, f"draws from the global generator of {', '.join(moved)}; use the noise argument")
    return "torch, numpy and random untouched"


def _repeats(sampler: Sampler) -> str:
    first, second = _sample(sampler, exact.gaussian()), _sample(sampler, exact.gaussian())
    change = float((first.result - second.result).abs().max())
    _require(change == 0.0, f"the same call twice differs by up to {change:.3g}: there is hidden state or other noise")
    return "bit for bit"


def _independent_of_batch(sampler: Sampler) -> str:
    numbers = torch.arange(64)
    whole = _sample(sampler, exact.gaussian(), images=numbers).result
    worst = 0.0
    for batch in (1, 7):
        parts = [_sample(sampler, exact.gaussian(), images=part).result for part in numbers[:14].split(batch)]
        worst = max(worst, float((torch.cat(parts) - whole[:14]).abs().max()))
    _require(worst < 1e-9, f"images of batches 1 and 7 differ from those of batch 64 by up to {worst:.3g}")
    return f"batches of 1, 7 and 64 agree to {worst:.1g}"


def _counts(sampler: Sampler) -> str:
    found = []
    few = () if sampler.places_steps else ((1, "trailing"), (2, "trailing"), (9, "logsnr[clean=false]"))
    for steps, grid in (*few, (10, "trailing"), (20, "trailing")):
        run = _sample(sampler, exact.gaussian(), steps, grid=grid)
        measured = run.model.evaluations / len(run.x)
        declared = sampler.nfe(GRIDS.make(grid)(DiscreteVP.linear(), steps))
        if declared is None:
            raise NotApplicable("it declares no number of evaluations: they are known once they are made")
        _require(measured == declared, f"{steps} steps on {grid}: declares {declared} evaluations, makes {measured:g}")
        found.append(f"{measured:g} at {steps}")
    return "evaluations as declared: " + ", ".join(found)


def _round_trips(sampler: Sampler) -> str:
    _require(dataclasses.is_dataclass(sampler), "not a dataclass; decorate the class with @dataclass(frozen=True)")
    parameters: dict[str, Any] = dataclasses.asdict(sampler)  # type: ignore[call-overload]
    frozen = type(sampler).__dataclass_params__.frozen  # type: ignore[attr-defined]
    try:
        text = json.dumps(parameters, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Nonconforming(f"parameters {parameters!r} cannot be stored as JSON: {error}") from None
    _require(frozen, "the dataclass is not frozen; a sampler must have no state")
    spec = SAMPLERS.name_of(sampler) + "[" + ",".join(f"{k}={json.dumps(v)}" for k, v in parameters.items()) + "]"
    _require(SAMPLERS.make(spec) == sampler, f"{spec} makes {SAMPLERS.make(spec)!r}, not {sampler!r}")
    short = SAMPLERS.spec_of(sampler)
    _require(SAMPLERS.make(short) == sampler, f"{short} makes {SAMPLERS.make(short)!r}, not {sampler!r}")
    return f"{text} and back"


def _declares_noise(sampler: Sampler) -> str:
    draws = [_sample(sampler, exact.gaussian(), 20, grid=grid).noise.draws for grid in ("trailing", "logsnr")]
    _require(
        (sum(draws) > 0) == sampler.stochastic,
        f"stochastic = {sampler.stochastic}, but draws noise {draws[0]} and {draws[1]} times in 20 steps on two grids",
    )
    return f"{draws[0]} and {draws[1]} draws of noise in 20 steps, on trailing and logsnr"


def _finest(sampler: Sampler) -> tuple[Schedule, int]:
    """The schedule and the steps on which the exact laws have to be reached."""
    # adapters to libraries take discrete schedules, and seconds to place thousands of steps on them
    return (DiscreteVP.linear(), 500) if sampler.places_steps else (ContinuousVP(), LAW_STEPS)


def _reaches_point(sampler: Sampler) -> str:
    law = exact.point()
    schedule, steps = _finest(sampler)
    run = _sample(sampler, law, steps, schedule=schedule)
    error = float((run.result - law.points[0]).square().mean().sqrt())
    last = schedule.level(1.0 / steps).sigma
    # Euler's method in time halves the noise of the last level; all others remove it
    _require(
        error < 0.75 * last,
        f"ends {error:.2g} (RMS) away from data that are a single point; its last step began at sigma {last:.2g}",
    )
    return f"data at a single point are reached to {error:.1g}, the last step starting from sigma {last:.2g}"


def _keeps_precision(sampler: Sampler) -> str:
    """From sigma 1e-3 to 1e-7 around a single point, where 1 - alpha^2 is far below what float32 resolves."""
    schedule, law, numbers = ContinuousVP(), exact.point(), torch.arange(64)
    levels = [schedule.at_ratio(10.0**exponent) for exponent in np.linspace(-3.0, -7.0, 401)]
    if sampler.needs == "generator":
        raise NotApplicable("it goes to x_0 in every step, and so has nothing to lose on the way")
    if sampler.places_steps:
        raise NotApplicable("it places its steps itself, and so never goes as low")
    if sampler.nfe(levels) is None:
        raise NotApplicable("it chooses its own steps, whose error is its tolerance")
    noise = ImageNoise(0, numbers)
    point = law.points[0].expand(len(numbers), *SHAPE)
    x = levels[0].alpha * point + levels[0].sigma * noise(point)
    with torch.inference_mode():
        found = sampler.sample(Denoiser(law, "sample", schedule), x, levels, noise)
    spread = float(((found - levels[-1].alpha * point) / levels[-1].sigma).square().mean().sqrt())
    _require(
        0.7 < spread < 1.4,
        f"at sigma {levels[-1].sigma:.0e} the noise left has {spread:.3g} times the standard deviation it should have",
    )
    return f"the noise left at sigma = {levels[-1].sigma:.0e} is {spread:.3f} of what it should be"


def _reaches_gaussian(sampler: Sampler) -> str:
    law = exact.gaussian_law()
    network = law.network if sampler.needs == "denoiser" else exact.generator(exact.gaussian())
    return _compared(law, network, sampler)


def _reaches_mixture(sampler: Sampler) -> str:
    if sampler.needs == "generator":
        raise NotApplicable("it needs a generator, which has no closed form for a mixture")
    law = exact.mixture_law()
    return _compared(law, law.network, sampler)


def _compared(law: exact.Law, network: Network, sampler: Sampler) -> str:
    schedule, steps = _finest(sampler)
    found = _sample(sampler, network, steps, torch.arange(LAW_IMAGES), schedule=schedule).result
    shift, spread, covariance, weights = law.errors(found)
    allowed = law.monte_carlo_errors(LAW_IMAGES)
    summary = (
        f"mean off by {shift:.3f} standard deviations ({allowed.shift:.3f} for perfect samples), "
        f"variance by {spread:+.1%} ({allowed.spread:.1%}), "
        f"covariance by {covariance:.3f} ({allowed.covariance:.3f}), modes by {weights:.3f} ({allowed.weights:.3f})"
    )
    good = shift < 4 * allowed.shift and abs(spread) < LAW_TOLERANCE + 4 * allowed.spread
    good = good and covariance < LAW_TOLERANCE**2 + allowed.covariance and weights <= 4 * allowed.weights
    _require(good, f"{steps} steps: {summary}")
    return summary


def _converges(sampler: Sampler) -> str:
    if sampler.order is None:
        raise NotApplicable("it declares no order, as it does not solve the probability-flow ODE")
    orders = exact.convergence(sampler).orders
    _require(
        abs(orders[-1] - sampler.order) <= ORDER_TOLERANCE,
        f"declares order {sampler.order}, but halving the step gives {', '.join(f'{o:.2f}' for o in orders)}",
    )
    return f"order {sampler.order}: halving the step gives {', '.join(f'{o:.2f}' for o in orders)}"


CHECKS: tuple[Check, ...] = (
    Check("keeps shape, dtype and device, and stays finite", _keeps_shape),
    Check("leaves its input untouched", _leaves_input),
    Check("leaves global random states untouched", _leaves_random_state),
    Check("gives the same images for the same seed", _repeats),
    Check("makes an image independent of its batch", _independent_of_batch),
    Check("evaluates the network as often as it declares", _counts),
    Check("has parameters that survive JSON", _round_trips),
    Check("says whether it is stochastic", _declares_noise),
    Check("adds no noise on the last step", _reaches_point),
    Check("keeps its precision near the data", _keeps_precision),
    Check("reaches the mean and covariance of Gaussian data", _reaches_gaussian),
    Check("reaches the modes of a mixture", _reaches_mixture),
    Check("converges with its declared order", _converges),
)
