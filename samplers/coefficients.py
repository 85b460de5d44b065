"""What multistep and exponential integrators share: quadrature weights of an interpolating polynomial, in float64.

The values that a method keeps are interpolated by the polynomial through them, and the polynomial is integrated exactly
over the step against the weight that the method's variable brings along. Such weights are found from the moments of
that weight: they have to integrate 1, v, v^2, ... right (the method of undetermined coefficients, equivalent to
integrating the Lagrange polynomials). Each is computed once for the same levels and kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from models.schedule import Level, Schedule

if TYPE_CHECKING:
    from torch import Tensor

KEPT = 16_384
"""Steps whose weights are kept: a few grids of a thousand steps."""


def orders_left(levels: Sequence[Level], done: int, below: int) -> int | None:
    """The highest order of the step after `done` ones where the order falls to 1 at the end, or None for any.

    So that no value is extrapolated over the last steps, which are the longest in log-SNR on grids even in time. The
    step to the lowest noisy level is the one of order 1, as in the authors' code of DPM-Solver++, UniPC and SA-Solver,
    which know a clean level, whose step is x_0 itself, only as an evaluation after the last step.

    Args:
        levels: of the grid.
        done: steps made.
        below: the number of steps from which on the order does not fall.
    """
    steps = len(levels) - 1
    return max(steps - levels[-1].is_clean - done, 1) if steps < below else None


def weighted_sum(*terms: tuple[float, Tensor]) -> Tensor:
    """The sum of factor * tensor, in a new tensor."""
    (factor, tensor), *others = terms
    if factor == 1.0 and others:
        (factor, other), *others = others
        total = tensor.add(other, alpha=factor)
    else:
        total = tensor * factor
    for factor, tensor in others:
        total.add_(tensor, alpha=factor)
    return total


def reverse_sde(tau2: float, t: Level, s: Level) -> tuple[float, float]:
    """The exact step from t to s of the reverse SDE with tau times its usual noise, but for its part in x_0: the factor
    of x and the standard deviation of the noise (arXiv 2309.05019, eq. 14). s is noisy; tau = 0: the probability flow.
    """
    decay = tau2 * (s.logsnr - t.logsnr) if tau2 > 0.0 else 0.0  # which is infinite from pure noise on
    return s.sigma / t.sigma * math.exp(-decay), s.sigma * math.sqrt(-math.expm1(-2.0 * decay))


def first_order(x: Tensor, eps: Tensor, s: Level, t: Level) -> Tensor:
    """DPM-Solver-1 (arXiv 2206.00927, eq. 3.7), which is DDIM: from s to t with the noise prediction as it is at s.

    sigma_t (e^h - 1) is written as alpha_t sigma_s / alpha_s - sigma_t, which holds at the clean level as well.
    """
    ratio = t.alpha / s.alpha
    return weighted_sum((ratio, x), (t.sigma - ratio * s.sigma, eps))


def _weights(nodes: tuple[float, ...], moments: list[float]) -> tuple[float, ...]:
    """Weights w with sum_j w_j nodes_j^m = moments_m for every m below the number of nodes."""
    vandermonde = np.vander(nodes, increasing=True).T
    return tuple(float(w) for w in np.linalg.solve(vandermonde, moments))


@lru_cache(KEPT)
def exponential_weights(rate: float, t: Level, s: Level, *nodes: Level) -> tuple[float, ...]:
    """Weights w_j of values at `nodes` in rate * integral of exp(-rate (lambda_s - lambda)) p(lambda) d lambda.

    p is the polynomial in lambda through the values, and the integral runs over the step from t to s. The linear part
    of the reverse process is solved exactly by

    - rate 1: x_s = (sigma_s / sigma_t) x_t + alpha_s sum w_j x_0j, the probability flow for the data prediction
      (DPM-Solver++, arXiv 2211.01095);
    - rate 1 + tau^2: the same with noise, arXiv 2309.05019;
    - rate -1: x_s = (alpha_s / alpha_t) x_t + sigma_s sum w_j eps_j, for the noise prediction (DPM-Solver, arXiv
      2206.00927, eq. 3.4).

    Args:
        rate: not 0.
        t, s: start and end of the step; both noisy.
        nodes: distinct noisy levels.
    """
    h = s.logsnr - t.logsnr
    scaled = tuple((node.logsnr - t.logsnr) / h for node in nodes)
    return _weights(scaled, [_exponential_moment(rate * h, m) for m in range(len(nodes))])


def phi(k: int, z: float) -> float:
    """phi_k(-z), k >= 1, of exponential integrators: integral of exp(-z (1 - v)) v^(k - 1) / (k - 1)! over 0 ... 1."""
    return _exponential_moment(z, k - 1) / (z * math.factorial(k - 1))


def _exponential_moment(z: float, m: int) -> float:
    """z * integral of exp(-z (1 - v)) v^m over 0 ... 1: for m = 0 this is 1 - exp(-z)."""
    if abs(z) > 1.0:  # by parts; cancels where z is small
        moment = -math.expm1(-z)
        for power in range(1, m + 1):
            moment = 1.0 - power / z * moment
        return moment
    total, term = 0.0, z / (m + 1)
    for n in range(1, 30):  # the series in z, whose terms are (-z)^(n-1) m! / (m + n)!, is exhausted long before
        total += term
        term *= -z / (m + n + 1)
    return total


def exponential_step(
    x: Tensor, t: Level, s: Level, values: Sequence[tuple[Level, Tensor]], rate: float = 1.0
) -> Tensor:
    """The probability flow from t to s by the polynomial through values of x_0 (rate 1) or of eps (rate -1)."""
    weights = exponential_weights(rate, t, s, *(level for level, _ in values))
    return weighted_values(x, t, s, weights, [value for _, value in values], rate)


def weighted_values(
    x: Tensor, t: Level, s: Level, weights: Sequence[float], values: Sequence[Tensor], rate: float
) -> Tensor:
    """The linear part from t to s exactly, and a weighted sum of values of x_0 (rate 1) or of eps (rate -1)."""
    keep, gain = (s.sigma / t.sigma, s.alpha) if rate > 0 else (s.alpha / t.alpha, s.sigma)
    return weighted_sum((keep, x), *((gain * w, value) for w, value in zip(weights, values, strict=True)))


@lru_cache(KEPT)
def ratio_weights(t: Level, s: Level, *nodes: Level) -> tuple[float, ...]:
    """Weights of values at `nodes` in the integral d rho from t to s, rho = sigma / alpha, of a polynomial in rho."""
    start, width = t.ratio, s.ratio - t.ratio
    scaled = tuple((node.ratio - start) / width for node in nodes)
    return tuple(width * w for w in _weights(scaled, [1.0 / (m + 1) for m in range(len(nodes))]))


@lru_cache(KEPT)
def time_weights(schedule: Schedule, t: Level, s: Level, *nodes: Level) -> tuple[float, ...]:
    """Weights of values at `nodes` in the integral d rho from t to s, rho = sigma / alpha, of a polynomial in t.

    The moments are rho_s - integral of m v^(m - 1) rho dv, v running from 0 at t to 1 at s: by Gauss-Legendre,
    exact to round-off on smooth schedules and to 1e-4 at worst on discrete ones, which have kinks at their indices.
    """
    width = s.t - t.t
    scaled = tuple((node.t - t.t) / width for node in nodes)
    moments = [s.ratio - t.ratio]
    if len(nodes) > 1:
        v, dv = _gauss_legendre()
        rho = np.array([schedule.level(t.t + width * each).ratio for each in v])
        moments += [s.ratio - float(np.sum(dv * m * v ** (m - 1) * rho)) for m in range(1, len(nodes))]
    return _weights(scaled, moments)


def integral(function: Callable[[np.ndarray], np.ndarray], low: float, high: float) -> float:
    """The integral of a smooth function by Gauss-Legendre with 32 points."""
    v, dv = _gauss_legendre()
    return float((high - low) * np.sum(dv * function(low + (high - low) * v)))


@cache
def _gauss_legendre() -> tuple[np.ndarray, np.ndarray]:
    """32 nodes and weights on 0 ... 1."""
    nodes, weights = np.polynomial.legendre.leggauss(32)
    return 0.5 * (nodes + 1.0), 0.5 * weights
