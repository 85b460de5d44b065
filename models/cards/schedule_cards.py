"""The `[schedule]` of a card: the noise schedule that a network was trained on. Each kind has parameters of its own."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.schedule import VE, ContinuousVP, DiscreteVP, Flow, GeometricVE, Schedule

_Beta = Annotated[float, Field(gt=0, lt=1)]
_Steps = Annotated[int, Field(ge=1, le=1_000_000)]


class Strict(BaseModel):
    """What is written down by hand: nothing is converted, and nothing unknown is passed over."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class LinearBetas(Strict):
    """DDPM's: beta linear in the index of T = train_steps discrete levels."""

    kind: Literal["linear"]
    train_steps: _Steps
    beta_start: _Beta = 1e-4
    beta_end: _Beta = 0.02

    def build(self) -> DiscreteVP:
        return DiscreteVP.linear(self.train_steps, self.beta_start, self.beta_end)


class ScaledLinearBetas(Strict):
    """Latent diffusion's: sqrt(beta) linear in the index."""

    kind: Literal["scaled_linear"]
    train_steps: _Steps
    beta_start: _Beta = 1e-4
    beta_end: _Beta = 0.02

    def build(self) -> DiscreteVP:
        return DiscreteVP.scaled_linear(self.train_steps, self.beta_start, self.beta_end)


class CosineBetas(Strict):
    """Improved DDPM's, which diffusers calls squaredcos_cap_v2."""

    kind: Literal["cosine"]
    train_steps: _Steps

    def build(self) -> DiscreteVP:
        return DiscreteVP.cosine(self.train_steps)


class ExplicitBetas(Strict):
    """Any discrete schedule: beta of index 0 ... T - 1."""

    kind: Literal["betas"]
    betas: tuple[_Beta, ...] = Field(min_length=1, strict=False)

    def build(self) -> DiscreteVP:
        return DiscreteVP(self.betas)


class ContinuousBetas(Strict):
    """Score SDE's VP in continuous time."""

    kind: Literal["vp"]
    beta_min: float = Field(default=0.1, gt=0)
    beta_max: float = Field(default=20.0, gt=0)
    t_min: float = Field(default=1e-3, gt=0, lt=1)

    def build(self) -> Schedule:
        return ContinuousVP(self.beta_min, self.beta_max, self.t_min)

    @model_validator(mode="after")
    def _ascends(self) -> "ContinuousBetas":
        if self.beta_min >= self.beta_max:
            raise ValueError(f"expected beta_min < beta_max, got {self.beta_min} and {self.beta_max}")
        return self


class _Exploding(Strict):
    """What the two VE schedules share: alpha = 1, and noise levels from sigma_min to sigma_max."""

    sigma_min: float = Field(default=0.002, gt=0)
    sigma_max: float = Field(default=80.0, gt=0)

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"expected sigma_min < sigma_max, got {self.sigma_min} and {self.sigma_max}")
        return self


class Exploding(_Exploding):
    """EDM's VE: sigma is linear in time, sigma_max t. Score SDE's is `ve-geometric`."""

    kind: Literal["ve"]

    def build(self) -> Schedule:
        return VE(self.sigma_min, self.sigma_max)


class GeometricExploding(_Exploding):
    """Score SDE's VE: sigma is geometric in time, sigma_min (sigma_max / sigma_min)^t."""

    kind: Literal["ve-geometric"]
    sigma_min: float = Field(default=0.01, gt=0)
    sigma_max: float = Field(default=50.0, gt=0)
    t_min: float = Field(default=1e-5, gt=0, lt=1)

    def build(self) -> Schedule:
        return GeometricVE(self.sigma_min, self.sigma_max, self.t_min)


class StraightPath(Strict):
    """Rectified flow's: alpha = 1 - t, sigma = t; grids run from t_max to t_min unless they are told otherwise."""

    kind: Literal["flow"]
    t_min: float = Field(default=1e-3, gt=0, lt=1)
    t_max: float = Field(default=0.99, gt=0, le=1)

    def build(self) -> Schedule:
        return Flow(self.t_min, self.t_max)

    @model_validator(mode="after")
    def _ascends(self) -> "StraightPath":
        if self.t_min >= self.t_max:
            raise ValueError(f"expected t_min < t_max, got {self.t_min} and {self.t_max}")
        return self


ScheduleCard = Annotated[
    LinearBetas
    | ScaledLinearBetas
    | CosineBetas
    | ExplicitBetas
    | ContinuousBetas
    | Exploding
    | GeometricExploding
    | StraightPath,
    Field(discriminator="kind"),
]

DISCRETE = ("linear", "scaled_linear", "cosine", "betas")
"""Kinds of schedules that have indices, which a network can be trained on."""
