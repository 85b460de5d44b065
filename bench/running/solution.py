"""Solver error and PSNR: how far a deterministic sampler ends from the exact probability flow of the same noise.

Solver error is a distance of what samplers give, of latent models the latents. PSNR is of images, decoded where there
is a decoder: -10 log10 of the mean square difference of two images in [0, 1], in dB, the mean over images. Both images
are clamped to the model's value range first, as whoever looks at them does, and not rounded to whole levels.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.fitting.flow import FARTHEST, IN_RATIO, STEPS, solve
from bench.noise.stream import ImageNoise
from bench.quality.frechet import jackknife
from bench.quality.statistics import BLOCKS, blocks_of
from bench.timing.memory import Halving
from models.common.kept import Found, Kept
from models.denoiser import Denoiser
from models.schedule import Level
from samplers import Sampler

Columns = dict[str, Any]

MOST_DB = 120.0
"""PSNR of images that are equal, or nearer than a millionth of the value range: of float32, that is round-off."""


def itself(samples: Tensor) -> Tensor:
    """The images of a sampler that gives images."""
    return samples


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
        steps: of Runge-Kutta, an even number; None: `STEPS`.
        decoded: makes images (N, C, H, W) of what a sampler gives.
        value_range: low and high, of these images.
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
    steps: int | None = None
    decoded: Callable[[Tensor], Tensor] = itself
    value_range: tuple[float, float] = (-1.0, 1.0)


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


def evaluations(last: Level, steps: int | None = None) -> int:
    """Network evaluations an image that a solution of so many steps and the one in half as many take."""
    whole = steps or STEPS
    return 4 * (whole + whole // 2) + (2 if last.is_clean else 0)


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
            solver_rmse_median_left_out: as above.
            and those of `_common`.
        """
        solution = self.of(problem)
        difference = samples[: problem.count].double().cpu() - solution.images.double()
        squares = difference.square().flatten(1).mean(1)
        parts = _without_blocks(squares)
        return {
            "solver_rmse": math.sqrt(float(squares.mean())),
            "solver_rmse_left_out": parts and [math.sqrt(float(part.mean())) for part in parts],
            "solver_rmse_median": math.sqrt(float(squares.median())),
            "solver_rmse_median_left_out": parts and [math.sqrt(float(part.median())) for part in parts],
            **_common(problem, solution),
        }

    def psnr(self, problem: Problem, samples: Tensor) -> Columns:
        """Record columns of a deterministic sampler's images beside those of the exact solution.

        Args:
            problem, samples: as `columns` has them.

        Returns:
            psnr: in dB, the mean over images; of each at most `MOST_DB`.
            psnr_std: the standard error of that, by jackknife; None for fewer than ten images.
            psnr_left_out: the mean without one tenth of the images each; None for fewer than ten.
            and those of `_common`.
        """
        solution, device = self.of(problem), problem.device
        found, fitting, done = list[Tensor](), Halving(problem.batch), 0
        while done < problem.count:
            at = done

            def compared(batch: int, at: int = at) -> Tensor:
                few = slice(at, min(at + batch, problem.count))
                given, exact = (problem.decoded(each[few].float().to(device)) for each in (samples, solution.images))
                return decibels(given, exact, problem.value_range).cpu()

            found.append(fitting(compared))
            done += len(found[-1])
        values = torch.cat(found)
        parts = _without_blocks(values)
        without = None if parts is None else [float(part.mean()) for part in parts]
        return {
            "psnr": float(values.mean()),
            "psnr_std": None if without is None else jackknife(without),
            "psnr_left_out": without,
            **_common(problem, solution),
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


def decibels(images: Tensor, others: Tensor, value_range: tuple[float, float]) -> Tensor:
    """The PSNR of images (N, C, H, W) to others, (N,) float64, in dB, over a value range that both are clamped to."""
    low, high = value_range
    a, b = ((each.double().clamp(low, high) - low) / (high - low) for each in (images, others))
    return -10.0 * (a - b).square().flatten(1).mean(1).clamp(min=10.0 ** (-MOST_DB / 10.0)).log10()


def _common(problem: Problem, solution: Solution) -> Columns:
    """What is said beside both: the solution's own error (see `Solution`), its steps, and the images compared."""
    return {
        "solver_rmse_reference": solution.error,
        "solver_steps": problem.steps or STEPS,
        "solver_images": problem.count,
    }


def _without_blocks(values: Tensor) -> list[Tensor] | None:
    """Values of images without those of each block; None for fewer than ten."""
    block = blocks_of(len(values))
    return [values[block != number] for number in range(BLOCKS)] if len(values) >= BLOCKS else None


def _content(problem: Problem) -> dict[str, Any]:
    """All that a solution depends on."""
    return {
        "identity": dict(problem.identity),
        "levels": [list(problem.first), list(problem.last)],
        "images": [problem.seed, problem.count, *problem.shape],
        "method": ["rk4 in the angle", problem.steps or STEPS, IN_RATIO, FARTHEST],
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
    whole = problem.steps or STEPS
    return [solve(model, x, problem.first, problem.last, steps, problem.jumps) for steps in (whole, whole // 2)]
