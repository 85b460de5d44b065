"""A smooth network that is far from linear, for steps worked out by hand, and what such tests share."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from models.denoiser import ClipRange, Denoiser
from models.networks.network import counted
from models.schedule import VE, ContinuousVP, DiscreteVP, Flow, Level, Schedule
from samplers import Noise, Sampler

Array = np.ndarray
NoiseOf = Callable[[int], Noise]
ByHand = Callable[[Array, Sequence[Level], Callable[[], Array]], Array]

SHAPE = (1, 2, 3)
VP = ContinuousVP()

TIMES = (0.9, 0.62, 0.5, 0.4375, 0.25, 0.1, 0.04)
"""Steps of very different lengths, in every variable."""

each_schedule = pytest.mark.parametrize(
    "schedule", [VP, DiscreteVP.linear(), VE(), Flow()], ids=["vp", "ddpm", "ve", "flow"]
)


def start(batch: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(batch, *SHAPE, generator=torch.Generator().manual_seed(9), dtype=torch.float64).to(dtype)


def predicted(x: Tensor | Array, at: Level) -> Array:
    """The x_0 of a smooth network that is far from linear; what `nonlinear` wraps."""
    return np.asarray(np.tanh(np.asarray(x) * at.alpha / (at.alpha + at.sigma) + 0.3 * at.sigma / (1.0 + at.sigma)))


def predicted_eps(x: Array, at: Level) -> Array:
    return np.asarray((x - at.alpha * predicted(x, at)) / at.sigma)


def predicted_score(x: Array, at: Level) -> Array:
    return np.asarray((at.alpha * predicted(x, at) - x) / at.sigma**2)


def lam(at: Level) -> float:
    return math.log(at.alpha) - math.log(at.sigma)


def rho(at: Level) -> float:
    return at.sigma / at.alpha


def transfer(x: Array, eps: Array, t: Level, s: Level) -> Array:
    """DDIM's step: predict x_0 from eps, and put the same eps back at the level s (arXiv 2010.02502, eq. 12)."""
    return np.asarray(s.alpha * (x - t.sigma * eps) / t.alpha + s.sigma * eps)


def lagrange(j: int, nodes: Sequence[float], at: float) -> float:
    """The polynomial that is 1 at the j-th of the nodes and 0 at all others."""
    return math.prod((at - node) / (nodes[j] - node) for i, node in enumerate(nodes) if i != j)


def nonlinear(clip: ClipRange | None = None, schedule: Schedule = VP) -> Denoiser:
    return counted_nonlinear(clip, schedule)[0]


def counted_nonlinear(
    clip: ClipRange | None = None, schedule: Schedule = VP, fitted: object = None
) -> tuple[Denoiser, Callable[[], int]]:
    """The denoiser, and how many images it has evaluated."""
    network, evaluated = counted(lambda x, at: torch.from_numpy(predicted(x, at)).to(x.dtype))
    return Denoiser(network, "sample", schedule, clip, fitted=fitted), evaluated


def no_noise(like: Tensor) -> Tensor:
    raise AssertionError("a deterministic sampler asked for noise")


def constant_noise(value: float) -> Noise:
    return lambda like: torch.full_like(like, value)


def of_every_length(schedule: Schedule) -> list[list[Level]]:
    """Levels of 1 to 6 steps, to the data and not: what starts and ends differently meets in all ways."""
    noisy = [schedule.level(t) for t in TIMES]
    counts = range(1, len(noisy))
    return [[*noisy[:n], last] for n in counts for last in (noisy[n], schedule.level(0.0))]


def _drawn(noise: Noise, like: Tensor) -> Array:
    return noise(like).numpy()


def assert_as_by_hand(
    sampler: Sampler,
    by_hand: ByHand,
    schedule: Schedule,
    noise_of: NoiseOf | None = None,
    tolerance: float = 1e-10,
) -> None:
    """The sampler and a transcription of its paper, which is given x, the levels and where noise comes from, agree."""
    for levels in of_every_length(schedule):
        x = start() * max(levels[0].sigma, 1.0)
        source, same = (no_noise, no_noise) if noise_of is None else (noise_of(1), noise_of(1))
        model, evaluated = counted_nonlinear(schedule=schedule)
        found = sampler.sample(model, x, levels, source)
        expected = by_hand(x.numpy(), levels, partial(_drawn, same, x))
        case = f"{len(levels) - 1} steps to sigma = {levels[-1].sigma:.3g}"
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance, err_msg=case)
        assert sampler.nfe(levels) in (None, evaluated() / len(x)), case


def assert_same(one: Sampler, other: Sampler, schedule: Schedule, noise_of: NoiseOf | None, tolerance: float) -> None:
    """Two samplers agree with the same noise on grids of every length."""
    for levels in of_every_length(schedule):
        x = start() * max(levels[0].sigma, 1.0)
        found, expected = (
            each.sample(nonlinear(schedule=schedule), x, levels, no_noise if noise_of is None else noise_of(3))
            for each in (one, other)
        )
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
