"""The conformance suite catches planted mistakes."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.conformance import law_checks
from bench.conformance.suite import CHECKS, run_check
from models.denoiser import Denoiser
from models.schedule import Level, transition
from samplers import SAMPLERS, Noise, Sampler, StepSampler
from samplers.brownian import increment
from samplers.ddim import DDIM
from samplers.ddpm import DDPM
from samplers.dpmpp_2m import DPMpp2M
from samplers.euler_maruyama import EulerMaruyama
from samplers.heun import Heun
from samplers.langevin import Langevin


@dataclass(frozen=True)
class _Mutant(DDIM):
    """A DDIM to be broken; `order` and `stochastic` as of eta = 0."""


@dataclass(frozen=True)
class ChangesInput(_Mutant):
    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        prediction = model(x, t)
        return x.copy_(s.alpha * prediction.x0 + s.sigma * prediction.eps)


@dataclass(frozen=True)
class UsesGlobalNoise(DDPM):
    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        noise(x)
        return super().step(model, x, t, s, lambda like: torch.randn_like(like))


@dataclass(frozen=True)
class UsesPythonRandom(_Mutant):
    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        random.random()
        return super().step(model, x, t, s, noise)


@dataclass(frozen=True)
class UsesNumpyRandom(_Mutant):
    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        np.random.rand()
        return super().step(model, x, t, s, noise)


@dataclass(frozen=True)
class HidesAnEvaluation(_Mutant):
    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        model(x, t)
        return super().step(model, x, t, s, noise)


@dataclass(frozen=True)
class DoublesItsBatch(_Mutant):
    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        return super().step(model, torch.cat([x, x]), t, s, noise)[: len(x)]


@dataclass(frozen=True)
class NoiseOnTheLastStep(DDPM):
    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        x_s = super().step(model, x, t, s, noise)
        return x_s + t.sigma * noise(x) if s.is_clean else x_s


@dataclass(frozen=True)
class HalfTheNoise(DDPM):
    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        return super().step(model, x, t, s, lambda like: 0.7 * noise(like))


@dataclass(frozen=True)
class LevelTooHigh(_Mutant):
    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        prediction = model(x, t)
        s = t if not s.is_clean else s
        return s.alpha * prediction.x0 + s.sigma * prediction.eps


@dataclass(frozen=True)
class BatchMeanStep(StepSampler):
    paper = "arXiv:2011.13456"
    order = None
    stochastic = True

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        prediction, z = model(x, t), noise(x)
        h = 2.0 * (0.16 * z.flatten(1).norm(dim=1).mean() / prediction.score.flatten(1).norm(dim=1).mean()) ** 2
        moved: Tensor = x + h * prediction.score + torch.sqrt(2.0 * h) * z
        return prediction.x0 if s.is_clean else moved


@dataclass(frozen=True)
class NoSquareRootOfTwo(Langevin):
    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        return super().sample(model, x, levels, lambda like: noise(like) / math.sqrt(2.0))


@dataclass(frozen=True)
class ForgetsTheSquare(EulerMaruyama):
    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        return super().step(model, x, t._replace(diffusion2=0.5 * t.diffusion2), s, noise)


@dataclass(frozen=True)
class EulerCalledHeun(Heun):
    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        euler = DDIM().step(model, x, t, s, noise)
        if not s.is_clean:
            model(euler, s)
        return euler


@dataclass(frozen=True)
class WrongCoefficient(_Mutant):
    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        ratio, _ = transition(s, t)
        prediction = model(x, t)
        slightly_off: float = s.sigma * ratio**0.1
        return s.alpha * prediction.x0 + slightly_off * prediction.eps


@dataclass(frozen=True)
class AsksAtTheNextLevel(_Mutant):
    """Off by one: the network is asked about the level that the step goes to."""

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        prediction = model(x, t if s.is_clean else s)
        return s.alpha * prediction.x0 + s.sigma * prediction.eps


@dataclass(frozen=True)
class ForgetsTheRoot(DDPM):
    """The variance where the standard deviation belongs."""

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        variance = transition(s, t)[1] * s.sigma**2 / t.sigma**2
        return super().step(model, x, t, s, lambda like: math.sqrt(variance) * noise(like))


@dataclass(frozen=True)
class RoundsCoefficients(_Mutant):
    """1 - alpha^2 in float32, as a table of alphas_cumprod has it."""

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        prediction = model(x, t)
        alpha = np.float32(s.alpha)
        return float(alpha) * prediction.x0 + float(np.sqrt(np.float32(1.0) - alpha**2)) * prediction.eps


@dataclass(frozen=True)
class SkipsTheLastStep(_Mutant):
    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        moved = super().step(model, x, t, s, noise)
        return x.clone() if s.is_clean else moved


@dataclass(frozen=True)
class WrongHistory(DPMpp2M):
    """DPM-Solver++(2M) with a little too little of the step before."""

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        past: list[tuple[Level, Tensor]] = []
        for t, s in pairwise(levels):
            past = [(t, model(x, t).x0), *past[:1]]
            d = past[0][1]
            if len(past) == 2 and not s.is_clean:
                d = d + 0.4 * (d - past[1][1])
            x = (s.sigma / t.sigma) * x - s.alpha * math.expm1(t.logsnr - s.logsnr) * d
        return x


@dataclass(frozen=True)
class CachesOutputs(_Mutant):
    """Keeps what the network said at a level, for the next batch."""

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        if t not in _OUTPUTS or _OUTPUTS[t].shape != x.shape:
            _OUTPUTS[t] = model(x, t).x0
        return s.alpha * _OUTPUTS[t] + s.sigma * (x - t.alpha * _OUTPUTS[t]) / t.sigma


_OUTPUTS: dict[Level, Tensor] = {}


@dataclass(frozen=True)
class KeepsState(Sampler):
    """Gives the images of the call before."""

    paper = "none"
    order = 1
    stochastic = False

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        result = DDIM().sample(model, x, levels, noise)
        previous = _KEPT[-1:] or [result + 1.0]
        _KEPT.append(result)
        return previous[0] if previous[0].shape == result.shape else result


_KEPT: list[Tensor] = []


@dataclass(frozen=True)
class ReturnsNaN(_Mutant):
    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        return super().step(model, x, t, s, noise) / 0.0


@dataclass(frozen=True)
class ReturnsFloat32(_Mutant):
    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        x_s = super().step(model, x, t, s, noise)
        return x_s.float() if s.is_clean else x_s


@dataclass(frozen=True)
class DrawsBesideThePath(DDPM):
    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        return super().step(model, x, t, s, lambda like: noise(like))


@dataclass(frozen=True)
class HalvesThePath(DDPM):
    """Normal noise of the path, but that of the first half of a step."""

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        middle = model.schedule.level(0.5 * (t.t + s.t))
        return super().step(model, x, t, s, lambda like: increment(noise, like, t, middle))


@dataclass(frozen=True)
class PromisesTooMuch(DDPM):
    strong_order = 2.0


@dataclass
class IsNotFrozen(StepSampler):
    paper = "none"
    order = 1
    stochastic = False

    def nfe(self, levels: Sequence[Level]) -> int:
        return len(levels) - 1

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        return DDIM().step(model, x, t, s, noise)


@pytest.fixture
def not_frozen(registered: None) -> None:
    SAMPLERS.register("not-frozen")(IsNotFrozen)


_SHAPE = "keeps shape, dtype and device, and stays finite"
_STATE = "leaves global random states untouched"
_REPEAT = "gives the same images for the same seed"
_COUNT = "evaluates the network as often as it declares"
_LAW = "reaches the law of the data"
_ORDER = "converges with its declared order"
_STRONG = "converges along a Brownian path with its declared strong order"


@pytest.mark.usefixtures("not_frozen")
@pytest.mark.parametrize(
    ("mutant", "caught_by", "said"),
    [
        (ChangesInput(), "leaves its input untouched", "the initial state changed by"),
        (UsesGlobalNoise(), _STATE, "global generator of torch"),
        (UsesPythonRandom(), _STATE, "global generator of random"),
        (UsesNumpyRandom(), _STATE, "global generator of numpy"),
        (UsesGlobalNoise(), _REPEAT, "the same call twice differs"),
        (KeepsState(), _REPEAT, "the same call twice differs"),
        (HidesAnEvaluation(), _COUNT, "declares 1 evaluation, makes 2"),
        (DoublesItsBatch(), _COUNT, "declares 1 evaluation, makes 2"),
        (NoiseOnTheLastStep(), "adds no noise on the last step", "away from data that are a single point"),
        (HalfTheNoise(), _LAW, "1000 steps: mean off by"),
        (LevelTooHigh(), _LAW, "1000 steps: mean off by"),
        (NoSquareRootOfTwo(), _LAW, "1000 steps: mean off by"),
        (ForgetsTheSquare(), _LAW, "1000 steps: mean off by"),
        (BatchMeanStep(), "makes an image independent of its batch", "differ from those of batch 130"),
        (EulerCalledHeun(), _ORDER, "declares order 2, but halving the step gives"),
        (WrongCoefficient(), _ORDER, "declares order 1, but halving the step gives"),
        (ReturnsNaN(), _SHAPE, "values are NaN or Inf"),
        (ReturnsFloat32(), _SHAPE, "torch.float64"),
        (AsksAtTheNextLevel(), _ORDER, "declares order 1, but halving the step gives"),
        (ForgetsTheRoot(), _LAW, "1000 steps: mean off by"),
        (RoundsCoefficients(), "keeps its precision near the data", "times the standard deviation it should have"),
        (SkipsTheLastStep(), "adds no noise on the last step", "away from data that are a single point"),
        (WrongHistory(), _ORDER, "declares order 2, but halving the step gives"),
        (CachesOutputs(), _COUNT, "declares 2 evaluations, makes 1"),
        (DrawsBesideThePath(), _STRONG, "that is not of the path"),
        (HalvesThePath(), _STRONG, "declares a strong order of 1, but halving the step gives"),
        (PromisesTooMuch(), _STRONG, "declares a strong order of 2, but halving the step gives"),
        (IsNotFrozen(), "has parameters that survive JSON", "is not frozen"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Sampler) else "",
)
def test_a_planted_mistake_is_caught(
    mutant: Sampler, caught_by: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(law_checks, "LAW_STEPS", law_checks.LAW_STEPS[-1:])  # those that decide
    (check,) = (check for check in CHECKS if check.name == caught_by)
    result = run_check(check, mutant)
    assert result.outcome == "failed"
    assert said in result.detail
