"""Solver error: how far a deterministic sampler ends from the exact probability flow of the same noise.

The flow is solved by classical Runge-Kutta of order 4 (Kutta, 1901) in the angle theta = atan(sigma / alpha), in which
the state z = x / sqrt(alpha^2 + sigma^2) = cos(theta) x_0 + sin(theta) eps obeys dz / dtheta = cos(theta) eps -
sin(theta) x_0, the velocity v of arXiv 2202.00512, appendix D. Nothing is singular in it, neither where alpha is 0
nor where sigma is small. Steps are even in a mean of log(sigma / alpha) and of the time t: the data want the first,
and networks, which vary with the index that they are given, the second. The state is kept in float64; the network sees
it in the model's precision.

The convention, the same for every sampler and grid. The solution starts at the first level of the cell. It ends at the
last, if that is noisy; if it is the clean one, the flow is followed to the lowest noisy level of the *schedule*, t_min,
and the posterior mean E[x_0 | x] is taken there. So whatever a sampler loses by stepping to clean data from a higher
level than that is part of its error.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.noise.stream import ImageNoise
from bench.quality.statistics import BLOCKS, blocks_of
from bench.running.kept import Found, Kept
from bench.timing.memory import Halving
from models.denoiser import Denoiser
from models.schedule import Level, Schedule
from samplers import Sampler

STEPS = 250
"""Runge-Kutta steps of a reference solution, of four evaluations each; half as many are solved beside it."""

_IN_RATIO = 1 / 3
"""Weight of log(sigma / alpha) in the placement of steps; that of t is the rest. Of 16 images of the digits' network
0.3 was mostly better than 0.5, 0.7 and 1; each record has the error that came of it."""
_FARTHEST = 1e3
"""sigma / alpha from which on steps are even in time alone: where alpha is 0 it is infinite."""
_BEYOND = 1.0 + 1e-7
"""How close to a jump, as a factor of sigma / alpha."""
_TABLE = 1024
"""Times between which the placement is interpolated."""

Columns = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """An initial value problem of the probability flow, for images 0 ... count - 1 of a seed.

    Attributes:
        identity: all that the network's predictions depend on (weights, clip, labels, precision, device, ...), as JSON;
            it names the stored solution.
        denoiser: makes the denoiser of some image numbers (N,) int64; its evaluations are nobody's cost.
        shape: (C, H, W) of a state.
        first, last: the first and the last level of a cell.
        seed, count: of the images.
        batch: images solved at a time, if they fit into the memory; else fewer.
        device: that samples.
        jumps: as `solve` has them.
    """

    identity: Mapping[str, Any]
    denoiser: Callable[[Tensor], Denoiser]
    shape: tuple[int, int, int]
    first: Level
    last: Level
    seed: int
    count: int
    batch: int
    device: torch.device
    jumps: tuple[float, ...] = ()


@dataclass(frozen=True)
class Solution:
    """What the flow carries the noise to.

    Attributes:
        images: (N, C, H, W) float32, on the CPU.
        error: RMS distance a pixel from the solution in half as many steps. As long as the error falls with the
            steps, in whatever order, this is above the error of `images` (15 times it, in order 4).
    """

    images: Tensor
    error: float


def has_solver_error(sampler: Sampler, is_generator: bool) -> bool:
    """Whether a sampler's distance from the probability flow means anything.

    Not if it draws noise; not on a generator, which has no flow; and not if it places its steps itself, because then
    nobody knows at which level it takes the noise to be.
    """
    return not (sampler.stochastic or sampler.places_steps or is_generator)


def solve(
    model: Denoiser, x: Tensor, first: Level, last: Level, steps: int = STEPS, jumps: Sequence[float] = ()
) -> Tensor:
    """The probability flow's end at `last` (by the convention above, if that is clean), for x at `first`.

    Args:
        model: four evaluations a step and image, and one more if `last` is clean.
        x: (N, C, H, W), the state at `first`, in the model's precision; not changed.
        first, last: levels, `last` below `first`.
        steps: of Runge-Kutta.
        jumps: values of sigma / alpha where predictions jump, as at the ends of a guidance's interval: no step goes
            across one, but for a tiny one.

    Returns:
        (N, C, H, W) float64.
    """
    levels = _with_jumps(_nodes(model.schedule, first, last, steps), model.schedule, jumps)
    z = x.double() / math.hypot(first.alpha, first.sigma)
    for t, s in pairwise(levels):
        z = _step(model, z, t, s, x.dtype)
    end = levels[-1]
    x = _state(z, end, x.dtype)
    return model(x, end).x0.double() if last.is_clean else z * math.hypot(end.alpha, end.sigma)


def _nodes(schedule: Schedule, first: Level, last: Level, steps: int) -> list[Level]:
    """`steps` + 1 noisy levels, placed as the module says; `first` alone if there is no lower one to go to."""
    lowest = schedule.level(schedule.t_min) if last.is_clean else last
    if first.t <= lowest.t:
        return [first]
    times = np.geomspace(lowest.t, first.t, _TABLE)
    logs = np.log([min(schedule.level(min(float(t), first.t)).ratio, _FARTHEST) for t in times])
    progress = _IN_RATIO * _fraction(logs) + (1.0 - _IN_RATIO) * _fraction(times)
    placed = np.interp(np.linspace(1.0, 0.0, steps + 1)[1:-1], progress, times)
    return [first, *(schedule.level(float(t)) for t in placed), lowest]


def _with_jumps(levels: list[Level], schedule: Schedule, jumps: Sequence[float]) -> list[Level]:
    """The levels, with two more close to each jump between the first and the last, one on either side."""
    inside = [jump for jump in jumps if levels[-1].ratio * _BEYOND < jump < levels[0].ratio / _BEYOND]
    beside = [schedule.at_ratio(each) for jump in inside for each in (jump * _BEYOND, jump / _BEYOND)]
    return sorted([*levels, *beside], key=lambda level: -level.t) if beside else levels


def _fraction(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((values - values[0]) / (values[-1] - values[0]))


def _step(model: Denoiser, z: Tensor, t: Level, s: Level, dtype: torch.dtype) -> Tensor:
    """One step of classical Runge-Kutta from level t to s; the middle is that of their angles."""
    start, end = _angle(t), _angle(s)
    h, half = end - start, model.schedule.at_ratio(math.tan(0.5 * (start + end)))

    def slope(z: Tensor, at: Level) -> Tensor:
        norm = math.hypot(at.alpha, at.sigma)
        return model(_state(z, at, dtype), at).combine(eps=at.alpha / norm, x0=-at.sigma / norm).double()

    k1 = slope(z, t)
    k2 = slope(z + 0.5 * h * k1, half)
    k3 = slope(z + 0.5 * h * k2, half)
    k4 = slope(z + h * k3, s)
    return z + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)


def _angle(level: Level) -> float:
    return math.atan2(level.sigma, level.alpha)


def _state(z: Tensor, at: Level, dtype: torch.dtype) -> Tensor:
    return (z * math.hypot(at.alpha, at.sigma)).to(dtype)


def evaluations(last: Level) -> int:
    """Network evaluations an image that a solution and the one in half as many steps take."""
    return 4 * (STEPS + STEPS // 2) + (2 if last.is_clean else 0)


class Solutions:
    """Reference solutions, each solved once and kept in a folder, so that a run that is resumed does not pay again.

    Args:
        folder: made when something is stored. A file that is damaged is solved again.
    """

    def __init__(self, folder: Path) -> None:
        self._kept = Kept(folder)

    def columns(self, problem: Problem, samples: Tensor) -> Columns:
        """Record columns of a deterministic sampler.

        Args:
            problem: what it was to solve.
            samples: (N, C, H, W), its images of numbers 0 ... N - 1 as it returned them, N at least `problem.count`.

        Returns:
            solver_rmse: RMS distance a pixel from the solution, in units of the network's value range. Where the flow
                parts, few images that end on another side of it can make most of this.
            solver_rmse_left_out: the same without one tenth of the images each; None for fewer than ten.
            solver_rmse_median: the median over images of the RMS distance of an image, which is blind to those.
            solver_rmse_reference: what that is uncertain by: the solution's own error.
            solver_images: the images compared.
        """
        solution = self.of(problem)
        difference = samples[: problem.count].double().cpu() - solution.images.double()
        squares = difference.square().flatten(1).mean(1)
        block = blocks_of(len(squares))
        without = [math.sqrt(float(squares[block != number].mean())) for number in range(BLOCKS)]
        return {
            "solver_rmse": math.sqrt(float(squares.mean())),
            "solver_rmse_left_out": without if len(squares) >= BLOCKS else None,
            "solver_rmse_median": math.sqrt(float(squares.median())),
            "solver_rmse_reference": solution.error,
            "solver_images": problem.count,
        }

    def of(self, problem: Problem) -> Solution:
        """The solution of a problem: the stored one, or solved now and stored."""
        content = _content(problem)
        if (kept := self._kept.get(content)) is not None:
            return Solution(kept.tensors["images"], float.fromhex(kept.said["error"]))
        found = _solved(problem)
        self._kept.put(content, Found({"images": found.images}, {"error": found.error.hex()}))
        return found

    def place(self, problem: Problem) -> Path:
        """The file of a solution, which need not be there."""
        return self._kept.place(_content(problem))[0]


def _content(problem: Problem) -> dict[str, Any]:
    """All that a solution depends on."""
    return {
        "identity": dict(problem.identity),
        "levels": [list(problem.first), list(problem.last)],
        "images": [problem.seed, problem.count, *problem.shape],
        "method": ["rk4 in the angle", STEPS, _IN_RATIO, _FARTHEST],
    }


def _solved(problem: Problem) -> Solution:
    fitting, fine, difference2, done = Halving(problem.batch), list[Tensor](), 0.0, 0
    while done < problem.count:
        ends = fitting(partial(_ends, problem, done))
        difference2 += float((ends[0] - ends[1]).square().sum())
        fine.append(ends[0].float().cpu())
        done += len(ends[0])
    images = torch.cat(fine)
    return Solution(images, math.sqrt(difference2 / images.numel()))


def _ends(problem: Problem, first: int, batch: int) -> list[Tensor]:
    """The ends of the images from a number on, (N, C, H, W), in all steps and in half as many."""
    numbers = torch.arange(first, min(first + batch, problem.count), device=problem.device)
    model = problem.denoiser(numbers)
    state = torch.empty((len(numbers), *problem.shape), device=problem.device)
    x = ImageNoise(problem.seed, numbers)(state) * model.schedule.prior_std(problem.first)
    return [solve(model, x, problem.first, problem.last, steps, problem.jumps) for steps in (STEPS, STEPS // 2)]
