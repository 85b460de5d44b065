"""DPM-Solver-v3's empirical model statistics (arXiv 2310.13268, section 3 and appendix C): l, s and b, an element each,
by lambda = log(alpha / sigma), fitted to a model.

With N = sigma eps - l x, f = N / alpha and f' its derivative along the probability flow,

- l = E diag(d (sigma eps) / dx), which makes the Jacobian of N smallest (eq. 11);
- s = Cov[f, f'] / Var[f] and b = E f' - s E f, the regression of f' on f (eq. 13, 14).

Expectations are over images of the model itself with noise. Derivatives are differences, where the authors' are
automatic: along random signs (Hutchinson) and along the flow.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from models.denoiser import Denoiser
from models.fitted import FitModel, images_of
from models.schedule import Level, Schedule

if TYPE_CHECKING:
    from scipy.interpolate import PPoly
    from torch import Tensor

_ALONG = 0.05
"""Half of a difference along the flow, in lambda."""
_ASIDE = 0.05
"""Half of a difference along random signs, in sigma."""
_LEAST = 1e-11
"""Variance of f, as part of the mean of u^2: of elements that never vary there is none but that of round-off."""
_MOST = 4.0
"""Of s, which goes from 1 at much noise to about -2 at little: beyond are round-off and chance."""


def nodes(schedule: Schedule, count: int) -> list[Level]:
    """Levels even in lambda, from the noisiest to the lowest."""
    ends = [schedule.level(t) for t in (schedule.t_max, schedule.t_min)]
    inner = np.linspace(ends[0].logsnr, ends[1].logsnr, count)[1:-1]
    return [ends[0], *(schedule.level(schedule.t_at(float(each))) for each in inner), ends[1]]


def evaluations(images: int, count: int) -> int:
    """Network evaluations that the statistics take, without those of the images that they are over."""
    return images * 5 * count


def fit(model: FitModel, images: int, count: int) -> dict[str, Tensor]:
    """logsnrs (count,), and l, s, b (count, C, H, W), float64.

    Raises:
        ValueError: the network gives NaN or Inf.
    """
    import torch  # only here: what only plans samplers needs no torch

    levels, x0 = nodes(model.schedule, count), images_of(model, range(images))

    def sums(numbers: Tensor) -> Tensor:
        network, noise = model.denoiser(numbers), model.noise(numbers, first=1)
        known = x0[numbers.cpu()].to(numbers.device)
        fresh, signs = noise(known), noise(known).sign()  # the same at all levels, for statistics that are smooth
        found = []
        for at in levels:
            x = at.alpha * known + at.sigma * fresh
            eps, rate = _along(network, model.schedule, levels, x, at)
            h = _ASIDE * at.sigma
            aside = network(x + h * signs, at).eps - network(x - h * signs, at).eps
            u, v, w = eps.double() * at.ratio, rate.double() * at.ratio, x.double() / at.alpha
            jacobian = signs.double() * aside.double() * (at.sigma / (2.0 * h))
            each = (jacobian, u, v, w, u * u, u * v, u * w, v * w, w * w)
            found.append(torch.stack([part.sum(0) for part in each]))
        return torch.stack(found, dim=1)

    means = model.mean(range(images), sums).numpy()
    if not np.isfinite(means).all():
        raise ValueError("nothing can be fitted to the model: its predictions are NaN or Inf")
    logsnrs = np.array([at.logsnr for at in levels])
    found = dict(zip("lsb", _regressed(logsnrs, means), strict=True)) | {"logsnrs": logsnrs}
    return {name: torch.from_numpy(np.ascontiguousarray(each)) for name, each in found.items()}


def _along(
    network: Denoiser, schedule: Schedule, levels: Sequence[Level], x: Tensor, at: Level
) -> tuple[Tensor, Tensor]:
    """eps, and its derivative by lambda along the probability flow: d (x / alpha) = eps d (sigma / alpha)."""
    eps = network(x, at).eps
    low, high = levels[0].logsnr, levels[-1].logsnr
    ends = [schedule.level(schedule.t_at(min(max(at.logsnr + each, low), high))) for each in (-_ALONG, _ALONG)]
    before, after = (network(end.alpha * (x / at.alpha + (end.ratio - at.ratio) * eps), end).eps for end in ends)
    return eps, (after - before) / (ends[1].logsnr - ends[0].logsnr)


def _regressed(logsnrs: np.ndarray, means: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """l, s and b from means of products of u = eps sigma / alpha, v = its part of eps' and w = x / alpha.

    f = u - l w, and f' = (l - 1) u + v - l' w.
    """
    from scipy.interpolate import CubicSpline

    own, u, v, w, uu, uv, uw, vw, ww = means
    slope = CubicSpline(logsnrs, own)(logsnrs, 1)
    f, rate = u - own * w, (own - 1.0) * u + v - slope * w
    variance = uu - 2.0 * own * uw + own * own * ww - f * f
    product = (own - 1.0) * uu + uv - slope * uw - own * ((own - 1.0) * uw + vw - slope * ww)
    s = np.clip((product - f * rate) / np.maximum(variance, _LEAST * uu), -_MOST, _MOST)
    return own, s, rate - s * f


@dataclass(frozen=True, eq=False)
class Statistics:
    """l and the integrals of all three, between the nodes by cubic splines in lambda.

    Whatever they are, what a solver makes of them is exact but for its interpolation: s and b are the derivatives of
    these integrals.

    Attributes:
        own: l, (C, H, W).
        of_l, of_s: the integrals of l and s.
        of_b: the integral of exp(-S) b.
    """

    own: PPoly
    of_l: PPoly
    of_s: PPoly
    of_b: PPoly
    _kept: dict[Hashable, Any] = field(default_factory=dict)

    def kept(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What is worked out of them once, such as the coefficients of a step; it is given up with them."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    @classmethod
    def read(cls, found: Mapping[str, Tensor]) -> Statistics:
        """From the tensors that `fit` gives."""
        from scipy.interpolate import CubicSpline

        logsnrs, own, s, b = (found[name].cpu().numpy() for name in ("logsnrs", "l", "s", "b"))
        spline = CubicSpline(logsnrs, own)
        of_s = CubicSpline(logsnrs, s).antiderivative()
        of_b = CubicSpline(logsnrs, np.exp(-of_s(logsnrs)) * b).antiderivative()
        return cls(spline, spline.antiderivative(), of_s, of_b)
