"""Studies: what is compared, as a TOML file says it. `bench.study.file` reads one, `bench.study.plan` takes its
product.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from bench.study.fields import (
    LONGEST,
    MOST_BATCH,
    MOST_GROWTH,
    MOST_IMAGES,
    MOST_REPEATS,
    MOST_TIMEOUT,
    MOST_TOLERANCE,
    USUAL_START,
    Batch,
    GridSpec,
    Growing,
    Guidances,
    GuidanceSpec,
    ImagesOrGrowing,
    Modes,
    SamplerSpec,
    Seed,
    SolverSteps,
    Steps,
    Threads,
    Words,
    within,
)
from bench.study.metrics import DEFAULT_METRICS, FEATURE_METRICS, FLOW_METRICS, Metric, metric_of
from models.cards.changes import Changes
from models.cards.prompts_card import PromptsChoice
from models.cards.schedule_cards import Strict
from models.plugins.names import names_a


class Baseline(Strict):
    """The setting that the others are compared with; its guidance is the study's first unless it has one."""

    sampler: SamplerSpec
    grid: GridSpec
    steps: Steps
    guidance: GuidanceSpec | None = None


class ExtractorChoice(Strict):
    """What quality is measured with; in a study also just its name.

    Attributes:
        name: of an extractor of torch-fidelity ("inception-v3-compat", "dinov2-vit-l-14", "clip-vit-b-32", ...), or of
            an embedded one ("cifar10"), a folder with one, or a model whose own is meant.
        weights: file of its weights; None: torch-fidelity downloads them.
        sha256: that the weights must have; needed for weights other than the official ones.
    """

    name: Words
    weights: Words | None = None
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")


OpenPoints = list[Annotated[str, Field(pattern=r"\S", max_length=LONGEST)]]
"""Where a protocol is not known, or not the published one, a sentence each; reports print them under the values."""


def _column(column: str) -> str:
    metric_of(column)
    return column


class Published(Strict):
    """Published values that a block's cells are compared with.

    Attributes:
        source: where they stand, such as "arXiv:2010.02502, table 1".
        values: one for each number of steps or evaluations of the block.
        column: which of ours they are to equal.
        images: that they were computed from.
        tolerance: relative; careful implementations of the same solver on the same checkpoint differ by up to 4 %.
        open_points: of the protocol of these values, beside the study's.
    """

    source: Annotated[str, Field(pattern=r"\S", max_length=LONGEST)]
    values: list[Annotated[float, Field(ge=-1e15, le=1e15)]] = Field(min_length=1)
    column: Annotated[str, AfterValidator(_column)] = "fid"
    images: Annotated[int, within(1, 2**53 - 1)] = 50_000
    tolerance: float = Field(default=0.04, gt=0, le=MOST_TOLERANCE)
    open_points: OpenPoints = Field(default=[])


class Timing(Strict):
    """How every setting is timed, after the images of all cells are generated.

    Attributes:
        repeats: rounds in which each setting is timed once, in a new order, so that what disturbs the machine meets all
            alike; 0: nothing is timed.
        seconds: that each setting is timed for at least, in all rounds together: short calls are repeated in a round,
            but no more than 50 times.
        batches: further batch sizes that each setting is timed at: 1 for its latency, others for its throughput.
    """

    repeats: Annotated[int, within(0, MOST_REPEATS)] = 5
    seconds: float = Field(default=1.0, ge=0, le=86_400)
    batches: list[Annotated[int, within(1, MOST_BATCH)]] = Field(default=[])


Clipping = bool | Literal["dynamic"]
"""Whether predictions of x_0 are clamped to the model's range, and "dynamic": by dynamic thresholding (Imagen)."""


class Block(Strict):
    """A product of samplers, grids and either steps or evaluations, on the study's model or on one of its own.

    Attributes:
        model: None for the study's.
        samplers, grids: specifications.
        steps: numbers of steps.
        evaluations: budgets of network evaluations an image instead: each sampler takes the most steps that it declares
            to stay within. A sampler of two evaluations a step is so compared with one of one, and a guided one, whose
            every call takes two, with one that is not.
        seeds: None for the study's.
        guidance: None for the study's.
        modes: None for the study's.
        clip: None for the study's.
        published: what is known of a single sampler on a single grid.
    """

    model: Words | None = None
    samplers: list[SamplerSpec] = Field(min_length=1)
    grids: list[GridSpec] = Field(min_length=1)
    steps: list[Steps] | None = Field(default=None, min_length=1)
    evaluations: list[Steps] | None = Field(default=None, min_length=1)
    seeds: list[Seed] | None = Field(default=None, min_length=1)
    guidance: Guidances | None = None
    modes: Modes | None = None
    clip: Clipping | None = None
    published: Published | None = None

    @model_validator(mode="after")
    def _has_steps_or_evaluations(self) -> "Block":
        if (self.steps is None) == (self.evaluations is None):
            raise ValueError("expected either steps or evaluations")
        counts = self.steps or self.evaluations or []
        if self.published and (
            len(self.samplers) != 1 or len(self.grids) != 1 or len(self.published.values) != len(counts)
        ):
            raise ValueError(
                "published values need a block of one sampler and one grid, and one value for each number of steps or "
                f"evaluations; got {len(self.samplers)} samplers, {len(self.grids)} grids, {len(counts)} numbers and "
                f"{len(self.published.values)} values"
            )
        return self


class Study(Strict):
    """A speed-versus-quality study.

    Attributes:
        name: names the run folder.
        title: heads tables and figures.
        model: an embedded model's name, a folder, or "hf:owner/name@revision"; its extractor and reference measure
            every cell unless the study names others, those of blocks with a model of their own too.
        checkpoint: what is to hold for that model instead of what its own files say.
        extractor: what quality is measured with; None: the model's own, or the one that its card names.
        reference: the real data's statistics: a file that `reference` made, an .npz of mu and sigma, or the name of a
            model, whose own is meant; None: the model's own, or that of the model that the extractor names.
        images: how many each cell generates, at least 16; or from how many to how many they grow, where `until` or a
            budget of time lets them.
        until: "decided": images grow, and settings that can no longer be the answer are left out, until there is one;
            None: every setting has all images.
        batch: images generated and timed at a time; "auto": as many as the device evaluates fastest.
        timing: how every setting is timed.
        seeds: seed blocks; a block of the product may have its own.
        label: the class of all images, for class-conditional models; None: as `labels` says.
        prompts: what text-to-image models make images of: a file of one prompt a line, or a table of file, column,
            negative (the negative prompt of guidance), count and tokens. Image i is made of prompt i mod n.
        labels: "drawn": a class by seed and image, all equally likely; "balanced": each class equally often.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        threads: of the CPU; None: as many as torch takes.
        timeout: seconds that a cell's images and their quality may take, and each round of its timing; then it is ended
            and recorded as failed, for which cells are measured in a process of their own. None: as long as they take.
        guidance: how outputs of the network are joined, such as "cfg[scale=2]" (`models.guidance`), the first that of
            the baseline; a block may have its own.
        modes: how the network is executed, such as "bf16+compile" (`models.networks.modes`), the first that of the
            baseline; a block may have its own.
        clip: whether predictions of x_0 are clamped to the range on the model's card; "dynamic": by dynamic
            thresholding to the 99.5 % quantile of each image, to that range or, if the card has none, its value range.
        metrics: of `METRICS`.
        clip_model: what the CLIP score is measured with: a folder as transformers saves a CLIPModel with its tokenizer
            and preprocessor, or "hf:owner/name@revision".
        solver_images: how many of the images the solver error and the PSNR are measured on.
        solver_steps: Runge-Kutta steps of the exact solution that these are measured from, six evaluations of an image
            each with those of half as many, by which its own error is known; None: 250.
        tolerance: how much worse than the baseline is still good enough, as a fraction of the baseline's distance.
        baseline: what the answer compares with.
        open_points: of the protocol of all published values.
        block: the products.
    """

    name: Annotated[str, names_a("study")]
    title: str
    model: Words
    checkpoint: Changes | None = None
    extractor: ExtractorChoice | None = None
    reference: Words | None = None
    images: ImagesOrGrowing
    until: Literal["decided"] | None = None
    batch: Batch
    timing: Timing = Timing()
    seeds: list[Seed] = Field(default=[0], min_length=1)
    prompts: PromptsChoice | None = None
    label: Annotated[int, within(0, 2**31 - 1)] | None = None
    labels: Literal["drawn", "balanced"] = "drawn"
    device: Words = "auto"
    threads: Threads | None = None
    timeout: float | None = Field(default=None, gt=0, le=MOST_TIMEOUT)
    guidance: Guidances = Field(default=["none"])
    modes: Modes = Field(default=["fp32"])
    clip: Clipping = True
    metrics: list[Metric] = Field(default=list(DEFAULT_METRICS), min_length=1)
    clip_model: Words | None = None
    solver_images: Annotated[int, within(1, MOST_IMAGES)] = 256
    solver_steps: SolverSteps | None = None
    tolerance: float = Field(default=0.1, ge=0, le=MOST_TOLERANCE)
    baseline: Baseline
    open_points: OpenPoints = Field(default=[])
    block: list[Block] = Field(min_length=1)

    @field_validator("extractor", mode="before")
    @classmethod
    def _named(cls, extractor: Any) -> Any:
        return {"name": extractor} if isinstance(extractor, str) else extractor

    @field_validator("prompts", mode="before")
    @classmethod
    def _in_a_file(cls, prompts: Any) -> Any:
        if isinstance(prompts, str):
            return {"file": prompts}
        if not isinstance(prompts, dict | PromptsChoice | None):
            raise ValueError('expected a file, or a table such as { file = "coco.csv", column = "text" }')
        return prompts

    @field_validator("checkpoint")
    @classmethod
    def _without_prompts(cls, checkpoint: Changes | None) -> Changes | None:
        if checkpoint is not None and checkpoint.prompts is not None:
            raise ValueError("prompts is a key of the study itself, for all of its models; move it there")
        return checkpoint

    @field_validator("labels")
    @classmethod
    def _of_no_single_class(cls, labels: str, info: ValidationInfo) -> str:
        if labels == "balanced" and info.data.get("label") is not None:
            said = f"label = {info.data['label']}"
            raise ValueError(f"expected 'drawn' beside {said}, the class of all images; leave one of the two out")
        return labels

    @property
    def most_images(self) -> int:
        """How many a cell generates at the most."""
        return self.images if isinstance(self.images, int) else self.images.to

    @property
    def fewest_images(self) -> int:
        """How many it has at the first look, where images grow."""
        if isinstance(self.images, Growing):
            return self.images.start
        return max(min(self.images, USUAL_START), self.images // MOST_GROWTH)

    @property
    def most_made(self) -> int:
        """The highest number of an image that is made, of a cell or of a timed batch, and one."""
        return max(self.most_images, *self.timing.batches, 1)

    @property
    def needs_features(self) -> bool:
        """Whether some metric needs a feature extractor and a reference."""
        return any(metric in FEATURE_METRICS for metric in self.metrics)

    @property
    def needs_solution(self) -> bool:
        """Whether some metric needs the exact solution of the probability flow."""
        return any(metric in FLOW_METRICS for metric in self.metrics)

    def changes_of(self, model: str) -> Changes | None:
        """What the study says about a model: of the main one, and of all what prompts they have and of what size."""
        said = self.checkpoint if model == self.model else None
        if self.prompts is None:
            return said
        resolution = None if self.checkpoint is None else self.checkpoint.resolution
        return (said or Changes()).model_copy(update={"prompts": self.prompts, "resolution": resolution})
