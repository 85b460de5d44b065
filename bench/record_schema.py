"""What records and manifests have to say, and what makes sense: whatever else a file holds, it is broken.

A record may have columns that are not listed here: plain JSON, at most three lists or tables deep.
"""

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

SCHEMA = 1

DERIVED = ("_std", "_ci", "_left_out", "_inf")
"""How columns end that are derived from a distance: no distance is called so."""

_LONGEST = 300  # characters of a reason

Count = Annotated[int, Field(ge=0, lt=2**53)]
Number = Annotated[int, Field(ge=1, lt=2**53)]
Finite = Annotated[float, Field(ge=-1e15, le=1e15)]
Measure = Annotated[float, Field(ge=0.0, le=1e15)]
Distance = Annotated[float, Field(ge=-1e-6, le=1e15)]  # round-off may take a Frechet distance below zero
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Seconds = Annotated[float, Field(ge=1e-9, le=1e9)]
Range = Annotated[list[Finite], Field(min_length=2, max_length=2)]
Name = Annotated[str, Field(min_length=1, max_length=10_000)]
LeftOut = Annotated[list[Distance], Field(min_length=10, max_length=10)]  # a value without each block of images
Clip = Annotated[list[Finite], Field(min_length=2, max_length=3)] | bool

_Plain = None | bool | Annotated[int, Field(ge=-(2**63), lt=2**63)] | float | str
_Flat = _Plain | list[_Plain] | dict[str, _Plain]
_Table = dict[str, _Flat]
_Deep = _Plain | list[_Flat] | _Table
Value = _Plain | list[_Deep] | dict[str, _Deep]


class Schema(BaseModel):
    """Of a file, strictly: no text for a number, no NaN; more columns are allowed."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, Value]


class CellRecord(Schema):
    """A record: what every one says, and of what is known to be there in some, what it can be."""

    id: Name
    status: Annotated[str, Field(pattern="^(ok|failed)$")]
    sampler: Name
    grid: Name
    steps: Number
    seed: Annotated[int, Field(ge=0, lt=2**64)]
    model: Name
    model_sha256: Name
    subject_sha256: Name
    family: Name
    mode: Name
    images: Number
    batch: Number | Annotated[str, Field(pattern="^auto$")]
    dtype: Name
    device_name: Name
    nfe: Measure | None = None
    nfe_declared: Count | None = None
    calls: Measure | None = None
    calls_declared: Count | None = None
    guidance: Name | None = None
    guidance_parameters: _Table | None = None
    guidance_model: Name | None = None
    guidance_model_sha256: Name | None = None
    guidance_architecture_sha256: Name | None = None
    guidance_code_sha256: Name | None = None
    grid_code_sha256: Name | None = None
    guidance_batches: Annotated[int, Field(ge=1, le=2)] | None = None
    guidance_gflop_per_evaluation: Measure | None = None

    error: str | None = None
    note: str | None = None
    device: Name | None = None
    sampler_sha256: Name | None = None
    code_sha256: Name | None = None
    version_torch: Name | None = None
    quantiser: Name | None = None
    extractor: Name | None = None
    extractor_sha256: Name | None = None
    extractor_layer: Name | None = None
    extractor_batch: Number | None = None
    extractor_official: bool | None = None
    reference: Name | None = None
    reference_sha256: Name | None = None
    reference_count: Number | None = None
    reference_features: Count | None = None
    model_source: Name | None = None
    value_range: Range | None = None
    clip: Clip | None = None
    labels: Name | list[_Plain] | None = None
    prompts: Number | None = None
    prompts_sha256: Name | None = None

    latency_s: list[Seconds] | None = None
    network_s: list[Measure] | None = None
    device_s: list[Measure] | None = None
    decode_s: list[Measure] | None = None
    decode_batch: Number | None = None
    timed_batch: Number | None = None
    timing_rounds: Count | None = None
    timing_calls: list[Number] | None = None
    timing_watches: list[_Table] | None = None
    timing_valid: bool | None = None
    timing_note: str | None = None
    first_call_s: Measure | None = None
    compile_s: Measure | None = None
    fit_images: Number | None = None
    fit_nfe: Number | None = None
    fit_s: Measure | None = None
    fitted_t: list[Measure] | None = None
    peak_mem_mib: Measure | None = None
    held_mem_mib: Measure | None = None
    energy_j_per_image: Measure | None = None
    sweep_batches: list[Number] | None = None
    sweep_latency_s: list[list[Seconds]] | None = None
    latency_1_s_median: Seconds | None = None
    best_batch: Number | None = None
    best_throughput_img_per_s: Measure | None = None
    gflop_per_evaluation: Measure | None = None
    arithmetic_fraction: Measure | None = None
    threads: Count | None = None
    generation_batch: Number | None = None
    made_on: dict[Name, Count] | None = None
    preview_count: Count | None = None
    preview_kind: Name | None = None
    preview_sha256: Name | None = None
    stochastic: bool | None = None
    bibtex: dict[str, str] | None = None
    captured: bool | None = None
    channels_last: bool | None = None
    compile: bool | None = None
    graph: bool | None = None
    final_denoising: bool | None = None
    sigma_start: Measure | None = None
    sigma_end: Measure | None = None

    kid_mean: Finite | None = None
    kid_std: Measure | None = None
    kid_subset_size: Number | None = None
    inception_score: Measure | None = None
    inception_score_std: Measure | None = None
    inception_score_left_out: LeftOut | None = None
    precision: Share | None = None
    recall: Share | None = None
    class_accuracy: Share | None = None
    class_accuracy_std: Measure | None = None
    class_accuracy_left_out: LeftOut | None = None
    class_accuracy_real: Share | None = None
    clip_model: Name | None = None
    clip_sha256: Name | None = None
    clip_score: Annotated[float, Field(ge=0.0, le=100.1)] | None = None
    clip_score_std: Measure | None = None
    clip_score_left_out: LeftOut | None = None
    law_fd: Distance | None = None
    law_fd_left_out: LeftOut | None = None
    law_fd_floor: Measure | None = None
    law_nearest_rmse: Measure | None = None
    law_occupancy: Finite | None = None
    law_occupancy_floor_std: Measure | None = None
    solver_rmse: Measure | None = None
    solver_rmse_left_out: LeftOut | None = None
    solver_rmse_median: Measure | None = None
    solver_rmse_median_left_out: LeftOut | None = None
    solver_rmse_reference: Measure | None = None
    solver_images: Number | None = None
    solver_steps: Number | None = None
    psnr: Measure | None = None
    psnr_std: Measure | None = None
    psnr_left_out: LeftOut | None = None

    _WITH_ROUNDS: ClassVar = ("timed_batch", "latency_s", "timing_calls", "timing_watches", "first_call_s")

    @model_validator(mode="after")
    def _belongs_together(self) -> "CellRecord":
        if self.status == "ok" and self.nfe is None:
            raise ValueError("nfe: a cell with a result has a number of evaluations")
        if self.latency_s == [] and self.timing_rounds:
            raise ValueError("latency_s: empty after rounds of timing")
        for name, value in (self.__pydantic_extra__ or {}).items():
            if name == "fid" or name.startswith(("fd_", "fid_")):
                _check_distance(name, value)
        calls, rounds = self.timing_calls, self.timing_rounds
        if calls is not None and sum(calls) != len(self.latency_s or ()):
            raise ValueError("timing_calls: expected the calls of the rounds of latency_s")
        if rounds and (missing := [name for name in self._WITH_ROUNDS if getattr(self, name) is None]):
            raise ValueError(f"{', '.join(missing)}: missing after rounds of timing")
        if rounds and not rounds == len(calls or ()) == len(self.timing_watches or ()):
            raise ValueError("timing_rounds: expected timing_calls and timing_watches of each")
        if len(self.sweep_batches or ()) != len(self.sweep_latency_s or ()):
            raise ValueError("sweep_latency_s: expected times of each of sweep_batches")
        return self


_DISTANCE: TypeAdapter[Any] = TypeAdapter(Distance | None, config=ConfigDict(allow_inf_nan=False))
_ERROR: TypeAdapter[Any] = TypeAdapter(Measure | None, config=ConfigDict(allow_inf_nan=False))
_LEFT_OUT: TypeAdapter[Any] = TypeAdapter(LeftOut | None, config=ConfigDict(allow_inf_nan=False))
_ANY: TypeAdapter[Any] = TypeAdapter(Finite | None, config=ConfigDict(allow_inf_nan=False))


def _check_distance(name: str, value: object) -> None:
    """ValueError unless a Frechet distance, or what is known of one, by its name, is a number that it can be."""
    # extrapolated, it may be negative near zero
    kinds = zip(DERIVED, (_ERROR, _ERROR, _LEFT_OUT, _ANY), strict=True)
    kind = next((kind for end, kind in kinds if name.endswith(end)), _DISTANCE)
    try:
        kind.validate_python(value, strict=True)
    except ValidationError as error:
        raise ValueError(f"{name}: {error.errors(include_url=False)[0]['msg']}, got {value!r}") from None


class Baseline(Schema):
    """A study's baseline."""

    sampler: Name
    grid: Name
    steps: Number
    guidance: Name | None = None


class Block(Schema):
    """A product of a study, which is for people."""


class StudyRecord(Schema):
    """What the report takes of a resolved study; the rest of it is for people."""

    title: str
    tolerance: Measure
    baseline: Baseline
    modes: Annotated[list[Name], Field(min_length=1)]
    open_points: list[Name] = []
    block: list[Block] = []


class PublishedRecord(Schema):
    """A published value and its cell."""

    cell: Name
    column: Name
    value: Finite
    tolerance: Measure
    images: Number
    source: Name
    sampler: Name | None = None
    grid: Name | None = None
    steps: Number | None = None
    model: Name | None = None
    mode: Name | None = None
    guidance: Name | None = None
    clip: Clip | None = None
    open_points: list[Name] = []


class Manifest(BaseModel):
    """A run's study, and its cells in order."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    study: StudyRecord
    cells: list[Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,64}$")]]
    published: list[PublishedRecord] = []
    batch: Number | None = None
    looks: list[Number] = []

    @model_validator(mode="after")
    def _once(self) -> "Manifest":
        if len(set(self.cells)) < len(self.cells):
            raise ValueError("cells: expected each once")
        if self.looks != sorted(set(self.looks)) or (self.looks and len(self.cells) % len(self.looks)):
            raise ValueError("looks: expected growing numbers, and as many cells for each")
        return self


def fault(kind: type[BaseModel], content: object) -> str | None:
    """Why some content is no record or manifest, in a line (the first reason); None if it is one."""
    try:
        kind.model_validate(content)
    except ValidationError as error:
        found = error.errors(include_url=False)
        alike = [each for each in found if each["loc"][:1] == found[0]["loc"][:1]]
        # of a column that may be of several types, what is wrong with the right one
        first = next((each for each in alike if not each["type"].endswith("_type")), found[0])
        said = f"{first['loc'][0]}: {first['msg']}" if first["loc"] else first["msg"]
    except RecursionError:
        return "it is nested too deeply"
    else:
        return None
    given = (
        "" if first["type"] == "missing" or isinstance(first["input"], (dict, list)) else f", got {first['input']!r}"
    )
    return f"{said.replace('Value error, ', '')}{given}"[:_LONGEST]
