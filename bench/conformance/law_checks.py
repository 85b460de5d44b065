"""Checks of what a sampler ends in: the exact law of the data, and the exact solution of the probability flow."""

import numpy as np
import torch
from torch import Tensor

from bench.conformance import laws
from bench.conformance.check import SHAPE, Nonconforming, NotApplicable, call, declared, denoiser, require, sample
from bench.noise.stream import ImageNoise
from models.common.errors import UsageError
from models.grids import GRIDS
from models.networks.network import Network
from models.schedule import ContinuousVP, DiscreteVP, Schedule
from samplers import Sampler

LAW_GRID, LAW_STEPS = "power[t_end=0.0005]", (400, 1000)
"""Even in the root of time: the bias of first-order methods is below 2 % of the variance from 400 steps on."""
LAW_IMAGES, LAW_TOLERANCE = 512, 0.08
POINT_GRID, POINT_TOLERANCE = (f"logsnr[t_end={1 / 9000}]", 300), 2e-3
ORDER_TOLERANCE = 0.2
MORE_STEPS = (254, 510)
_PLACED = "trailing", 500
"""The grid of adapters to libraries, which take discrete schedules, and seconds to place thousands of steps on them."""


def _schedule(sampler: Sampler) -> Schedule:
    return DiscreteVP.linear() if sampler.places_steps else ContinuousVP()


def reaches_point(sampler: Sampler) -> str:
    """From a level so low that Euler's method in time, which halves the noise of the last level, passes too."""
    law, schedule = laws.point(), _schedule(sampler)
    grid, steps = _PLACED if sampler.places_steps else POINT_GRID
    run = sample(sampler, law, steps, torch.arange(4), grid, schedule)  # 256 values: enough for an RMS
    error = float((run.result - law.points[0]).square().mean().sqrt())
    last = GRIDS.make(grid)(schedule, steps)[-2].sigma
    require(
        error < POINT_TOLERANCE,
        f"ends {error:.2g} (RMS) away from data that are a single point; its last step began at sigma {last:.2g}",
    )
    return f"data at a single point are reached to {error:.1g}, the last step starting from sigma {last:.2g}"


def keeps_precision(sampler: Sampler) -> str:
    """From sigma 1e-3 to 1e-7 around a single point, where 1 - alpha^2 is far below what float32 resolves."""
    schedule, law, numbers = ContinuousVP(), laws.point(), torch.arange(64)
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
    found, _ = call(sampler, denoiser(sampler, law, schedule), x, levels, noise)
    spread = float(((found - levels[-1].alpha * point) / levels[-1].sigma).square().mean().sqrt())
    require(
        0.7 < spread < 1.4,
        f"at sigma {levels[-1].sigma:.0e} the noise left has {spread:.3g} times the standard deviation it should have",
    )
    return f"the noise left at sigma = {levels[-1].sigma:.0e} is {spread:.3f} of what it should be"


def reaches_law(sampler: Sampler) -> str:
    """Modes, mean and covariance of a mixture; of a Gaussian, where a generator is needed: no other has a closed form.

    400 steps are enough for nearly all. Where they are not, 1,000 decide: Langevin's method follows the levels slowly.
    """
    law = laws.gaussian_law() if sampler.needs == "generator" else laws.mixture_law()
    network: Network = laws.generator(laws.gaussian()) if sampler.needs == "generator" else law.network
    for grid, steps in [_PLACED] if sampler.places_steps else [(LAW_GRID, steps) for steps in LAW_STEPS]:
        run = sample(sampler, network, steps, torch.arange(LAW_IMAGES), grid, _schedule(sampler))
        found = run.result
        reached, summary = _compared(law, found)
        if reached:
            return f"{steps} steps: {summary}"
    raise Nonconforming(f"{steps} steps: {summary}")


def _compared(law: laws.Law, found: Tensor) -> tuple[bool, str]:
    """Whether samples follow a law, and how far they are from it."""
    shift, spread, covariance, weights = law.errors(found)
    allowed = law.monte_carlo_errors(len(found))
    summary = (
        f"mean off by {shift:.3f} standard deviations ({allowed.shift:.3f} for perfect samples), "
        f"variance by {spread:+.1%} ({allowed.spread:.1%}), "
        f"covariance by {covariance:.3f} ({allowed.covariance:.3f}), modes by {weights:.3f} ({allowed.weights:.3f})"
    )
    good = shift < 4 * allowed.shift and abs(spread) < LAW_TOLERANCE + 4 * allowed.spread
    good = good and covariance < LAW_TOLERANCE**2 + allowed.covariance and weights <= 4 * allowed.weights
    return good, summary


def converges(sampler: Sampler) -> str:
    """To tight solutions of the probability flow: of a variance-preserving model, and of a flow at a scale of 3."""
    if sampler.order is None:
        raise NotApplicable("it declares no order, as it does not solve the probability-flow ODE")
    told, flows = list[str](), not sampler.takes_betas
    for guidance, flow in (("none", sampler.takes_flow), ("cfg[scale=3]", flows)):
        words = (", on a flow" if flow else "") + ("" if guidance == "none" else ", guided at a scale of 3")
        try:
            orders = laws.convergence(sampler, guidance=guidance, flow=flow).orders
        except UsageError as refusal:
            if not flow or sampler.takes_flow:
                raise
            told.append(f"it refuses a flow ({refusal})")
            continue
        if abs(orders[-1] - sampler.order) > ORDER_TOLERANCE:  # where steps are few, parts of the error may cancel
            orders += laws.convergence(sampler, MORE_STEPS, guidance, flow=flow).orders
        found = f"halving the step gives {', '.join(f'{order:.2f}' for order in orders)}{words}"
        require(abs(orders[-1] - sampler.order) <= ORDER_TOLERANCE, f"declares order {sampler.order}, but {found}")
        told.append(found)
    return f"order {sampler.order}: {', and '.join(told)}"
