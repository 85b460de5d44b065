"""A smooth network that is far from linear, for steps worked out by hand."""

import numpy as np
import torch
from torch import Tensor

from models.denoiser import ClipRange, Denoiser
from models.schedule import ContinuousVP, Level, Schedule

Array = np.ndarray

SHAPE = (1, 2, 3)
VP = ContinuousVP()


def start(batch: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(batch, *SHAPE, generator=torch.Generator().manual_seed(9), dtype=torch.float64).to(dtype)


def predicted(x: Tensor | Array, at: Level) -> Array:
    """The x_0 of a smooth network that is far from linear; what `nonlinear` wraps."""
    return np.asarray(np.tanh(np.asarray(x) * at.alpha / (at.alpha + at.sigma) + 0.3 * at.sigma / (1.0 + at.sigma)))


def nonlinear(clip: ClipRange | None = None, schedule: Schedule = VP) -> Denoiser:
    return Denoiser(lambda x, at: torch.from_numpy(predicted(x, at)).to(x.dtype), "sample", schedule, clip)
