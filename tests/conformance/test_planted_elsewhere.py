"""The conformance suite catches mistakes that show only in large batches, on other schedules, or by what is kept."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from bench.conformance.suite import CHECKS, run_check
from models.common.errors import UsageError
from models.denoiser import Denoiser
from models.schedule import Level
from samplers import Noise, Sampler
from samplers.ddim import DDIM

_BY_LENGTH: dict[int, list[float]] = {}


@dataclass(frozen=True)
class KeepsByLength(DDIM):
    """Keeps its coefficients by the number of levels, whichever these are."""

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:  # type: ignore[misc]
        sigmas = _BY_LENGTH.setdefault(len(levels), [level.sigma for level in levels])
        return super().sample(model, x, [at._replace(sigma=s) for at, s in zip(levels, sigmas, strict=True)], noise)


@dataclass(frozen=True)
class KeepsInADefault(DDIM):
    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise, seen: list[float] = []) -> Tensor:  # noqa: B006
        seen.append(t.t)
        return super().step(model, x, t, s, noise)


@dataclass(frozen=True)
class LeavesTheRest(DDIM):
    """Goes through its batch by 64, and forgets what is left."""

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        moved, whole = super().step(model, x, t, s, noise), len(x) // 64 * 64
        return torch.cat([moved[:whole], x[whole:]]) if whole else moved


@dataclass(frozen=True)
class KnowsOneSchedule(DDIM):
    """Takes every model for a variance-preserving one."""

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        prediction = model(x, t)
        return prediction.combine(x0=s.alpha, eps=math.sqrt(1.0 - s.alpha**2))


@pytest.mark.parametrize(
    ("mutant", "caught_by", "said"),
    [
        (KeepsByLength(), "gives the same images whatever ran before", "_BY_LENGTH"),
        (KeepsInADefault(), "gives the same images whatever ran before", "KeepsInADefault"),
        (LeavesTheRest(), "makes an image independent of its batch", "differ from those of batch 130"),
        (KnowsOneSchedule(), "converges with its declared order", "on a flow, guided at a scale of 3"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Sampler) else "",
)
def test_a_mistake_that_shows_elsewhere_is_caught(mutant: Sampler, caught_by: str, said: str) -> None:
    (check,) = (check for check in CHECKS if check.name.startswith(caught_by))
    result = run_check(check, mutant)
    assert (result.outcome, said in result.detail) == ("failed", True), result.detail


@dataclass(frozen=True)
class TakesBetas(DDIM):
    takes_betas = True


@dataclass(frozen=True)
class RefusesFlows(DDIM):
    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        if abs(s.alpha**2 + s.sigma**2 - 1.0) > 1e-6:
            raise UsageError("only for variance-preserving schedules")
        return super().step(model, x, t, s, noise)


@pytest.mark.parametrize(
    ("sampler", "said"), [(DDIM(), True), (TakesBetas(), False), (RefusesFlows(), "it refuses a flow (only for var")]
)
def test_a_solver_that_runs_on_no_flow_converges_where_it_runs(sampler: Sampler, said: bool | str) -> None:
    (check,) = (check for check in CHECKS if check.name == "converges with its declared order")
    result = run_check(check, sampler)
    assert result.outcome == "passed"
    assert said in result.detail if isinstance(said, str) else ("on a flow" in result.detail) == said
