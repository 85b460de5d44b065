"""How far samples are from a data law that is known exactly: no extractor, no reference data, and a known floor.

A finite number of exact samples is not at distance 0 either. So every distance stands beside its floor: what as many
exact samples give.
"""

import math
import statistics
from typing import Any

import torch
from torch import Tensor

from bench.noise.stream import normal
from bench.quality.frechet import Target, factor_of, left_out
from bench.quality.statistics import BlockMoments, Moments
from models.analytic import Law

FLOOR_DRAWS = 8
"""Sets of exact samples that the floor is the mean over."""

AT_ONCE = 1 << 24
"""Pairs of a sample and a point that are compared at a time: 128 MiB in float64."""

_LAST_DRAW = 2**32 - 1
"""Exact samples take the draws that are counted down from here, which no sampler comes to."""

Columns = dict[str, Any]


def exact_samples(law: Law, numbers: Tensor, seed: int, draw: int = 0) -> Tensor:
    """Samples of a law, each a function of (seed, number, draw) alone.

    Args:
        law: what to sample.
        numbers: (N,) int64, of images within the seed.
        seed: of the study's seed block.
        draw: 0, 1, ...: independent sets.

    Returns:
        (N, C, H, W) in the law's dtype.
    """
    last = _LAST_DRAW - draw
    drawn = normal(seed, numbers, range(last, last + 1), len(law.mean) + 1)[0]
    chance = torch.special.ndtr(drawn[:, -1])  # uniform
    return law.draw(chance, drawn[:, :-1])


def law_columns(law: Law, samples: Tensor, seed: int) -> Columns:
    """Record columns of samples of a model whose law is known.

    Args:
        law: the model's.
        samples: (N, C, H, W) on the law's device, as the sampler returned them, not quantised; N at least 2.
        seed: of their seed block, which the floor is drawn from.

    Returns:
        law_fd: Frechet distance a whole image, in pixels of the network's value range, between the mean and the
            covariance of the samples and those of the law.
        law_fd_left_out: the same without one tenth of the images each.
        law_fd_floor, law_fd_floor_std: mean and standard deviation of that of as many exact samples.
        law_nearest_rmse: of finite data, RMS distance a pixel from the nearest point; 0 for exact samples.
        law_occupancy, law_occupancy_floor_std: of finite data, see `occupancy`; 0 is expected of exact samples, with
            the standard deviation given.
        The last three are None for a law with a density, of which no sample is likelier than its neighbours.
    """
    target = Target(law.mean, factor_of(law.covariance)[0])
    numbers = torch.arange(len(samples), device=law.mean.device)
    exact = [exact_samples(law, numbers, seed, draw) for draw in range(FLOOR_DRAWS)]
    floors = [target.distance(Moments.of(each.flatten(1))) for each in exact]
    blocks = BlockMoments()
    blocks.add(samples.flatten(1))
    return {
        "law_fd": target.distance(Moments.of(samples.flatten(1))),
        "law_fd_left_out": left_out(blocks.finish(), target),
        "law_fd_floor": statistics.fmean(floors),
        "law_fd_floor_std": statistics.stdev(floors),
        **_finite_columns(law, samples),
    }


def _finite_columns(law: Law, samples: Tensor) -> Columns:
    if law.points is None:
        return dict.fromkeys(("law_nearest_rmse", "law_occupancy", "law_occupancy_floor_std"))
    nearest = nearest_points(samples, law.points)
    distance = samples.to(law.points) - law.points[nearest]
    value, floor_std = occupancy(nearest, len(law.points))
    return {
        "law_nearest_rmse": float(distance.square().mean().sqrt()),
        "law_occupancy": value,
        "law_occupancy_floor_std": floor_std,
    }


def nearest_points(samples: Tensor, points: Tensor) -> Tensor:
    """(N,) int64: the number of the point (M, C, H, W) that is nearest to each of the samples (N, C, H, W)."""
    flat = points.flatten(1)
    norm2 = 0.5 * flat.square().sum(1)
    parts = samples.flatten(1).to(flat).split(max(1, AT_ONCE // len(flat)))
    return torch.cat([(part @ flat.T - norm2).argmax(1) for part in parts])


def occupancy(nearest: Tensor, points: int) -> tuple[float, float]:
    """How unevenly samples fall on M equally likely points: an unbiased estimate of sum_i (p_i - 1/M)^2 / (1/M).

    That is the chi-squared distance of the probabilities p_i from equal ones, M sum p_i^2 - 1: 0 if every point is as
    likely as the next, 1 if half of them are never reached. The chance p_i^2 that two samples fall on the same point is
    estimated from the pairs that do, without the bias that frequencies of few samples on many points would have.

    Args:
        nearest: (N,) int64, the point of each sample; N at least 2.
        points: M.

    Returns:
        The estimate, and its standard deviation if all points are equally likely.
    """
    pairs = len(nearest) * (len(nearest) - 1) / 2
    counts = torch.bincount(nearest, minlength=points).double()
    together = float((counts * (counts - 1.0)).sum()) / 2.0
    return points * together / pairs - 1.0, math.sqrt((points - 1) / pairs)
