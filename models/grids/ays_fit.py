"""Align Your Steps. Sabour, Fidler, Kreis: Align Your Steps: Optimizing Sampling Schedules in Diffusion Models (arXiv
2404.14507), section 3: the levels that make an upper bound of the Kullback-Leibler divergence between what the solver
of the discretised SDE and the true one make least.

With t = sigma / alpha the bound is sum_i of the integral over [t_i+1, t_i] of E |D(x_t, t) - D(x_ti, ti)|^2 dt / t^3,
x_ti being x_t with more noise. The authors estimate it for each schedule that they try, by images of the data, and
search level after level. Here all pairs of many levels are measured once, along one path of growing noise an image, so
that the best choice among them is found exactly, by dynamic programming; the images are the model's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.fitted import IMAGE_EVALUATIONS, FitModel, images_of
from models.grids.base import GRIDS
from models.grids.gits import OfNodes, cheapest_path
from models.schedule import Level, Schedule

if TYPE_CHECKING:
    from torch import Tensor


@GRIDS.register("ays-fit")
@dataclass(frozen=True)
class AYSFit(OfNodes):
    """Fitted to how predictions change with the noise: the least bound of Align Your Steps (arXiv 2404.14507)."""

    fit_parameters = ("images", "nodes")

    def fit_evaluations(self, schedule: Schedule, steps: int) -> int:
        return self.images * (IMAGE_EVALUATIONS + self.nodes)

    def path(self, cost: np.ndarray, intervals: int) -> list[int]:
        return cheapest_path(cost, intervals)

    def cost(self, model: FitModel, nodes: Sequence[Level]) -> Tensor:
        x0 = images_of(model, range(self.images))
        moved = model.mean(range(self.images), lambda numbers: _moved(model, nodes, x0, numbers).sum(0))
        return _bound(nodes, moved)


def _moved(model: FitModel, nodes: Sequence[Level], x0: Tensor, numbers: Tensor) -> Tensor:
    """|D(x_t, t) - D(x_s, s)|^2, (N, nodes, nodes), where x_t is x_0 with the noise of one path that grows."""
    import torch  # only here: what only plans needs no torch

    network, noise, known = model.denoiser(numbers), model.noise(numbers, first=1), x0[numbers.cpu()].to(numbers.device)
    path, below, found = known.clone(), 0.0, []
    for at in reversed(nodes):
        path = path + (at.ratio**2 - below**2) ** 0.5 * noise(known)
        below = at.ratio
        found.append(network(at.alpha * path, at).x0.double().flatten(1))
    predicted = torch.stack(found[::-1], dim=1)
    return torch.cdist(predicted, predicted, compute_mode="donot_use_mm_for_euclid_dist").square()


def _bound(nodes: Sequence[Level], moved: Tensor) -> Tensor:
    """The integrals over each step by the trapezoidal rule in the nodes, (nodes, nodes); t^-3 dt is exact."""
    import torch

    ratios = moved.new_tensor([at.ratio for at in nodes])
    masses = 0.5 * (ratios[1:] ** -2 - ratios[:-1] ** -2)
    sums = (0.5 * (moved[:, 1:] + moved[:, :-1]) * masses).cumsum(1)
    sums = torch.cat([sums.new_zeros(len(nodes), 1), sums], dim=1)
    found: Tensor = sums - sums.diagonal()[:, None]
    return found.triu()
