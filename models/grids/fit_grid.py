"""The grid that suits a sampler best on a model: fitted, for a number of steps, to where the probability flow ends.

The error of a grid is the distance (RMS an element) between where the sampler ends and a tight solution of the flow
from the same noise. It is made small over some images of noise by the Levenberg-Marquardt method, in the logarithms of
the gaps in lambda = log(alpha / sigma) between levels, so that levels always descend; its ends stay. Derivatives are
differences, so the sampler may be any that is deterministic and says its evaluations, a plugin's too, under a guidance
as well. Each image is weighed by the inverse of its squared error, for the sum of log errors, which no single image
rules, as it would that of squares. It starts from the best of the fixed grids, or from one that is named, and once more
from the best of those that leave their last gap free; images that it does not see decide how far it goes: of all that
it passes, its starts among them, it keeps that of the least median error on them. So it is never worse there than a
start.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Ge

from models.common.errors import UsageError
from models.fitted import OWN, FitModel
from models.grids.base import GRIDS
from models.grids.by_time import Power
from models.grids.fitted import FittedGrid
from models.schedule import Level, Schedule

if TYPE_CHECKING:
    from torch import Tensor

_FLOW_STEPS = 100
"""Runge-Kutta steps of the solutions: solvers of 20 steps are farther away by orders of magnitude."""
_DIFFERENCE = 0.03
"""Of the logarithm of a gap: far above what float32 resolves of errors, and small for them to be linear."""
_LEAST = 1e-3
"""Of the whole range in lambda, that a gap is at first."""
_PATIENCE = 3
"""Steps in a row that do not better the images not seen."""
_MOST_DAMPING = 1e4
"""That is tried in a step, each four times the one before: beyond, a step would change nothing."""
_FIRST_IMAGE = 1 << 20
"""The number of the first image of noise: those before are for what samplers take."""
_STARTS = (
    "trailing", "linspace", "quad", "power", "vp-time", "logsnr", "karras", "polyexponential", "laplace", "kl-optimal",
    "linear-quadratic", "beta", "sgm-uniform", "shift", "ays",
)  # fmt: skip
"""The fixed grids that it may start from, where they have its ends: these, whatever plugins register."""


@GRIDS.register("fit-grid")
@dataclass(frozen=True)
class FitGrid(FittedGrid):
    """Fitted to a sampler: of as many steps, the levels from which it ends closest to the exact flow (ours).

    Attributes:
        sampler: that it is fitted to; "own": the one that it is run with.
        start: the grid that it starts from; None: the best of the fixed ones.
        images: of noise that errors are made small on.
        held_out: images that decide how far.
        iterations: at most; each takes about as many runs of the sampler as there are steps.
    """

    sampler: str = OWN
    start: str | None = None
    images: Annotated[int, Ge(8)] = 64
    held_out: Annotated[int, Ge(8)] = 64
    iterations: Annotated[int, Ge(1)] = 15

    fits_steps = True

    @property
    def fits_sampler(self) -> str:  # type: ignore[override]
        return self.sampler

    @property
    def fits_grid(self) -> str | None:  # type: ignore[override]
        return self.start

    @property
    def fit_images(self) -> int:
        return self.images + self.held_out

    def fit_evaluations(self, schedule: Schedule, steps: int) -> int:
        runs = len(self._starts(schedule, steps)) + 2 * self.iterations * (steps + 2)
        return 4 * _FLOW_STEPS * self.fit_images + steps * (runs * self.images + 2 * self.iterations * self.held_out)

    def fit(self, model: FitModel) -> dict[str, Tensor]:
        """t: the noisy times; start_t: those that it started from; errors: the median on images not seen, of both."""
        import torch  # only here: what only plans needs no torch

        gaps = _Gaps(model.schedule, self.clean, model.steps)
        starts = self._starts(model.schedule, model.steps)
        runs = _Runs(model, starts[0][0], starts[0][-1], self.images, self.held_out)
        scored = sorted(((_score(runs.residuals(levels, runs.seen)), n) for n, levels in enumerate(starts)))
        order = [starts[n] for _, n in scored]
        first = runs.median(order[0]), order[0]
        if not math.isfinite(first[0]):
            raise ValueError("nothing can be fitted: on the grid that it starts from the sampler gives NaN or Inf")
        best: tuple[float, Sequence[Level]] = first
        if gaps.free:
            # the best, and the best that leaves the last gap free: at the lowest level it is almost a bound
            others = [levels for levels in order if not gaps.is_shut(levels)]
            for start in [order[0], *others[:1]]:
                best = min(best, self._refined(runs, gaps, start), key=lambda each: each[0])
        noisy = [[level.t for level in levels if not level.is_clean] for levels in (best[1], first[1])]
        told = {"t": noisy[0], "start_t": noisy[1], "errors": [best[0], first[0]]}
        return {name: torch.tensor(each, dtype=torch.float64) for name, each in told.items()}

    def _refined(self, runs: _Runs, gaps: _Gaps, start: Sequence[Level]) -> tuple[float, Sequence[Level]]:
        """The least median error on images not seen on the way from a start, and its levels."""
        logs, damping, without = gaps.of(start), 1e-2, 0
        now, best = runs.residuals(gaps.levels(logs), runs.seen), (runs.median(start), start)
        for _ in range(self.iterations):
            step = runs.step(gaps, logs, now, damping)
            if step is None:
                break
            logs, now, damping = step
            levels = gaps.levels(logs)
            found = runs.median(levels), levels
            without = 0 if found[0] < best[0] else without + 1
            best = min(best, found, key=lambda each: each[0])
            if without == _PATIENCE:
                break
        return best

    def read(self, found: Mapping[str, Tensor], steps: int) -> list[float]:
        times: list[float] = found["t"].tolist()
        return times

    def check(self, schedule: Schedule, steps: int) -> None:
        if self.start is not None and isinstance(GRIDS.make(self.start), FittedGrid):
            raise UsageError(f"fit-grid starts from a grid that is known before, and start={self.start!r} is fitted")
        if self.start is not None and not self._starts(schedule, steps):
            raise UsageError(f"fit-grid keeps its ends, and start={self.start!r} does not begin at the noisiest level")

    def _starts(self, schedule: Schedule, steps: int) -> list[list[Level]]:
        """The grids that it may start from: those that have its ends."""
        named = [] if self.start is None else [replace(GRIDS.make(self.start), clean=self.clean)]
        grids = named or [GRIDS.get(name)(clean=self.clean) for name in _STARTS]
        found, own = list[list[Level]](), Power(clean=self.clean, exponent=1.0)(schedule, steps)
        for grid in grids:
            try:
                levels = grid(schedule, steps)
            except UsageError:
                continue
            ends = [own[0], *levels[1:-1], own[-1]]  # to the last bit
            if all(math.isclose(a.t, b.t, rel_tol=1e-6) for a, b in zip(levels, ends, strict=True)):
                found.append(ends)
        return found if named else [*found, own]


class _Gaps:
    """Levels by the logarithms of the gaps between them in lambda, as parts of the whole range: (steps,).

    With a clean level at the end the last gap is what is left from the lowest noisy level to that of the schedule.
    """

    def __init__(self, schedule: Schedule, clean: bool, steps: int) -> None:
        self._schedule, self._clean = schedule, clean
        self._high, self._low = (schedule.level(t).logsnr for t in (schedule.t_max, schedule.t_min))
        self.free = steps > 1

    def of(self, levels: Sequence[Level]) -> np.ndarray:
        found: np.ndarray = np.log(np.maximum(self._parts(levels), _LEAST))
        return found

    def is_shut(self, levels: Sequence[Level]) -> bool:
        """Whether the last gap is too short to be changed much."""
        return bool(self._parts(levels)[-1] < 2.0 * _LEAST)

    def _parts(self, levels: Sequence[Level]) -> np.ndarray:
        logsnrs = [level.logsnr for level in levels if not level.is_clean] + ([self._low] if self._clean else [])
        found: np.ndarray = np.diff(logsnrs) / (self._low - self._high)
        return found

    def levels(self, logs: np.ndarray) -> list[Level]:
        gaps = np.exp(logs - logs.max())
        parts = np.cumsum(gaps / gaps.sum())[:-1]
        logsnrs = (self._high + float(part) * (self._low - self._high) for part in parts)
        inner = [max(self._schedule.t_at(logsnr), self._schedule.t_min) for logsnr in logsnrs]
        ends = [0.0] if self._clean else [self._schedule.t_min]
        return [self._schedule.level(t) for t in (self._schedule.t_max, *inner, *ends)]


class _Runs:
    """Runs of a sampler on levels, compared with where the flow ends."""

    def __init__(self, model: FitModel, first: Level, last: Level, images: int, held_out: int) -> None:
        middle = _FIRST_IMAGE + images
        self._model, self._first = model, first
        self.seen, self._held_out = range(_FIRST_IMAGE, middle), range(middle, middle + held_out)

        def ends(numbers: Tensor) -> Tensor:
            x = model.start(numbers, first)
            return model.flow(model.denoiser(numbers), x, first, last, _FLOW_STEPS).to(x.dtype)

        self._ends = model.in_batches(range(_FIRST_IMAGE, middle + held_out), ends)

    def residuals(self, levels: Sequence[Level], images: range) -> Tensor:
        """Where the sampler ends without where the flow does, (images, D)."""

        def distances(numbers: Tensor) -> Tensor:
            x = self._model.start(numbers, self._first)
            found = self._model.solver(self._model.denoiser(numbers), x, levels)
            return (found - self._ends[numbers.cpu() - _FIRST_IMAGE].to(found)).flatten(1)

        return self._model.in_batches(images, distances)

    def median(self, levels: Sequence[Level]) -> float:
        """The median error on images not seen; infinite where one is no number."""
        errors = _errors(self.residuals(levels, self._held_out))
        return float(errors.median()) if bool(errors.isfinite().all()) else math.inf

    def step(
        self, gaps: _Gaps, logs: np.ndarray, now: Tensor, damping: float
    ) -> tuple[np.ndarray, Tensor, float] | None:
        """A step of Levenberg-Marquardt: the gaps and residuals after it, and the next damping; None: none is better.

        Args:
            gaps, logs: the gaps before it.
            now: residuals there.
            damping: that is tried first.
        """
        import torch

        weights, before = 1.0 / _errors(now)[:, None], _score(now)
        moved = (self.residuals(gaps.levels(logs + each), self.seen) for each in np.eye(len(logs)) * _DIFFERENCE)
        slopes = torch.stack([((each - now) * weights / _DIFFERENCE).flatten() for each in moved]).double()
        squares, slope = (slopes @ slopes.T).numpy(), (slopes @ (now * weights).flatten().double()).numpy()
        while damping <= _MOST_DAMPING:
            damped = squares + damping * np.diag(squares.diagonal() + 1e-9 * squares.trace() + 1e-300)
            change = np.clip(np.linalg.lstsq(damped, -slope, rcond=None)[0], -1.0, 1.0)
            if np.isfinite(change).all():
                found = self.residuals(gaps.levels(logs + change), self.seen)
                if _score(found) < before:
                    return logs + change, found, damping / 3.0
            damping *= 4.0
        return None


def _errors(residuals: Tensor) -> Tensor:
    """RMS an element of each image, (N,), above 0."""
    return residuals.square().mean(1).sqrt().clamp(min=1e-12)


def _score(residuals: Tensor) -> float:
    """The mean log error; infinite where one is no number."""
    score = float(_errors(residuals).log().mean())
    return score if math.isfinite(score) else math.inf
