"""The cards of models: what they are, where they come from, and how they are sampled."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from models.cards.decoder_card import DecoderCard
from models.cards.folder_card import ExtractorCard, FolderCard
from models.cards.prompts_card import PromptsChoice
from models.cards.schedule_cards import DISCRETE, KINDS, ScheduleCard, Strict
from models.common.explain import Place, faults
from models.denoiser import ClipRange, Parametrisation
from models.plugins.registry import in_our_words

NetworkKind = Literal[
    "unet", "edm", "consistency", "flow", "vp-continuous", "sigma", "decoder", "finite-data", "mixture"
]
EXACT: tuple[NetworkKind, ...] = ("finite-data", "mixture")
"""Kinds that are a law of data in closed form, not a trained network."""
DIFFUSERS = "UNet2DModel"
DIT = "DiTTransformer2DModel"
BUILT_BY_DIFFUSERS = (DIFFUSERS, DIT)
"""Architectures of networks that diffusers builds."""
OF_PROMPTS = ("UNet2DConditionModel", "SD3Transformer2DModel", "FluxTransformer2DModel")
"""The same of those that are given the embeddings of a prompt, of pipelines alone (`models.text`)."""

_MEANS_X0: tuple[NetworkKind, ...] = ("edm", "consistency", "decoder", *EXACT)
_DECODES_NOTHING: tuple[NetworkKind, ...] = ("decoder", *EXACT)
_UNLABELLED: tuple[NetworkKind, ...] = ("decoder", "finite-data")
_SCHEDULES: dict[NetworkKind, tuple[str, ...]] = {
    "unet": DISCRETE,
    "flow": ("flow",),
    "vp-continuous": ("vp",),
    "consistency": ("ve",),
}
_PARAMETERS: dict[str, tuple[NetworkKind, ...]] = {
    "sigma_data": ("edm", "consistency"),
    "time_scale": ("flow", "vp-continuous"),
    "raw_prediction": ("edm",),
    "round_time": ("unet",),
}
Variance = Literal["fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned", "learned_range"]
"""The variance of a reverse step, in diffusers' words."""

_LATENTS = (-100.0, 100.0)
Side = Annotated[int, Field(ge=1, le=65_536)]
Classes = Annotated[int, Field(ge=1, lt=2**31)]
Pair = Annotated[tuple[float, float], Field(strict=False)]
Scale = Annotated[float, Field(ge=0, le=1000)]


def _null_label(value: object) -> object:
    if value in ("zeros", "none") or (type(value) is int and 0 <= value < 2**31):
        return value
    raise ValueError("expected a label, such as the number of classes, 'zeros' or 'none'")


NullLabel = Annotated[int | str, BeforeValidator(_null_label)]
"""What stands for no class; see `Card`."""


class Card(FolderCard):
    """What a model is, where it comes from, and the sha256 of every file that belongs to it.

    Attributes:
        shape: (C, H, W) of an image; of a latent model, as its decoder makes them.
        network: what a network is given for the level, beside the state x:
            "unet": the index of the discrete schedule's level, between indices a fraction;
            "edm": log(sigma / alpha) / 4 and the scaled state, in EDM's preconditioning with `sigma_data`;
            "consistency": a consistency model's boundary condition on top of that, and 250 log(sigma / alpha);
            "flow": the time of the straight path, times `time_scale`;
            "vp-continuous": the time of Score SDE's VP, times `time_scale` (999 there);
            "sigma": sigma / alpha itself (Score SDE's VE);
            "decoder": nothing: it makes samples from noise whatever the level, and only takes grids from the schedule;
            "finite-data", "mixture": no network but the exact E[x_0 | x_t] of the points or of the Gaussian mixture in
            a file of tensors.
        architecture: what is built from config.json: a UNet2DModel or DiTTransformer2DModel of diffusers, or a name
            that a plugin registers (`models.architectures`).
        decoder: what makes images of latents, where the network works on these; None: it works on images.
        guided_channels: the first channels of a state, which guidance joins; the rest are the conditional output's, as
            DiT's authors sample with 3 of 4. None: all.
        noise_shape: (C, H, W) of a decoder's noise; None: the image's.
        sigma_data: standard deviation of the data in the preconditioning; None: 0.5.
        time_scale: what the time is multiplied by; None: 1000 for "flow", 999 for "vp-continuous".
        round_time: whether a "unet" is given whole indices (int64), those nearest to its levels, as a network with a
            table of its trained times takes them. Samplers that ask between the trained levels, and the exact solution
            that their error is measured against, then see a staircase in time: another model, as records say.
        raw_prediction: what an "edm" network's own output is called in diffusers: "v_prediction" has the other sign.
        value_range: (low, high) of the network's images, or the decoder's, which black and white are mapped to.
        classes: labels are 0 ... classes - 1, of a mixture its components; None: the network takes none.
        null_label: what a network that was also trained without classes is given for no class, which guidance needs: a
            number, `classes` or above; "zeros": labels are given as rows of one-hot (N, classes), then all zero;
            "none": no labels at all. None: it was trained with classes only.
        prompts: the choice that a study makes for a text-to-image pipeline, whose labels are the numbers of prompts, as
            many as `classes`; `null_label` is then the negative prompt's. None: labels, if there are any, are classes.
        prompts_sha256: of these prompts.
        guidance_embedding: the scale that a network with distilled guidance (FLUX.1 dev) is given, at one evaluation.
        variance: the variance of a reverse step that the checkpoint was trained with, in diffusers' words, where it
            says so; the output of a "learned" one has 2 C channels, the second C for that variance.
        weights: the file of weights; None: as diffusers calls it, in one file or in several with an index.
        state_key: what of the weights is the state dict, such as "ema", "ema.model" or "models.0": names in containers
            and numbers in lists, with dots between them, or what the names of tensors begin with; None: all of it.
        ignore: glob patterns of tensors in it that the network does not have and that have no part in what it computes,
            such as "n_averaged" or "loss.*"; each has to match one.
        extractor: the compact extractor in the same folder.
        measured_by: instead of one of its own, the extractor that is meant where a study names none: an embedded one
            (`models/extractors`), or the one of an embedded model that has its own, such as "digits".
    """

    shape: tuple[Side, Side, Side] = Field(strict=False)
    network: NetworkKind = "unet"
    architecture: str = DIFFUSERS
    decoder: DecoderCard | None = None
    guided_channels: Annotated[int, Field(ge=1)] | None = None
    noise_shape: tuple[Side, Side, Side] | None = Field(default=None, strict=False)
    parametrisation: Parametrisation
    sigma_data: float | None = Field(default=None, gt=0)
    time_scale: float | None = Field(default=None, gt=0)
    round_time: bool = False
    raw_prediction: Literal["epsilon", "v_prediction"] | None = None
    clip: ClipRange | None = Field(default=None, strict=False)
    value_range: Pair = (-1.0, 1.0)
    classes: Classes | None = None
    null_label: NullLabel | None = None
    prompts: PromptsChoice | None = None
    prompts_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    guidance_embedding: Scale | None = None
    variance: str | None = None
    schedule: ScheduleCard
    weights: str | None = None
    state_key: str | None = None
    ignore: tuple[str, ...] = Field(default=(), strict=False)
    extractor: ExtractorCard | None = None
    measured_by: str | None = None

    @field_validator("clip", "value_range")
    @classmethod
    def _ascends(cls, pair: ClipRange | None) -> ClipRange | None:
        if pair is not None and pair[0] >= pair[1]:
            raise ValueError("expected [low, high] with low < high")
        return pair

    @model_validator(mode="after")
    def _fits_its_decoder(self) -> "Card":
        if self.decoder is not None and self.network in _DECODES_NOTHING:
            raise ValueError(f"network {self.network!r} makes images itself; leave out the decoder")
        if self.guided_channels is not None and self.guided_channels > self.sample_shape[0]:
            raise ValueError(f"guided_channels = {self.guided_channels}, but states have {self.sample_shape[0]}")
        return self

    @model_validator(mode="after")
    def _fits_its_prompts(self) -> "Card":
        if (self.prompts is None) != (self.prompts_sha256 is None):
            raise ValueError("prompts and prompts_sha256 stand beside one another; leave both out")
        for name in ("prompts", "guidance_embedding"):
            if getattr(self, name) is not None and self.architecture not in OF_PROMPTS:
                raise ValueError(f"{name} belongs to pipelines of {' or '.join(OF_PROMPTS)}; leave it out")
        return self

    @model_validator(mode="after")
    def _fits_its_network(self) -> "Card":
        if self.network != "decoder" and self.noise_shape not in (None, self.sample_shape):
            raise ValueError(
                f"the noise of network {self.network!r} is shaped like its samples, {self.sample_shape}, not "
                f"{self.noise_shape}"
            )
        if self.network in _MEANS_X0 and self.parametrisation != "sample":
            raise ValueError(
                f"network {self.network!r} gives x_0: parametrisation is 'sample', not {self.parametrisation!r}"
            )
        if self.extractor is not None and self.measured_by is not None:
            raise ValueError("the model has an extractor of its own; leave out measured_by")
        if self.classes is not None and self.network in _UNLABELLED:
            raise ValueError(f"network {self.network!r} takes no labels; leave out classes")
        if self.null_label is not None and self.classes is None:
            raise ValueError("null_label stands beside the classes; say classes = N, too, or leave it out")
        if isinstance(self.null_label, int) and self.null_label < (self.classes or 0):
            raise ValueError(
                f"null_label = {self.null_label} is one of the classes 0 ... {(self.classes or 0) - 1}; say how many "
                "classes there are"
            )
        allowed = _SCHEDULES.get(self.network)
        if allowed is not None and self.schedule.kind not in allowed:
            raise ValueError(
                f"network {self.network!r} is conditioned on a schedule of kind {' or '.join(allowed)}, "
                f"not {self.schedule.kind}"
            )
        for name, kinds in _PARAMETERS.items():
            if getattr(self, name) not in (None, False) and self.network not in kinds:
                raise ValueError(f"{name} belongs to networks of kind {' and '.join(kinds)}, not to {self.network!r}")
        return self

    @property
    def is_generator(self) -> bool:
        """Whether the model's x_0 is itself a sample, not the mean of all that an image may be."""
        return self.network in ("decoder", "consistency")

    @property
    def is_exact(self) -> bool:
        """Whether the model is a law of data in closed form, not a trained network."""
        return self.network in EXACT

    @property
    def learns_variance(self) -> bool:
        """Whether the network's output has 2 C channels, the second half for the variance of a step."""
        return self.variance in ("learned", "learned_range")

    @property
    def takes_classes(self) -> bool:
        """Whether the network is given the class of each image; labels may also be prompts."""
        return self.classes is not None and self.prompts is None

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what sampling starts from."""
        return self.sample_shape if self.noise_shape is None else self.noise_shape

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what samplers give: of images, or of latents where a decoder makes images of these."""
        return self.shape if self.decoder is None else self.decoder.latent_shape

    @property
    def state_range(self) -> ClipRange:
        """What clean states lie in: the images' range, or what no latent leaves."""
        return self.value_range if self.decoder is None else _LATENTS

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what the network gives."""
        channels, height, width = self.sample_shape
        return (2 * channels if self.learns_variance else channels, height, width)

    def digest_content(self) -> dict[str, Any]:
        """What any result depends on; fields newer than the first cards only where they say something, so that the
        hashes in older records stay.
        """
        content = self.model_dump(mode="json", include={"shape", "parametrisation", "clip", "schedule", "files"})
        newer = {"network", "noise_shape", "architecture", "sigma_data", "time_scale", "raw_prediction"}
        newer |= {"value_range", "classes", "null_label", "variance", "weights", "state_key", "round_time"}
        newer |= {"decoder", "guided_channels", "prompts_sha256", "guidance_embedding"}
        if self.prompts is not None and self.prompts.tokens is not None:
            content["prompt_tokens"] = self.prompts.tokens
        return content | self.model_dump(mode="json", include=newer, exclude_defaults=True)


def table_of(place: Place, content: dict[str, Any], whole: type[Strict]) -> type[Strict] | None:
    """The table that a place is in, of a card or of a study's changes of one; None: it has no keys of its own."""
    if place[:-1] == ("schedule",):
        return KINDS.get(content["schedule"].get("kind"))
    tables: dict[Place, type[Strict]] = {(): whole, ("extractor",): ExtractorCard, ("decoder",): DecoderCard}
    tables[("prompts",)] = PromptsChoice
    return tables.get(place[:-1])


def explain_card(error: ValidationError, content: dict[str, Any], whole: type[FolderCard] | None = None) -> str:
    """What is wrong with the content of a card, in one line."""
    found = faults(error, content)
    return "; ".join(str(in_our_words(each, table_of(each.place, content, whole or Card))) for each in found)
