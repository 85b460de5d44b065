"""Data laws in closed form for the conformance suite, and how far a sampler is from them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from bench.conformance.check import call
from bench.fitting.model import fitted_to
from bench.noise.stream import ImageNoise
from models.analytic import FiniteData, Gaussian, GaussianMixture
from models.denoiser import Denoiser
from models.grids import GRIDS
from models.guidance import GUIDANCES
from models.guidance.base import CONDITIONAL
from models.guidance.guided import Guided
from models.networks.network import Network
from models.schedule import ContinuousVP, Flow, Schedule
from samplers import Sampler

_SHAPE = (1, 8, 8)
_SIZE = math.prod(_SHAPE)


class Errors(NamedTuple):
    """Distances from a law: of mean, variance and covariance after whitening, and of the modes' frequencies."""

    shift: float
    spread: float
    covariance: float
    weights: float


@dataclass(frozen=True)
class Law:
    """A mixture whose samples are compared with it."""

    network: GaussianMixture

    def errors(self, samples: Tensor) -> Errors:
        """How far samples (N, C, H, W) are from the law.

        Returns:
            shift: distance of the mean in standard deviations, averaged (RMS) over the axes.
            spread: relative error of the variance, averaged over the axes.
            covariance: squared Frobenius distance, an axis, of the whitened covariance from the identity, once it is
                scaled to a mean variance of 1.
            weights: largest error of a mode's frequency, modes told apart by the nearest mean.
        """
        flat = samples.flatten(1)
        variances, axes = torch.linalg.eigh(self.network.covariance)
        white = (flat - self.network.mean) @ axes / variances.sqrt()
        nearest = torch.cdist(flat, self.network.means).argmin(1)
        covariance = torch.cov(white.T)
        variance = covariance.diagonal().mean()
        excess = covariance / variance - torch.eye(len(covariance), dtype=white.dtype)
        frequency = torch.bincount(nearest, minlength=len(self.network.means)) / len(flat)
        return Errors(
            float(white.mean(0).square().mean().sqrt()),
            float(variance - 1.0),
            float(excess.square().sum() / len(excess)),
            float((frequency - self.network.weights).abs().max()),
        )

    def monte_carlo_errors(self, count: int) -> Errors:
        """The standard errors of the above for `count` perfect samples; of the covariance, mean and 4 of them."""
        weights = self.network.weights
        return Errors(
            1.0 / math.sqrt(count),
            math.sqrt(2.0 / (count * _SIZE)),
            (_SIZE + 1) / count + 4.0 * 2.0 / count,  # (D + 1) / N expected, spread 2 / N, of a Wishart matrix
            float((weights * (1.0 - weights)).max().sqrt()) / math.sqrt(count),
        )


def _covariance(seed: int, low: float, high: float) -> Tensor:
    """A full covariance with variances from low to high along random axes."""
    generator = torch.Generator().manual_seed(seed)
    axes, _ = torch.linalg.qr(torch.randn(_SIZE, _SIZE, generator=generator, dtype=torch.float64))
    covariance: Tensor = (axes * torch.linspace(low, high, _SIZE, dtype=torch.float64)) @ axes.T
    return covariance


def gaussian(dtype: torch.dtype = torch.float64) -> Gaussian:
    """A Gaussian in 64 dimensions with variances from 0.1 to 1 along random axes."""
    mean = torch.linspace(-0.5, 0.5, _SIZE, dtype=torch.float64)
    return Gaussian(mean.to(dtype), _covariance(0, 0.1, 1.0).to(dtype), _SHAPE)


def gaussian_law() -> Law:
    return Law(gaussian())


def mixture_law() -> Law:
    """Two well separated modes of unequal weight in 64 dimensions."""
    step = torch.full((_SIZE,), 0.5, dtype=torch.float64)
    covariances = torch.stack([_covariance(1, 0.1, 0.4), _covariance(2, 0.1, 0.4)])
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)
    return Law(GaussianMixture(weights, torch.stack([step, -step]), covariances, _SHAPE))


def generator(law: Gaussian) -> Network:
    """The exact generator of a Gaussian: the end of the probability flow through x_t, an ideal consistency network."""
    return lambda x, at: law.flow(x, at, _SMOOTH.level(0.0))


def point() -> FiniteData:
    """All data at one point."""
    return FiniteData(torch.linspace(-1.0, 1.0, _SIZE, dtype=torch.float64).reshape(1, *_SHAPE))


@dataclass(frozen=True)
class Convergence:
    """Error of a solver against the exact solution of the probability-flow ODE.

    Attributes:
        steps: numbers of steps.
        errors: RMS distances.
        orders: slopes of log error over log steps, between neighbours.
    """

    steps: Sequence[int]
    errors: Sequence[float]

    @property
    def orders(self) -> list[float]:
        points = list(zip(self.steps, self.errors, strict=True))
        return [math.log(e / finer) / math.log(more / n) for (n, e), (more, finer) in pairwise(points)]


_SMOOTH, _FLOW = ContinuousVP(), Flow()
_STARTS = 8
_GRID = "logsnr[clean=false]"
_STEPS = (32, 62, 128, 254)
"""About double each time, and all 2 modulo 6: methods that take two or three intervals at once end alike every time."""


def convergence(
    sampler: Sampler, steps: Sequence[int] = _STEPS, guidance: str = "none", *, flow: bool = False
) -> Convergence:
    """Errors on a mixture as steps double, in float64, on a grid even in log-SNR that ends at a noisy level.

    Args:
        sampler: the solver.
        steps: how many.
        guidance: under which the classes of its states are the components of the mixture.
        flow: whether on a flow's schedule; else on a variance-preserving one.
    """
    schedule = _FLOW if flow else _SMOOTH
    x, solution = _solution(guidance, flow)
    errors = []
    fitted = fitted_to(sampler, lambda numbers: _smooth_model(schedule, guidance, numbers), _SHAPE)
    for count in steps:
        model, source = _smooth_model(schedule, guidance, fitted=fitted), ImageNoise(0, torch.arange(_STARTS))
        result, _ = call(sampler, model, x, GRIDS.make(_GRID)(schedule, count), source)
        errors.append(float((result - solution).square().mean().sqrt()))
    return Convergence(steps, errors)


def smooth_mixture() -> GaussianMixture:
    """Three wide modes in 64 dimensions that share most of the plane, so that the flow is smooth but not linear."""
    generator = torch.Generator().manual_seed(3)
    means = 0.25 * torch.randn(3, _SIZE, generator=generator, dtype=torch.float64)
    covariances = torch.stack([_covariance(seed, 0.2, 0.6) for seed in (4, 5, 6)])
    return GaussianMixture(torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64), means, covariances, _SHAPE)


def smooth_start(count: int = _STARTS) -> Tensor:
    """States at t = 1."""
    return ImageNoise(0, torch.arange(count))(torch.empty(count, *_SHAPE, dtype=torch.float64))


def _smooth_model(schedule: Schedule, guidance: str, images: Tensor | None = None, fitted: Any = None) -> Denoiser:
    """The mixture as samplers see it, of one component after the other under a guidance."""
    made, law = GUIDANCES.make(guidance), smooth_mixture()
    if made.evaluated == CONDITIONAL:
        return Denoiser(law, "sample", schedule, fitted=fitted)
    guided = Guided(law, made, "sample", "none")
    labels = (torch.arange(_STARTS) if images is None else images) % len(law.weights)
    return Denoiser(guided, guided.parametrisation, schedule, labels=labels, fitted=fitted)


@cache
def _solution(guidance: str = "none", flow: bool = False) -> tuple[Tensor, Tensor]:
    """Initial states at t_max and the probability flow's solution at t_min, by an eighth-order Runge-Kutta in t.

    dx/dt = f x - g^2 score / 2 (arXiv 2011.13456, eq. 13): another form, another variable and another solver than any
    sampler here uses.
    """
    schedule = _FLOW if flow else _SMOOTH
    model = _smooth_model(schedule, guidance)
    x = smooth_start() * schedule.prior_std(schedule.level(schedule.t_max))

    def slope(t: float, flat: np.ndarray) -> np.ndarray:
        level = schedule.level(t)
        state = torch.from_numpy(flat).reshape(x.shape)
        rate: Tensor = level.drift * state - 0.5 * level.diffusion2 * model(state, level).score
        return rate.flatten().numpy()

    found = solve_ivp(
        slope, (schedule.t_max, schedule.t_min), x.flatten().numpy(), method="DOP853", rtol=1e-11, atol=1e-12
    )
    if not found.success:
        raise RuntimeError(f"the reference solution failed: {found.message}")
    return x, torch.from_numpy(found.y[:, -1]).reshape(x.shape)
