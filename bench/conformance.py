"""What a conformance check is, and how a sampler is run for one: on a network in closed form, in float64."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bench.noise import ImageNoise
from models.denoiser import Denoiser
from models.grids import GRIDS
from models.networks import Network
from models.schedule import DiscreteVP, Schedule
from samplers import Sampler

SHAPE = (1, 8, 8)


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


def require(holds: bool, message: str) -> None:
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


def sample(
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
