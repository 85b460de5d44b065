"""GITS. Chen, Zhou, Wang, Shen, Lyu: On the Trajectory Regularity of ODE-based Diffusion Sampling (arXiv 2405.11326).

The levels are chosen among many along measured trajectories of the probability flow by dynamic programming: the cost of
going from one to another is how far Euler's step, in x / alpha over sigma / alpha, ends from the trajectory there. The
steps' costs are added up, each later one times `coefficient` once more (the authors' code: V_j,k = min_i c_ji + gamma
V_i,k-1), since errors are said to grow or shrink on the way.

As the authors' code but for the trajectories, which one step of Runge-Kutta of order 4 an interval makes here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal, final

import numpy as np
from annotated_types import Ge, Gt

from models.fitted import FitModel
from models.grids.base import GRIDS, TooManySteps
from models.grids.by_noise import Karras
from models.grids.fitted import FittedGrid
from models.schedule import Level, Schedule

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class OfNodes(FittedGrid):
    """A grid whose levels are chosen among many by what the steps between them cost.

    Attributes:
        images: of noise that costs are means over.
        nodes: levels that are chosen from, EDM's grid from the noisiest to the lowest.
    """

    images: Annotated[int, Ge(1)] = 256
    nodes: Annotated[int, Ge(3)] = 61

    @property
    def fit_images(self) -> int:
        return self.images

    def read(self, found: Mapping[str, Tensor], steps: int) -> list[float]:
        path = self.path(found["cost"].numpy(), steps - self.clean)
        times: list[float] = found["t"][path].tolist()
        return times

    @abstractmethod
    def path(self, cost: np.ndarray, intervals: int) -> list[int]:
        """The levels of least cost, by number; with a clean level at the end the step there is not in it."""

    def check(self, schedule: Schedule, steps: int) -> None:
        if steps - self.clean >= self.nodes:
            raise TooManySteps(f"{steps} steps of {self.nodes} levels to choose from; give the grid more nodes")

    def candidates(self, schedule: Schedule) -> list[Level]:
        """The levels that are chosen from, whose ends are those of the grid to the last bit."""
        inner = Karras(clean=False)(schedule, self.nodes - 1)[1:-1]
        return [schedule.level(schedule.t_max), *inner, schedule.level(schedule.t_min)]

    @final
    def fit(self, model: FitModel) -> dict[str, Tensor]:
        """t: the times of the levels that are chosen from; cost: of a step from each to each lower one.

        Raises:
            ValueError: the network gives NaN or Inf.
        """
        import torch  # only here: what only plans needs no torch

        nodes = self.candidates(model.schedule)
        cost = self.cost(model, nodes)
        if not bool(cost.isfinite().all()):
            raise ValueError("nothing can be fitted to the model: its predictions are NaN or Inf")
        return {"t": torch.tensor([level.t for level in nodes], dtype=torch.float64), "cost": cost}

    @abstractmethod
    def cost(self, model: FitModel, nodes: Sequence[Level]) -> Tensor:
        """(nodes, nodes) float64: of a step from each level to each lower one; else 0."""


@GRIDS.register("gits")
@dataclass(frozen=True)
class GITS(OfNodes):
    """Fitted to trajectories of the flow: levels between which Euler's steps stay closest to them (arXiv 2405.11326).

    Attributes:
        coefficient: that later costs are multiplied by, step after step.
        metric: of how far a step is off: "dev", by how much farther than the trajectory from the straight line between
            its ends; "l1" or "l2", in that norm.
    """

    coefficient: Annotated[float, Gt(0)] = 1.15
    metric: Literal["dev", "l1", "l2"] = "dev"

    fit_parameters = ("images", "nodes", "metric")

    def fit_evaluations(self, schedule: Schedule, steps: int) -> int:
        return self.images * (5 * (self.nodes - 1))

    def path(self, cost: np.ndarray, intervals: int) -> list[int]:
        return cheapest_path(cost, intervals, self.coefficient)

    def cost(self, model: FitModel, nodes: Sequence[Level]) -> Tensor:
        return model.mean(range(self.images), lambda numbers: self._costs(model, nodes, numbers).sum(0))

    def _costs(self, model: FitModel, nodes: Sequence[Level], numbers: Tensor) -> Tensor:
        """(N, nodes, nodes) float64: of each image, from each level to each lower one; else 0."""
        import torch

        network, x = model.denoiser(numbers), model.start(numbers, nodes[0])
        states, slopes = [x.double() / nodes[0].alpha], []
        for t, s in pairwise(nodes):
            slopes.append(network(x, t).eps.double())
            x = model.flow(network, x, t, s, 1).to(x.dtype)
            states.append(x.double() / s.alpha)
        way = torch.stack(states, dim=1).flatten(2)
        own, found = _apart(way, way), way.new_zeros(len(x), len(nodes), len(nodes))
        for n, slope in enumerate(slopes):
            widths = way.new_tensor([s.ratio - nodes[n].ratio for s in nodes[n + 1 :]])
            ends = way[:, n, None] + widths[:, None] * slope.flatten(1)[:, None]
            if self.metric == "dev":
                found[:, n, n + 1 :] = _apart(ends, way) - own[:, n + 1 :]
            else:
                found[:, n, n + 1 :] = (ends - way[:, n + 1 :]).norm(p=1 if self.metric == "l1" else 2, dim=2)
        return found


def _apart(points: Tensor, way: Tensor) -> Tensor:
    """Distances (N, M) of points (N, M, D) from the straight line between the ends of a way (N, nodes, D)."""
    line = way[:, -1] - way[:, 0]
    line = (line / line.norm(dim=1, keepdim=True))[:, None]
    offset = points - way[:, :1]
    found: Tensor = (offset - (offset * line).sum(2, keepdim=True) * line).norm(dim=2)
    return found


def cheapest_path(cost: np.ndarray, intervals: int, coefficient: float = 1.0) -> list[int]:
    """The way from the first to the last of the nodes in so many steps whose costs c_1 + gamma (c_2 + gamma (...)) are
    least, by dynamic programming.

    Args:
        cost: (nodes, nodes), of a step from each to each later one.
        intervals: fewer than there are nodes; 0: the first node alone.
        coefficient: gamma.
    """
    if intervals == 0:
        return [0]
    count = len(cost)
    forward = np.where(np.triu(np.ones((count, count), dtype=bool), 1), cost, np.inf)
    values, after = forward[:, -1], list[np.ndarray]()
    for _ in range(intervals - 1):
        through = forward + coefficient * values[None]
        through[:, -1] = np.inf  # which is the end, and of no further step
        after.append(through.argmin(1))
        values = through.min(1)
    path = [0]
    for following in reversed(after):
        path.append(int(following[path[-1]]))
    return [*path, count - 1]
