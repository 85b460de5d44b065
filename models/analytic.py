"""Networks in closed form: the exact E[x_0 | x_t] of a known data law. All error of a sampler run on them is its own.

All of them are mixtures, p(x_0) = sum_k w_k N(m_k, S_k), for which x_t = alpha x_0 + sigma eps is again a mixture,
N(alpha m_k, alpha^2 S_k + sigma^2 I), and E[x_0 | x_t] the responsibility-weighted mean of the components' posterior
means. They give x_0, so they are wrapped as `Denoiser(law, "sample", schedule)`.

They compute in the dtype and on the device of their own tensors (float64, unless whoever made them wanted less) and
return the dtype and device of the state that they are given. Their moments and samples are exact, so that what a
sampler makes of them can be compared with the law itself.
"""

import math
from typing import Protocol

import torch
from torch import Tensor

from models.schedule import Level

_AT_ONCE = 1 << 24
"""Pairs of a state and a point that are compared at a time: 128 MiB in float64, whatever the batch and the data set."""


class Law(Protocol):
    """A data law that is known exactly, and is its own network."""

    @property
    def mean(self) -> Tensor:
        """(D,): the mean of the data."""

    @property
    def covariance(self) -> Tensor:
        """(D, D): the covariance of the data."""

    @property
    def points(self) -> Tensor | None:
        """(M, C, H, W), all that the data can be, or None if the law has a density."""

    def __call__(self, x: Tensor, at: Level) -> Tensor:
        """E[x_0 | x_t = x], like x, (N, C, H, W)."""

    def draw(self, chance: Tensor, normal: Tensor) -> Tensor:
        """Exact samples, a function of the random numbers given.

        Args:
            chance: (N,), uniform on (0, 1): which component or point.
            normal: (N, D), standard normal: where within it.

        Returns:
            (N, C, H, W), in the dtype of the law.
        """


class GaussianMixture:
    """A mixture of Gaussians over flattened images.

    Args:
        weights: (K,), positive; normalised here.
        means: (K, D).
        covariances: (K, D, D), symmetric, positive semi-definite.
        shape: shape of one sample, (C, H, W), of D elements.
    """

    points: None = None

    def __init__(self, weights: Tensor, means: Tensor, covariances: Tensor, shape: tuple[int, ...]) -> None:
        count, size = means.shape
        if weights.shape != (count,) or covariances.shape != (count, size, size) or math.prod(shape) != size:
            raise ValueError(
                f"expected weights (K,), means (K, D), covariances (K, D, D) and a shape of D elements, got "
                f"{tuple(weights.shape)}, {tuple(means.shape)}, {tuple(covariances.shape)} and {shape}"
            )
        self.shape = shape
        self.weights = weights / weights.sum()
        self.means = means
        variances, self._axes = torch.linalg.eigh(covariances)
        self._variances = variances.clamp(min=0.0)

    def __call__(self, x: Tensor, at: Level, labels: Tensor | None = None) -> Tensor:
        """E[x_0 | x_t = x], for x of shape (N, *shape); with labels (N,) of the component that each image is of."""
        flat = x.flatten(1).to(self.means)
        marginal = at.alpha**2 * self._variances + at.sigma**2  # (K, D), along the components' axes
        # offsets of x from the components' means, along the axes of each: (K, N, D)
        along = (flat - at.alpha * self.means[:, None, :]) @ self._axes
        log_density = -0.5 * ((along**2 / marginal[:, None, :]).sum(-1) + marginal.log().sum(-1)[:, None])
        responsibility = (log_density + self.weights.log()[:, None]).softmax(dim=0)
        gain = at.alpha * self._variances / marginal
        posterior = self.means[:, None, :] + (along * gain[:, None, :]) @ self._axes.mT
        if labels is not None:
            expected: Tensor = posterior[labels, torch.arange(len(labels), device=labels.device)]
        else:
            expected = (responsibility[:, :, None] * posterior).sum(0)
        return expected.reshape(x.shape).to(x)

    @property
    def mean(self) -> Tensor:
        """(D,): the mean of the data."""
        return self.weights @ self.means

    @property
    def covariance(self) -> Tensor:
        """(D, D): the covariance of the data, within and between components."""
        within: Tensor = torch.einsum("k,kde,ke,kfe->df", self.weights, self._axes, self._variances, self._axes)
        offsets = self.means - self.mean
        between: Tensor = torch.einsum("k,kd,ke->de", self.weights, offsets, offsets)
        return within + between

    def draw(self, chance: Tensor, normal: Tensor) -> Tensor:
        """Exact samples (N, *shape): component k where chance (N,) lies in its part of (0, 1), m_k + S_k^(1/2) normal.

        `normal` is (N, D).
        """
        edges = self.weights.cumsum(0)[:-1].contiguous()
        chosen = torch.searchsorted(edges, chance.to(self.means), right=True)
        along = normal.to(self.means) * self._variances[chosen].sqrt()
        samples: Tensor = self.means[chosen] + torch.einsum("ne,nde->nd", along, self._axes[chosen])
        return samples.reshape(-1, *self.shape)


class Gaussian(GaussianMixture):
    """One Gaussian: `mean` (D,), `covariance` (D, D). Its probability flow has a closed form."""

    def __init__(self, mean: Tensor, covariance: Tensor, shape: tuple[int, ...]) -> None:
        super().__init__(mean.new_ones(1), mean[None], covariance[None], shape)

    def flow(self, x: Tensor, t: Level, s: Level) -> Tensor:
        """The exact solution at level s of the probability-flow ODE that starts with x at level t.

        Along each axis of the covariance, x - alpha m scales with the marginal standard deviation.
        """
        variances, axes, mean = self._variances[0], self._axes[0], self.means[0]
        ratio = ((s.alpha**2 * variances + s.sigma**2) / (t.alpha**2 * variances + t.sigma**2)).sqrt()
        along = (x.flatten(1).to(mean) - t.alpha * mean) @ axes
        solution: Tensor = s.alpha * mean + (along * ratio) @ axes.T
        return solution.reshape(x.shape).to(x)


class FiniteData:
    """The empirical law of a finite data set: every sample equally likely, E[x_0 | x_t] a softmax over all of them.

    Args:
        points: (M, C, H, W).
    """

    def __init__(self, points: Tensor) -> None:
        if points.ndim != 4 or not len(points) or not points.is_floating_point():
            raise ValueError(
                f"expected points (M, C, H, W), at least one, of a floating-point dtype, got {tuple(points.shape)} of "
                f"{points.dtype}"
            )
        self.points = points
        self._flat = points.flatten(1)
        self._norm2 = (self._flat**2).sum(1)

    def __call__(self, x: Tensor, at: Level) -> Tensor:
        """E[x_0 | x_t = x], for x of shape (N, C, H, W)."""
        parts = x.flatten(1).split(self._rows)
        return torch.cat([self._posterior(part, at) for part in parts]).reshape(x.shape).to(x)

    @property
    def _rows(self) -> int:
        """States that are compared with all points at a time."""
        return max(1, _AT_ONCE // len(self.points))

    def _posterior(self, flat: Tensor, at: Level) -> Tensor:
        # -|x - alpha x_i|^2 / (2 sigma^2), less the part that all x_i share
        logits = (at.alpha * flat.to(self._flat) @ self._flat.T - 0.5 * at.alpha**2 * self._norm2) / at.sigma**2
        return logits.softmax(dim=1) @ self._flat

    @property
    def mean(self) -> Tensor:
        """(D,): the mean of the data."""
        return self._flat.mean(0)

    @property
    def covariance(self) -> Tensor:
        """(D, D): the covariance of the law itself, divided by M and not M - 1."""
        offsets = self._flat - self.mean
        return offsets.T @ offsets / len(offsets)

    def draw(self, chance: Tensor, normal: Tensor) -> Tensor:
        """Exact samples (N, C, H, W): the points numbered floor(M chance), for chance (N,); `normal` is not used."""
        chosen = (chance.to(self._flat.device).double() * len(self.points)).long().clamp(max=len(self.points) - 1)
        return self.points[chosen]
