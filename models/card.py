"""The card of a model folder: what a model is, where it comes from, and which files belong to it."""

from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from models.denoiser import ClipRange, Parametrisation
from models.schedule import DiscreteVP


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class ScheduleCard(_Strict):
    """The discrete noise schedule that the network was trained on."""

    kind: Literal["linear", "scaled_linear", "cosine"]
    train_steps: int = Field(ge=1)
    beta_start: float = Field(default=1e-4, gt=0, lt=1)
    beta_end: float = Field(default=0.02, gt=0, lt=1)

    def build(self) -> DiscreteVP:
        makers: dict[str, Callable[[], DiscreteVP]] = {
            "linear": lambda: DiscreteVP.linear(self.train_steps, self.beta_start, self.beta_end),
            "scaled_linear": lambda: DiscreteVP.scaled_linear(self.train_steps, self.beta_start, self.beta_end),
            "cosine": lambda: DiscreteVP.cosine(self.train_steps),
        }
        return makers[self.kind]()


class ExtractorCard(_Strict):
    """The compact feature extractor that quality is measured with."""

    name: str
    description: str
    test_accuracy: float = Field(ge=0, le=1)


class Card(_Strict):
    """What a model is, where it comes from, and the sha256 of every file that belongs to it.

    Attributes:
        shape: (C, H, W) of an image.
        network: a "unet" predicts what `parametrisation` names at any level of the schedule; a "decoder" makes samples
            from noise, whatever the level, and only takes grids from the schedule.
        noise_shape: (C, H, W) of a decoder's noise; None: the image's.
    """

    schema_version: Literal[1]
    name: str
    description: str
    data: str
    data_licence: str
    training_command: str
    training: dict[str, int | float | str] = {}
    quality: dict[str, int | float | str] = {}
    shape: tuple[int, int, int] = Field(strict=False)
    network: Literal["unet", "decoder"] = "unet"
    noise_shape: tuple[int, int, int] | None = Field(default=None, strict=False)
    parametrisation: Parametrisation
    clip: ClipRange | None = Field(default=None, strict=False)
    schedule: ScheduleCard
    extractor: ExtractorCard | None = None
    files: dict[str, str]

    @field_validator("clip")
    @classmethod
    def _ascends(cls, clip: ClipRange | None) -> ClipRange | None:
        if clip is not None and clip[0] >= clip[1]:
            raise ValueError("expected [low, high] with low < high")
        return clip

    @model_validator(mode="after")
    def _fits_its_network(self) -> "Card":
        if self.network == "unet" and self.noise_shape not in (None, self.shape):
            raise ValueError(f"a unet's noise is shaped like its images, {self.shape}, not {self.noise_shape}")
        if self.network == "decoder" and self.parametrisation != "sample":
            raise ValueError(f"a decoder's parametrisation is 'sample', not {self.parametrisation!r}")
        return self

    @property
    def is_generator(self) -> bool:
        """Whether the model's x_0 is itself a sample, not the mean of all that an image may be."""
        return self.network == "decoder"

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what sampling starts from."""
        return self.shape if self.noise_shape is None else self.noise_shape
