"""What is fitted to a model before samplers that need it are run: once a model, guidance and clipping, and kept.

So far this is one thing, what `Denoiser.x0_variance` says: the mean squared error an element of the x_0 that is
predicted where x_t is known, E |x_0 - x_0(x_t, t)|^2 / D. Of an exact network it is what x_0 has left of its variance,
(sigma / alpha)^2 (1 - E |eps(x_t, t)|^2 / D), as Analytic-DPM has it (arXiv 2201.06503); of one that errs it is what is
best to add for such a mean (Bao et al., arXiv 2206.07309), and it is never negative. It is bounded by half the range of
values squared, as the variance of what lies in a range is. Under a guidance, whose prediction is no posterior mean, it
is that of the guided prediction.

It needs no data. The papers take the mean over training images that are noised; here images of the model itself are, as
the probability flow makes them from noise of a seed that is no study's. They follow the law that the network has, but
for the flow's and the network's errors, and a model from the hub comes without its data. Predictions are those of the
denoiser, with guidance and clipping, where the authors' are not clipped. And it is worked out at levels even in
log(alpha / sigma) and interpolated in between, where the authors go through all 1,000 indices, so that one fit is good
for every grid.

A fit is of the network in plain float32: all modes and seeds share it.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.noise.stream import ImageNoise
from bench.running.kept import Found, Kept
from bench.running.resolve import Resolved
from bench.running.session import PLAIN, Session, takes_fit
from bench.running.solution import solve
from bench.timing.memory import Halving
from models.denoiser import Denoiser
from models.networks.execution import arithmetic
from models.networks.network import counted
from models.schedule import Level, Schedule

IMAGES = 512
"""That are made and noised: of Gaussian images of 64 elements the variance then has a standard error of 0.8 %."""
NODES = 48
"""Levels that they are noised to, at most: fewer where a discrete schedule has no more."""
SOLVER_STEPS = 12
"""Of the probability flow that makes them, of four evaluations each."""
SEED = 2**62 + 3
"""Of their noise and labels, which no study's seed block has."""
_FARTHEST = 1e3
"""sigma / alpha of the highest level; where alpha is 0 it is infinite."""

Columns = dict[str, Any]


@dataclass(frozen=True)
class X0Variance:
    """The variance of x_0 given x_t, by level.

    Attributes:
        logsnrs: log(alpha / sigma), ascending.
        scaled: the variance there, divided by sigma^2 / (alpha^2 + sigma^2), which hardly varies: for Gaussian data
            of variance v it goes from v to 1. Linear in between, and constant beyond.
    """

    logsnrs: Sequence[float]
    scaled: Sequence[float]

    def __call__(self, at: Level) -> float:
        scaled = float(np.interp(at.logsnr, self.logsnrs, self.scaled))
        return scaled * at.sigma**2 / (at.alpha**2 + at.sigma**2)


@dataclass(frozen=True)
class Problem:
    """What is to be fitted, and to what.

    Attributes:
        identity: all that the network's predictions depend on, as JSON; it names what is kept.
        denoiser: makes the denoiser of some image numbers (N,) int64, and what says how many images it has evaluated.
        schedule: that of the model.
        shape: (C, H, W) of a state.
        most: what the variance of x_0 is at most.
        batch: images worked on at a time, if they fit into the memory; else fewer.
        device: that samples.
    """

    identity: Mapping[str, Any]
    denoiser: Callable[[Tensor], tuple[Denoiser, Callable[[], int]]]
    schedule: Schedule
    shape: tuple[int, int, int]
    most: float
    batch: int
    device: torch.device


class Fit(NamedTuple):
    """What a fit gave.

    Attributes:
        variance: of x_0 given x_t.
        nfe: network evaluations of the whole fit, of all its images.
        seconds: that it took when it was made.
    """

    variance: X0Variance
    nfe: int
    seconds: float


def evaluations(schedule: Schedule) -> int:
    """Evaluations an image that a fit takes, without guidance."""
    return 4 * SOLVER_STEPS + 1 + len(nodes(schedule))


def nodes(schedule: Schedule) -> list[Level]:
    """The levels that are noised to, from the highest down, each a trained one."""
    first, last = (schedule.level(t) for t in (schedule.t_max, schedule.t_min))
    logsnrs = np.linspace(max(first.logsnr, -math.log(_FARTHEST)), last.logsnr, NODES)
    times = (max(schedule.nearest(schedule.t_at(float(each))), schedule.t_min) for each in logsnrs)
    return [schedule.level(t) for t in sorted(set(times), reverse=True)]


def fitted(problem: Problem) -> Fit:
    """Fit, whatever it takes.

    Raises:
        ValueError: the network gives NaN or Inf.
    """
    start, levels = time.perf_counter(), nodes(problem.schedule)
    made = _in_batches(problem, partial(_images, problem))
    x0 = torch.cat([images for images, _ in made])
    found = _in_batches(problem, partial(_squared_errors, problem, levels, x0))
    errors = torch.cat([each for each, _ in found]).mean(0)
    if not bool(errors.isfinite().all()):
        raise ValueError("nothing can be fitted to the model: its predictions are NaN or Inf")
    bounded = errors.clamp(max=problem.most).tolist()
    known = sorted((at.logsnr, each * (1.0 + 1.0 / at.ratio**2)) for each, at in zip(bounded, levels, strict=True))
    variance = X0Variance([logsnr for logsnr, _ in known], [scaled for _, scaled in known])
    return Fit(variance, sum(nfe for _, nfe in made + found), time.perf_counter() - start)


def _in_batches(problem: Problem, work: Callable[[Tensor], tuple[Tensor, int]]) -> list[tuple[Tensor, int]]:
    """What comes of the image numbers, as many of them at a time as fit into the memory."""
    fitting, done, found = Halving(min(problem.batch, IMAGES)), 0, list[tuple[Tensor, int]]()
    while done < IMAGES:
        # which is called before `done` is another
        found.append(fitting(lambda batch: work(torch.arange(done, min(done + batch, IMAGES), device=problem.device))))  # noqa: B023
        done += len(found[-1][0])
    return found


def _images(problem: Problem, numbers: Tensor) -> tuple[Tensor, int]:
    """Images of the model of these numbers, and the evaluations that they took."""
    model, evaluated = problem.denoiser(numbers)
    start, end = (problem.schedule.level(t) for t in (problem.schedule.t_max, 0.0))
    x = ImageNoise(SEED, numbers)(torch.empty((len(numbers), *problem.shape), device=problem.device))
    x0 = solve(model, x * problem.schedule.prior_std(start), start, end, SOLVER_STEPS)
    return x0.to(x), evaluated()


def _squared_errors(problem: Problem, levels: Sequence[Level], x0: Tensor, numbers: Tensor) -> tuple[Tensor, int]:
    """Of some of the images: |x_0 - x_0(x_t, t)|^2 / D, (N, levels) float64, and the evaluations."""
    model, evaluated = problem.denoiser(numbers)
    noise, x0, found = ImageNoise(SEED, numbers, first=1), x0[numbers], []
    for at in levels:
        error = model(at.alpha * x0 + at.sigma * noise(x0), at).x0 - x0
        found.append(error.double().square().flatten(1).mean(1))
    return torch.stack(found, dim=1).cpu(), evaluated()


class Fits:
    """What is fitted to the models of a run, each once, kept in a folder.

    Args:
        folder: made when something is kept. A file that is damaged is fitted again.
        session: the models.
    """

    def __init__(self, folder: Path, session: Session) -> None:
        self._kept, self._session = Kept(folder), session

    def __call__(self, resolved: Resolved) -> tuple[Resolved, Columns]:
        """A cell with what its sampler takes, and record columns of that: none for a sampler that takes nothing.

        Returns:
            fit_images: images that the fit took.
            fit_nfe: network evaluations of the whole fit, whatever the number of cells that share it.
            fit_s: seconds of the whole fit.
        """
        if not takes_fit(resolved.cell):
            return resolved, {}
        with arithmetic(PLAIN.precision):
            found = self.of(self._problem(resolved))
        columns = {"fit_images": IMAGES, "fit_nfe": found.nfe, "fit_s": found.seconds}
        return replace(resolved, x0_variance=found.variance), columns

    def of(self, problem: Problem) -> Fit:
        """What is kept, or fitted now and kept."""
        content = _content(problem)
        if (kept := self._kept.get(content)) is not None:
            variance = X0Variance(kept.tensors["logsnrs"].tolist(), kept.tensors["scaled"].tolist())
            return Fit(variance, int(kept.said["nfe"]), float.fromhex(kept.said["seconds"]))
        found = fitted(problem)
        each = {
            name: torch.tensor(getattr(found.variance, name), dtype=torch.float64) for name in ("logsnrs", "scaled")
        }
        self._kept.put(content, Found(each, {"nfe": str(found.nfe), "seconds": found.seconds.hex()}))
        return found

    def place(self, resolved: Resolved) -> Path | None:
        """The file of what a cell takes, which need not be there; None: it takes nothing."""
        return self._kept.place(_content(self._problem(resolved)))[0] if takes_fit(resolved.cell) else None

    def _problem(self, resolved: Resolved) -> Problem:
        session, cell = self._session, resolved.cell
        plain, weaker = session.models[cell.model, PLAIN], session.weaker_of(cell, PLAIN)
        shape, (low, high) = plain.card.state_shape, plain.card.value_range

        def denoiser(numbers: Tensor) -> tuple[Denoiser, Callable[[], int]]:
            (network, own), *others = [counted(each.network, shape) for each in (plain, weaker) if each is not None]
            guided = plain.guided(resolved.guidance, others[0][0] if others else None, network)
            model = session.denoiser(plain, SEED, numbers, resolved.clip, guided)
            return model, lambda: own.images + sum(count.images for _, count in others)

        most = ((high - low) / 2.0) ** 2
        return Problem(
            resolved.predictions, denoiser, plain.schedule, shape, most, min(session.batch, IMAGES), session.device
        )


def _content(problem: Problem) -> dict[str, Any]:
    """All that a fit depends on."""
    method = ["x0_variance", IMAGES, NODES, SOLVER_STEPS, str(SEED), _FARTHEST]
    return {"identity": dict(problem.identity), "fit": method}
