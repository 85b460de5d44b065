"""What the command line says of a study instead of its file."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from bench.study.fields import (
    LONGEST,
    MOST_TIMEOUT,
    Batch,
    GridSpec,
    Guidances,
    Images,
    Modes,
    Seed,
    Steps,
    Threads,
    Words,
)
from bench.study.labels import OnGrid, grid_named, grid_of, sampler_of
from bench.study.study import Study
from models.cards.schedule_cards import Strict
from models.common.errors import UsageError
from models.common.explain import Place, faults
from models.networks.modes import Precision, parse_mode
from models.plugins.registry import in_our_words
from models.plugins.specs import split_outside_brackets
from samplers import SAMPLERS


class Overrides(BaseModel, extra="forbid"):
    """What the command line says, which wins over the file; checked with it. None leaves the study's value."""

    samplers: str | list[str] | None = None
    grids: str | list[str] | None = None
    guidance: str | list[str] | None = None
    steps: list[int] | None = None
    evaluations: list[int] | None = None
    images: int | None = None
    batch: int | str | None = None
    seed: int | None = None
    device: str | None = None
    threads: int | None = None
    timeout: float | None = None
    modes: str | list[str] | None = None
    precision: str | None = None
    model: str | None = None
    prompts: str | None = None
    until: str | None = None


def overrides_of(given: dict[str, Any]) -> Overrides:
    """Overrides by their names; UsageError for what is none, or has the wrong type."""
    try:
        return Overrides.model_validate(given, strict=True)
    except ValidationError as error:
        wrong = (str(in_our_words(fault, Overrides)) for fault in faults(error))
        raise UsageError(f"overrides: {'; '.join(wrong)}") from None


def _listed(given: object) -> object:
    return split_outside_brackets(given) if isinstance(given, str) else given


_Listed = BeforeValidator(_listed)
"""Text that is separated by commas, too."""
_Sampler = Annotated[str, Field(max_length=LONGEST), AfterValidator(sampler_of)]
_Grid = Annotated[GridSpec, AfterValidator(grid_named)]


class Options(Strict):
    """What of `Overrides` can be used."""

    samplers: Annotated[list[_Sampler], Field(min_length=1), _Listed] | None = None
    grids: Annotated[list[_Grid], Field(min_length=1), _Listed] | None = None
    guidance: Annotated[Guidances, _Listed] | None = None
    steps: Annotated[list[Steps], Field(min_length=1)] | None = None
    evaluations: Annotated[list[Steps], Field(min_length=1)] | None = None
    images: Images | None = None
    batch: Batch | None = None
    seed: Seed | None = None
    device: Words | None = None
    threads: Threads | None = None
    timeout: Annotated[float, Field(gt=0, le=MOST_TIMEOUT)] | None = None
    modes: Annotated[Modes, _Listed] | None = None
    precision: Precision | None = None
    model: Words | None = None
    prompts: Words | None = None
    until: Literal["decided"] | None = None

    @field_validator("grids")
    @classmethod
    def _named_once(cls, grids: list[str] | None, info: ValidationInfo) -> list[str] | None:
        for each in info.data.get("samplers") or ():
            if grids is not None and isinstance(each, OnGrid):
                raise ValueError(f"{each.label!r} names its grid, {each.grid}; leave out --grids, or say {each}")
        return grids

    @model_validator(mode="after")
    def _steps_or_evaluations(self) -> "Options":
        if self.steps is not None and self.evaluations is not None:
            raise ValueError("expected either these or --evaluations")
        return self

    @property
    def other_cells(self) -> bool:
        """Whether samplers, grids, guidances or numbers of steps are not the file's."""
        given = (self.samplers, self.grids, self.guidance, self.steps, self.evaluations)
        return any(value is not None for value in given)


def option_of(place: Place, options: Options) -> str | None:
    """The option that what stands at a place of an overridden study comes from; None: it is the file's."""
    in_block = place[0] == "block" and len(place) > 2
    key = str(place[2] if in_block else place[0])
    names = {"seeds": ("seed",), "modes": ("modes", "precision")}.get(key, (key,))
    if in_block and key == "model":
        return None
    if key == "grids" and any(grid_of(sampler) for sampler in options.samplers or ()):
        names = ("grids", "samplers")
    given = [name for name in names if getattr(options, name, None) is not None]
    return f"--{given[0]}" if given else None


def overridden(study: Study, options: Options) -> tuple[dict[str, Any], list[int]]:
    """The content of a study with what the command line says, and the numbers of the blocks that its blocks were."""
    content = study.model_dump(exclude_none=True)
    for key in ("images", "batch", "device", "threads", "timeout", "model", "guidance", "modes", "until"):
        value = getattr(options, key)
        if value is not None:
            content[key] = value
    if options.model is not None:
        content.pop("checkpoint", None)  # which is about the file's own model
    if options.prompts is not None:  # another file may have other columns
        kept = {key: value for key, value in content.get("prompts", {}).items() if key in ("negative", "tokens")}
        content["prompts"] = kept | {"file": options.prompts}
    if options.seed is not None:
        content["seeds"] = [options.seed]
    if options.precision is not None:
        content["modes"] = [_with_precision(mode, options.precision) for mode in content["modes"]]
    sources = list(range(len(study.block)))
    if options.samplers is not None:
        sources = [_block_for(study, sampler) for sampler in options.samplers]
    blocks = [study.block[n].model_dump(exclude_none=True) for n in sources]
    for n, sampler in enumerate(options.samplers or ()):
        blocks[n] |= {"samplers": [str(sampler)]} | ({} if (on := grid_of(sampler)) is None else {"grids": [on]})
    content["block"] = [_overridden_block(block, options) for block in blocks]
    return content, sources


def _overridden_block(block: dict[str, Any], options: Options) -> dict[str, Any]:
    if options.steps is not None or options.evaluations is not None:
        block |= {"steps": options.steps, "evaluations": options.evaluations}
    if options.grids is not None:
        block["grids"] = options.grids
    if options.seed is not None:
        block.pop("seeds", None)
    if options.modes is not None:
        block.pop("modes", None)
    if options.guidance is not None and "model" not in block:  # another model may have no classes
        block.pop("guidance", None)
    if options.precision is not None and "modes" in block:
        block["modes"] = [_with_precision(mode, options.precision) for mode in block["modes"]]
    if options.other_cells:
        block.pop("published", None)  # which is about the cells as the file has them
    return {key: value for key, value in block.items() if value is not None}


def _with_precision(mode: str, precision: Precision) -> str:
    return str(replace(parse_mode(mode), precision=precision))


def _block_for(study: Study, sampler: str) -> int:
    """The block that a sampler of the command line is run like: the one that has it, else the main model's first."""
    wanted = SAMPLERS.make(sampler)
    made = [[SAMPLERS.make(each) for each in block.samplers] for block in study.block]
    same = [n for n, each in enumerate(made) if wanted in each]
    alike = [n for n, each in enumerate(made) if type(wanted) in map(type, each)]
    main = [n for n, block in enumerate(study.block) if block.model is None]
    return (same or alike or main or [0])[0]
