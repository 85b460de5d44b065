"""Checks of what a sampler ends in: the exact law of the data, and the exact solution of the probability flow."""

import numpy as np
import torch

from bench import exact
from bench.conformance import SHAPE, NotApplicable, call, declared, require, sample
from bench.noise import ImageNoise
from models.denoiser import Denoiser
from models.networks import Network
from models.schedule import ContinuousVP, DiscreteVP, Schedule
from samplers import Sampler

LAW_STEPS, LAW_IMAGES = 2000, 512
LAW_TOLERANCE = 0.08
POINT_STEPS, POINT_TOLERANCE = 9000, 2e-3
ORDER_TOLERANCE = 0.2


def reaches_point(sampler: Sampler) -> str:
    """So many steps that Euler's method in time, which halves the noise of the last level, passes too."""
    law = exact.point()
    schedule, steps = _finest(sampler, POINT_STEPS)
    run = sample(sampler, law, steps, torch.arange(4), schedule=schedule)  # 256 values: enough for an RMS
    error = float((run.result - law.points[0]).square().mean().sqrt())
    last = schedule.level(1.0 / steps).sigma
    require(
        error < POINT_TOLERANCE,
        f"ends {error:.2g} (RMS) away from data that are a single point; its last step began at sigma {last:.2g}",
    )
    return f"data at a single point are reached to {error:.1g}, the last step starting from sigma {last:.2g}"


def _finest(sampler: Sampler, steps: int) -> tuple[Schedule, int]:
    """The schedule and the steps on which the exact laws have to be reached."""
    # adapters to libraries take discrete schedules, and seconds to place thousands of steps on them
    return (DiscreteVP.linear(), 500) if sampler.places_steps else (ContinuousVP(), steps)


def keeps_precision(sampler: Sampler) -> str:
    """From sigma 1e-3 to 1e-7 around a single point, where 1 - alpha^2 is far below what float32 resolves."""
    schedule, law, numbers = ContinuousVP(), exact.point(), torch.arange(64)
    levels = [schedule.at_ratio(10.0**exponent) for exponent in np.linspace(-3.0, -7.0, 401)]
    if sampler.needs == "generator":
        raise NotApplicable("it goes to x_0 in every step, and so has nothing to lose on the way")
    if sampler.places_steps:
        raise NotApplicable("it places its steps itself, and so never goes as low")
    if declared(sampler, levels) is None:
        raise NotApplicable("it chooses its own steps, whose error is its tolerance")
    noise = ImageNoise(0, numbers)
    point = law.points[0].expand(len(numbers), *SHAPE)
    x = levels[0].alpha * point + levels[0].sigma * noise(point)
    found, _ = call(sampler, Denoiser(law, "sample", schedule), x, levels, noise)
    spread = float(((found - levels[-1].alpha * point) / levels[-1].sigma).square().mean().sqrt())
    require(
        0.7 < spread < 1.4,
        f"at sigma {levels[-1].sigma:.0e} the noise left has {spread:.3g} times the standard deviation it should have",
    )
    return f"the noise left at sigma = {levels[-1].sigma:.0e} is {spread:.3f} of what it should be"


def reaches_gaussian(sampler: Sampler) -> str:
    law = exact.gaussian_law()
    network = law.network if sampler.needs == "denoiser" else exact.generator(exact.gaussian())
    return _compared(law, network, sampler)


def reaches_mixture(sampler: Sampler) -> str:
    if sampler.needs == "generator":
        raise NotApplicable("it needs a generator, which has no closed form for a mixture")
    law = exact.mixture_law()
    return _compared(law, law.network, sampler)


def _compared(law: exact.Law, network: Network, sampler: Sampler) -> str:
    schedule, steps = _finest(sampler, LAW_STEPS)
    found = sample(sampler, network, steps, torch.arange(LAW_IMAGES), schedule=schedule).result
    shift, spread, covariance, weights = law.errors(found)
    allowed = law.monte_carlo_errors(LAW_IMAGES)
    summary = (
        f"mean off by {shift:.3f} standard deviations ({allowed.shift:.3f} for perfect samples), "
        f"variance by {spread:+.1%} ({allowed.spread:.1%}), "
        f"covariance by {covariance:.3f} ({allowed.covariance:.3f}), modes by {weights:.3f} ({allowed.weights:.3f})"
    )
    good = shift < 4 * allowed.shift and abs(spread) < LAW_TOLERANCE + 4 * allowed.spread
    good = good and covariance < LAW_TOLERANCE**2 + allowed.covariance and weights <= 4 * allowed.weights
    require(good, f"{steps} steps: {summary}")
    return summary


def converges(sampler: Sampler) -> str:
    if sampler.order is None:
        raise NotApplicable("it declares no order, as it does not solve the probability-flow ODE")
    orders = exact.convergence(sampler).orders
    require(
        abs(orders[-1] - sampler.order) <= ORDER_TOLERANCE,
        f"declares order {sampler.order}, but halving the step gives {', '.join(f'{o:.2f}' for o in orders)}",
    )
    return f"order {sampler.order}: halving the step gives {', '.join(f'{o:.2f}' for o in orders)}"
