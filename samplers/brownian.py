"""Increments of a Brownian path between levels: where solvers of the reverse SDE get their noise.

In an exponential integrator the noise of a step is exactly the increment of a Brownian motion W whose clock is a power
of the signal-to-noise ratio, c = exp(2 rate lambda):

- rate tau^2 for the data prediction with tau times the usual noise (arXiv 2309.05019, eq. 14): x_s gets
  sigma_s exp(-tau^2 lambda_s) (W(c_s) - W(c_t));
- rate -1 for the noise prediction (arXiv 2305.14267): c = (sigma / alpha)^2 and alpha_s (W(c_s) - W(c_t));
- rate -1/2 for k-diffusion, whose path runs in c = sigma / alpha, whatever the method.

A source of noise that draws afresh at every call has the increments of steps that do not overlap: they are independent.
Where a method asks for several increments from one start, they are put together here from as many draws. A source that
has a path, the same for any steps (`bench.noise.path`), is asked for that: then solvers can be refined on it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from models.schedule import Level
from samplers.base import Noise
from samplers.coefficients import weighted_sum

if TYPE_CHECKING:
    from torch import Tensor


class Path(Noise, Protocol):
    """A source of noise that also has a Brownian path of each image, the same whatever the steps are."""

    def between(self, like: Tensor, t: Level, s: Level, rate: float) -> Tensor:
        """W(c_s) - W(c_t) over its standard deviation, of the shape, dtype and device of `like`."""


def increment(noise: Noise, like: Tensor, t: Level, s: Level, rate: float = 1.0) -> Tensor:
    """The path's increment over the step from t to the next lower level s, standard normal: one draw.

    Args:
        noise: what the sampler was given.
        like: the state.
        t, s: start and end of the step; s is noisy.
        rate: of the path's clock, not 0.
    """
    between = getattr(noise, "between", None)
    return noise(like) if between is None else between(like, t, s, rate)


def increments(noise: Noise, like: Tensor, rate: float, t: Level, *nodes: Level) -> list[Tensor]:
    """The path's increments from t to each of several ever lower noisy levels, standard normal: one draw each."""
    between = getattr(noise, "between", None)
    if between is not None:
        return [between(like, t, node, rate) for node in nodes]
    draws, found = [noise(like)], []
    for count, node in enumerate(nodes[1:], start=2):
        draws.append(noise(like))
        shares = _shares(rate, *(level.logsnr for level in (t, *nodes[: count - 1], node)))
        found.append(weighted_sum(*zip(shares, draws, strict=True)))
    return [draws[0], *found]


@lru_cache(16_384)
def _shares(rate: float, *logsnrs: float) -> tuple[float, ...]:
    """Square roots of the parts of an increment's variance that lie between neighbours, which sum to 1."""
    twice, last = 2.0 * rate, logsnrs[-1]
    whole = -math.expm1(twice * (logsnrs[0] - last))
    if abs(whole) < 1e-9:  # the clock is even in log-SNR
        return tuple(math.sqrt((b - a) / (last - logsnrs[0])) for a, b in pairwise(logsnrs))
    parts = (math.exp(twice * (b - last)) * -math.expm1(twice * (a - b)) for a, b in pairwise(logsnrs))
    return tuple(math.sqrt(part / whole) for part in parts)
