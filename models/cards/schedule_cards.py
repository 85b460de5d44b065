"""The `[schedule]` of a card: the noise schedule that a network was trained on. Each kind has parameters of its own."""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.schedule import VE, ContinuousVP, DiscreteVP, Flow, GeometricVE, Schedule

_Beta = Annotated[float, Field(gt=0, lt=1)]
_Steps = Annotated[int, Field(ge=1, le=1_000_000)]


class Strict(BaseModel):
    """What is written down by hand: nothing is converted, and nothing unknown is passed over."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class _Kind(Strict):
    """A kind of schedule: what `_made_by` makes of its parameters, which have the names that these have there."""

    _made_by: ClassVar[Callable[..., Schedule]]

    def build(self) -> Schedule:
        return self._made_by(**{name: getattr(self, name) for name in type(self).model_fields if name != "kind"})


class _Ascending(_Kind):
    """One of whose parameters the first, of the names `_ends`, has to be below the second."""

    _ends: ClassVar[tuple[str, str]]

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        (low, at_low), (high, at_high) = ((name, getattr(self, name)) for name in self._ends)
        if at_low >= at_high:
            raise ValueError(f"expected {low} < {high}, got {at_low} and {at_high}")
        return self


class LinearBetas(_Kind):
    """DDPM's: beta linear in the index of T = train_steps discrete levels."""

    kind: Literal["linear"]
    train_steps: _Steps
    beta_start: _Beta = 1e-4
    beta_end: _Beta = 0.02
    _made_by = DiscreteVP.linear


class ScaledLinearBetas(_Kind):
    """Latent diffusion's: sqrt(beta) linear in the index."""

    kind: Literal["scaled_linear"]
    train_steps: _Steps
    beta_start: _Beta = 1e-4
    beta_end: _Beta = 0.02
    _made_by = DiscreteVP.scaled_linear


class CosineBetas(_Kind):
    """Improved DDPM's, which diffusers calls squaredcos_cap_v2."""

    kind: Literal["cosine"]
    train_steps: _Steps
    _made_by = DiscreteVP.cosine


class ExplicitBetas(_Kind):
    """Any discrete schedule: beta of index 0 ... T - 1."""

    kind: Literal["betas"]
    betas: tuple[_Beta, ...] = Field(min_length=1, strict=False)
    _made_by = DiscreteVP


class ContinuousBetas(_Ascending):
    """Score SDE's VP in continuous time."""

    kind: Literal["vp"]
    beta_min: float = Field(default=0.1, gt=0)
    beta_max: float = Field(default=20.0, gt=0)
    t_min: float = Field(default=1e-3, gt=0, lt=1)
    _made_by, _ends = ContinuousVP, ("beta_min", "beta_max")


class Exploding(_Ascending):
    """EDM's VE: alpha = 1 and sigma linear in time, sigma_max t. Score SDE's is `ve-geometric`."""

    kind: Literal["ve"]
    sigma_min: float = Field(default=0.002, gt=0)
    sigma_max: float = Field(default=80.0, gt=0)
    _made_by, _ends = VE, ("sigma_min", "sigma_max")


class GeometricExploding(_Ascending):
    """Score SDE's VE: alpha = 1 and sigma geometric in time, sigma_min (sigma_max / sigma_min)^t."""

    kind: Literal["ve-geometric"]
    sigma_min: float = Field(default=0.01, gt=0)
    sigma_max: float = Field(default=50.0, gt=0)
    t_min: float = Field(default=1e-5, gt=0, lt=1)
    _made_by, _ends = GeometricVE, ("sigma_min", "sigma_max")


class StraightPath(_Ascending):
    """Rectified flow's: alpha = 1 - t, sigma = t; grids run from t_max to t_min unless they are told otherwise."""

    kind: Literal["flow"]
    t_min: float = Field(default=1e-3, gt=0, lt=1)
    t_max: float = Field(default=0.99, gt=0, le=1)
    _made_by, _ends = Flow, ("t_min", "t_max")


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

KINDS: dict[object, type[Strict]] = {
    get_args(each.model_fields["kind"].annotation)[0]: each for each in get_args(get_args(ScheduleCard)[0])
}
"""What has the keys of a schedule, by its kind."""

DISCRETE = ("linear", "scaled_linear", "cosine", "betas")
"""Kinds of schedules that have indices, which a network can be trained on."""
