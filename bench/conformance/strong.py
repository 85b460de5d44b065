"""The strong error of solvers of the reverse SDE: how far they end from a fine solution on the same Brownian path.

`python -m bench.conformance.strong [SPEC ...]` prints a table of those of the tree, or of the samplers given.
"""

import sys
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bench.conformance import laws
from bench.conformance.check import NotApplicable, call, denoiser, require
from bench.noise.path import BrownianPath
from models.denoiser import Denoiser
from models.grids import GRIDS
from models.schedule import ContinuousVP
from samplers import SAMPLERS, Sampler

_STEPS, _TABLE = (16, 32, 64), (16, 32, 64, 128)
_FINE = 8
"""Times the most steps, of the fine solution: its own error, of order 1, raises the last order by 0.1 at most."""
_SCHEDULE = ContinuousVP()
_STARTS, _SEED, _GRID = 16, 0, "logsnr[clean=false]"
TOLERANCE = 0.23
"""Of the last order: in these steps methods of order 1 show 0.83 and more, and those of order 1/2 0.46 to 0.71."""


class StrongConvergence(NamedTuple):
    """The RMS distance of the median image from the fine solution by numbers of steps, and how often noise was drawn
    beside the path.
    """

    found: laws.Convergence
    beside: int


class _WatchedPath(BrownianPath):
    """A path that remembers how often noise was asked for that has nothing to do with it."""

    beside = 0

    def __call__(self, like: Tensor) -> Tensor:
        self.beside += 1
        return super().__call__(like)


def strong_convergence(sampler: Sampler, steps: Sequence[int] = _STEPS, fine: int = _FINE) -> StrongConvergence:
    """Errors of a sampler on the smooth mixture in float64 as steps double, against itself with many more of them.

    Of the median image: those few that are between two modes are far off, and their number is a matter of chance.
    """
    model = denoiser(sampler, laws.smooth_mixture(), _SCHEDULE)
    ends = [solution(sampler, count, model) for count in (*steps, fine * steps[-1])]
    errors = [float((end - ends[-1][0]).square().mean((1, 2, 3)).sqrt().median()) for end, _ in ends[:-1]]
    return StrongConvergence(laws.Convergence(steps, errors), sum(beside for _, beside in ends))


def solution(sampler: Sampler, steps: int, model: Denoiser) -> tuple[Tensor, int]:
    """Where it ends from one initial state and on one path, on a grid even in log-SNR that ends at a noisy level, and
    how often it drew noise that is not of the path.
    """
    levels, path = GRIDS.make(_GRID)(_SCHEDULE, steps), _WatchedPath(_SEED, torch.arange(_STARTS))
    found, _ = call(sampler, model, laws.smooth_start(_STARTS), levels, path)
    return found, path.beside


def converges_strongly(sampler: Sampler) -> str:
    """To its own fine solution on the same path, whose law is checked elsewhere."""
    if sampler.strong_order is None:
        raise NotApplicable("it declares no strong order, as it does not solve the reverse SDE along a path")
    (found, beside) = strong_convergence(sampler)
    require(beside == 0, f"it declares a strong order, but draws noise {beside} times that is not of the path")
    told = f"halving the step gives {', '.join(f'{order:.2f}' for order in found.orders)}"
    least = sampler.strong_order - TOLERANCE
    require(found.orders[-1] >= least, f"declares a strong order of {sampler.strong_order:g}, but {told}")
    return f"strong order {sampler.strong_order:g}: {told}, on one Brownian path"


def main(specs: Sequence[str]) -> None:
    """Print a line for each sampler."""
    print("| Sampler | " + " | ".join(f"{count} steps" for count in _TABLE) + " | Last order |")
    print("|:--|" + "--:|" * (len(_TABLE) + 1))
    for spec in specs or [name for name in SAMPLERS.names() if SAMPLERS.make(name).strong_order is not None]:
        found, _ = strong_convergence(SAMPLERS.make(spec), _TABLE, 2 * _FINE)
        errors = " | ".join(f"{error:.2g}" for error in found.errors)
        print(f"| `{spec}` | {errors} | {found.orders[-1]:.2f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
