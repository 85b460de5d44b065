"""The variance that x_0 has left once x_t is known, fitted to a model: E |x_0 - x_0(x_t, t)|^2 / D, by level.

Of an exact network it is (sigma / alpha)^2 (1 - E |eps(x_t, t)|^2 / D), as Analytic-DPM has it (arXiv 2201.06503); of
one that errs it is what is best to add for such a mean (Bao et al., arXiv 2206.07309), and it is never negative. It is
bounded by half the range of values squared, as the variance of what lies in a range is. Under a guidance, whose
prediction is no posterior mean, it is that of the guided prediction.

It needs no data. The papers take the mean over training images that are noised; here images of the model itself are, as
the probability flow makes them. They follow the law that the network has, but for the flow's and the network's errors,
and a model from the hub comes without its data. Predictions are those of the denoiser, with guidance and clipping,
where the authors' are not clipped. And it is worked out at levels even in log(alpha / sigma) and interpolated in
between, where the authors go through all 1,000 indices, so that one fit is good for every grid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.fitted import IMAGE_EVALUATIONS, FitModel, images_of
from models.schedule import Level, Schedule

if TYPE_CHECKING:
    from torch import Tensor

IMAGES = 512
"""That are made and noised: of Gaussian images of 64 elements the variance then has a standard error of 0.8 %."""
NODES = 48
"""Levels that they are noised to, at most: fewer where a discrete schedule has no more."""
_FARTHEST = 1e3
"""sigma / alpha of the highest level; where alpha is 0 it is infinite."""


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


def read(found: Mapping[str, Tensor]) -> X0Variance:
    """From the tensors that `fit` gives."""
    return X0Variance(found["logsnrs"].tolist(), found["scaled"].tolist())


def evaluations(schedule: Schedule) -> int:
    """Network evaluations of a fit, without guidance."""
    return IMAGES * (IMAGE_EVALUATIONS + len(nodes(schedule)))


def nodes(schedule: Schedule) -> list[Level]:
    """The levels that are noised to, from the highest down, each a trained one."""
    first, last = (schedule.level(t) for t in (schedule.t_max, schedule.t_min))
    logsnrs = np.linspace(max(first.logsnr, -math.log(_FARTHEST)), last.logsnr, NODES)
    times = (max(schedule.nearest(schedule.t_at(float(each))), schedule.t_min) for each in logsnrs)
    return [schedule.level(t) for t in sorted(set(times), reverse=True)]


def fit(model: FitModel) -> dict[str, Tensor]:
    """The variance at the nodes, as `read` takes it: logsnrs and scaled, (nodes,) float64.

    Raises:
        ValueError: the network gives NaN or Inf.
    """
    import torch  # only here: what only plans samplers needs no torch

    levels, x0 = nodes(model.schedule), images_of(model, range(IMAGES))

    def squared_errors(numbers: Tensor) -> Tensor:
        network, noise = model.denoiser(numbers), model.noise(numbers, first=1)
        known = x0[numbers.cpu()].to(numbers.device)
        errors = [network(at.alpha * known + at.sigma * noise(known), at).x0 - known for at in levels]
        return torch.stack([each.double().square().flatten(1).mean(1) for each in errors], dim=1)

    errors = model.in_batches(range(IMAGES), squared_errors).mean(0)
    if not bool(errors.isfinite().all()):
        raise ValueError("nothing can be fitted to the model: its predictions are NaN or Inf")
    low, high = model.value_range
    bounded = errors.clamp(max=((high - low) / 2.0) ** 2).tolist()
    known = sorted((at.logsnr, each * (1.0 + 1.0 / at.ratio**2)) for each, at in zip(bounded, levels, strict=True))
    return {
        "logsnrs": torch.tensor([logsnr for logsnr, _ in known], dtype=torch.float64),
        "scaled": torch.tensor([scaled for _, scaled in known], dtype=torch.float64),
    }
