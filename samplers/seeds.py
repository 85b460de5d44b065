"""SEEDS-2 and SEEDS-3. Gonzalez et al.: SEEDS: Exponential SDE Solvers for Fast High-Quality Sampling from Diffusion
Models (arXiv 2305.14267).

Singlestep exponential integrators of the reverse SDE in log-SNR: the linear part is exact, the prediction is the
constant or the line through values at the start and at stages on the way, and the noise of all stages and of the end is
that of one Brownian path, exact in the joint law. With tau^2 = eta, h = lambda_s - lambda_t and W the path,

    data:  x_u = (sigma_u / sigma_t) e^(-eta h_u) x_t + alpha_u I[x_0] + sigma_u e^(-eta lambda_u) (W_u - W_t),
    noise: x_u = (alpha_u / alpha_t) x_t + sigma_u (1 + eta) I[eps] + alpha_u sqrt(eta) (W_u - W_t),

for a stage or the end u at h_u, where I is the integral against (1 + eta) e^(-(1 + eta) (lambda_u - lambda)) and
-e^(lambda_u - lambda), and W runs in the clocks e^(2 eta lambda) and e^(-2 lambda).

- SEEDS-2: a stage at r h; at the end the prediction is (1 - 1 / 2r) of the start's and 1 / 2r of the stage's ("phi_1",
  with r = 1/2 the paper's), or the line through both is integrated ("phi_2").
- SEEDS-3: stages at r_1 h and r_2 h; the second has the line through start and first, the end that through start and
  second.

The paper's algorithms are for the noise prediction of VP models; the data prediction is what ComfyUI (`seeds_2`,
`seeds_3`) has, and what loses least in few steps. The step to the clean level is x_0 itself, without noise.

The authors' code (nfsrules/SEEDS, `etd_serk.py`) has both, a line of the data prediction marked "TO BE CORRECTED". Its
noise is that of a path only with even stages (c2 = 1/2, for SEEDS-3 1/3); and in SEEDS-3 for the noise prediction the
second stage's has the scale of the end, and the end's first two draws are swapped.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Literal, final

from annotated_types import Ge, Gt, Le, Lt

from models.common.errors import UsageError
from models.denoiser import Denoiser, Prediction
from models.schedule import Level, Schedule
from samplers.base import Noise, StepSampler
from samplers.brownian import increments
from samplers.coefficients import exponential_weights, reverse_sde, weighted_sum
from samplers.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class _SEEDS(StepSampler):
    """What both share.

    Attributes:
        eta: scale of the noise's variance: 0 gives the probability flow, 1 the usual reverse SDE.
        s_noise: factor of the noise.
        prediction: which of the network's predictions is integrated, of the "data" or of the "noise".
    """

    eta: Annotated[float, Ge(0)] = 1.0
    s_noise: Annotated[float, Gt(0)] = 1.0
    prediction: Literal["data", "noise"] = "data"

    paper = "arXiv:2305.14267"
    family = "SDE"

    @property
    @abstractmethod
    def stages(self) -> Sequence[float]:
        """Where in h the stages are."""

    @abstractmethod
    def weights(self, rate: float, nodes: Sequence[Level], to: int) -> Sequence[float]:
        """Of the start's prediction and of the one before the node of that number, in the integral up to there."""

    @property
    def stochastic(self) -> bool:
        return self.eta > 0.0

    @property
    def strong_order(self) -> float | None:  # type: ignore[override]
        return 1.0 if self.stochastic else None

    @final
    def nfe(self, levels: Sequence[Level]) -> int:
        each = 1 + len(self.stages)
        return each * (len(levels) - 1) - (each - 1) * int(levels[-1].is_clean)

    @final
    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        first = model(x, t)
        if s.is_clean:
            return first.x0
        nodes = [t, *(_on_the_way(model.schedule, t, s, each) for each in self.stages), s]
        rate, clock = (1.0 + self.eta, self.eta) if self.prediction == "data" else (-1.0, -1.0)
        draws = increments(noise, x, clock, t, *nodes[1:]) if self.stochastic else []
        y, start = x, self._value(first)
        values = [start]
        for to, u in enumerate(nodes[1:], start=1):
            left, gain, std = self._linear(t, u)
            weights = self.weights(rate, nodes, to)
            terms = [(left, x), *((gain * w, value) for w, value in zip(weights, values, strict=True) if w != 0.0)]
            if std > 0.0:
                terms.append((self.s_noise * std, draws[to - 1]))
            y = weighted_sum(*terms)
            if to <= len(self.stages):
                values = [start, self._value(model(y, u))]
        return y

    def _value(self, prediction: Prediction) -> Tensor:
        return prediction.x0 if self.prediction == "data" else prediction.eps

    def _linear(self, t: Level, u: Level) -> tuple[float, float, float]:
        """The factors of x, of the integral and of the noise in the solution at u."""
        if self.prediction == "data":
            left, std = reverse_sde(self.eta, t, u)
            return left, u.alpha, std
        spread = math.sqrt(math.expm1(2.0 * (u.logsnr - t.logsnr)))
        return u.alpha / t.alpha, u.sigma * (1.0 + self.eta), u.sigma * math.sqrt(self.eta) * spread


@register("seeds-2")
@dataclass(frozen=True)
class SEEDS2(_SEEDS):
    """SEEDS-2: two evaluations and two draws a step.

    Attributes:
        r: where the stage is, of the step's length in log-SNR; with 1, at its end, and "phi_2" it is Heun's method.
        solver: how the end uses the stage's value, "phi_1" as in the paper or "phi_2".
    """

    r: Annotated[float, Gt(0), Le(1)] = 0.5
    solver: Literal["phi_1", "phi_2"] = "phi_1"

    @property
    def order(self) -> int | None:
        return None if self.stochastic else 2

    @property
    def stages(self) -> Sequence[float]:
        return (self.r,)

    def weights(self, rate: float, nodes: Sequence[Level], to: int) -> Sequence[float]:
        t, middle, _ = nodes
        if to == 1:
            return exponential_weights(rate, t, middle, t)
        if self.solver == "phi_2":
            return exponential_weights(rate, t, nodes[-1], t, middle)
        (whole,), share = exponential_weights(rate, t, nodes[-1], t), 0.5 / self.r
        return whole * (1.0 - share), whole * share


@register("seeds-3")
@dataclass(frozen=True)
class SEEDS3(_SEEDS):
    """SEEDS-3: three evaluations and three draws a step.

    Attributes:
        r_1, r_2: where the stages are, of the step's length in log-SNR; r_1 < r_2.
    """

    r_1: Annotated[float, Gt(0), Lt(1)] = 1.0 / 3.0
    r_2: Annotated[float, Gt(0), Lt(1)] = 2.0 / 3.0

    def __post_init__(self) -> None:
        if not self.r_1 < self.r_2:
            raise UsageError(f"expected r_1 < r_2, got r_1={self.r_1!r} and r_2={self.r_2!r}")

    @property
    def order(self) -> int | None:
        if self.stochastic:
            return None
        return 3 if math.isclose(self.r_2, 2.0 / 3.0) else 2

    @property
    def stages(self) -> Sequence[float]:
        return self.r_1, self.r_2

    def weights(self, rate: float, nodes: Sequence[Level], to: int) -> Sequence[float]:
        known = nodes[:1] if to == 1 else (nodes[0], nodes[to - 1])
        return exponential_weights(rate, nodes[0], nodes[to], *known)


@lru_cache(16_384)
def _on_the_way(schedule: Schedule, t: Level, s: Level, share: float) -> Level:
    """The level that lies a share of the way from t to s in log-SNR; of all of it, s without round-off."""
    return s if share == 1.0 else schedule.at_logsnr(t.logsnr + share * (s.logsnr - t.logsnr))
