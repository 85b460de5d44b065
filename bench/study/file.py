"""Reads studies: a TOML file, and what the command line says instead of it. All errors of a study are told at once."""

from dataclasses import replace
from pathlib import Path
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

from bench.study.content import Content
from bench.study.fields import (
    LONGEST,
    MOST_TIMEOUT,
    Batch,
    GridSpec,
    Growing,
    Guidances,
    Images,
    Modes,
    Seed,
    Steps,
    Threads,
    Words,
)
from bench.study.labels import OnGrid, grid_named, grid_of, sampler_of
from bench.study.study import Baseline, Block, ExtractorChoice, Published, Study, Timing
from bench.study.validation import misfits
from models.cards.card import table_of
from models.cards.changes import Changes
from models.cards.prompts_card import PromptsChoice
from models.cards.schedule_cards import Strict
from models.common.errors import UsageError
from models.common.explain import Fault, Place, faults, in_order, shown
from models.common.files import expanded, parse_toml
from models.networks.modes import Precision, parse_mode
from models.plugins.registry import in_our_words, split_outside_brackets, unknown
from samplers import SAMPLERS

STUDIES = Path(__file__).parents[1] / "studies"


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


class _Options(Strict):
    """What of `Overrides` can be used."""

    samplers: Annotated[list[_Sampler], Field(min_length=1), _Listed] | None = None
    grids: Annotated[list[Annotated[GridSpec, AfterValidator(grid_named)]], Field(min_length=1), _Listed] | None = None
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
    def _steps_or_evaluations(self) -> "_Options":
        if self.steps is not None and self.evaluations is not None:
            raise ValueError("expected either these or --evaluations")
        return self

    @property
    def other_cells(self) -> bool:
        """Whether samplers, grids, guidances or numbers of steps are not the file's."""
        given = (self.samplers, self.grids, self.guidance, self.steps, self.evaluations)
        return any(value is not None for value in given)


def study_names() -> list[str]:
    """Names of the studies that ship."""
    return sorted(path.stem for path in STUDIES.glob("*.toml"))


def load_study(name_or_path: str, overrides: Overrides | None = None, *, complete: bool = False) -> Study:
    """Read a study, apply the overrides and check it.

    Args:
        name_or_path: of a study that ships, or a TOML file.
        overrides: what is to hold instead.
        complete: whether its models have to be there, and everything is checked that their cards can tell.

    Raises:
        UsageError: no such study, or not TOML; or all that is wrong with it, a line each, in the order of the file:
            unknown keys, wrong types or ranges, unknown samplers or grids, and what does not fit together.
    """
    if name_or_path in study_names():
        path = STUDIES / f"{name_or_path}.toml"
    else:
        path = expanded(name_or_path)
        if path.suffix != ".toml":
            raise unknown("study", name_or_path, study_names())
    try:
        content = path.read_bytes()
    except (FileNotFoundError, ValueError):  # nothing can be called so
        raise UsageError(
            f"no study file {shown(name_or_path)}; expected a TOML file or one of: {', '.join(study_names())}"
        ) from None
    except OSError as error:
        raise UsageError(f"cannot read the study {shown(name_or_path)}: {error.strerror}") from None
    return parse_study(content, name_or_path, overrides, complete=complete)


def parse_study(text: str | bytes, origin: str, overrides: Overrides | None = None, *, complete: bool = False) -> Study:
    """A study from TOML; `origin` names it in errors. See `load_study`."""
    named = f"study {shown(origin)}"
    content = parse_toml(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text, named)
    return study_of(content, named, overrides, complete=complete)


def study_of(
    content: dict[str, Any], named: str, overrides: Overrides | None = None, *, complete: bool = False
) -> Study:
    """A study from what TOML says; `named` is what it is called in errors. See `load_study`."""
    wrong, options = _faults(content), _Options()
    said = {} if overrides is None else overrides.model_dump(exclude_none=True)
    try:
        options, unusable = _Options.model_validate(said), list[Fault]()
    except ValidationError as error:
        unusable = [replace(fault, place=(f"--{(*fault.place, 'steps')[0]}",)) for fault in faults(error)]
    if not wrong and not unusable:
        return _checked(named, content, options, complete)
    replaced = {(key,) for key in ("block" if key in _OF_BLOCKS else key for key in said)}
    known = Content(content, frozenset({fault.place for fault in wrong} | replaced))
    others = [fault for fault in misfits(known, complete=complete) if fault.place[:1] not in replaced]
    raise _error(named, in_order([*wrong, *others], content), unusable)


_OF_BLOCKS = ("samplers", "grids", "steps", "evaluations")
_TABLES: dict[str, type[BaseModel]] = {
    "block": Block,
    "timing": Timing,
    "images": Growing,
    "baseline": Baseline,
    "published": Published,
    "extractor": ExtractorChoice,
    "prompts": PromptsChoice,
}
_MOVED = {
    "repeats": "Instead of `repeats = 10` write `timing = { repeats = 10 }`",
    "precision": 'Instead of `precision = "bf16"` write `modes = ["bf16"]`',
}
"""Keys that studies had before, and what says the same now."""

_EXAMPLES = {"baseline": 'baseline = { sampler = "ddpm", grid = "trailing", steps = 1000 }'}
"""Of tables whose form a name does not tell."""


def _faults(content: dict[str, Any]) -> list[Fault]:
    """What is wrong with the keys of a study, each by itself."""
    try:
        Study.model_validate(content)
    except ValidationError as error:
        return [_of_key(fault, content) for fault in faults(error, content)]
    return []


def _of_key(fault: Fault, content: dict[str, Any]) -> Fault:
    """A fault of a key, with the keys that there are if it is none, or is not there."""
    keys = [step for step in fault.place if isinstance(step, str)]
    if fault.kind == "missing" and keys[0] in _EXAMPLES:
        return replace(fault, text=f"is missing; write for example `{_EXAMPLES[keys[0]]}`")
    if fault.kind == "extra_forbidden" and len(keys) == 1 and keys[0] in _MOVED:
        return replace(fault, text=f"no key of a study any more. {_MOVED[keys[0]]}")
    if keys[:1] == ["checkpoint"]:
        return in_our_words(fault, table_of(fault.place[1:], content["checkpoint"], Changes))
    return in_our_words(fault, _TABLES.get(keys[-2]) if len(keys) > 1 else Study)


def _checked(named: str, content: dict[str, Any], options: _Options, complete: bool) -> Study:
    """A study whose keys are right by themselves, with what the command line says instead."""
    study = Study.model_validate(content)
    told, sources = _overridden(study, options)
    study = Study.model_validate(told)
    in_file, by_option = list[Fault](), list[Fault]()
    for fault in misfits(Content(told, frozenset()), complete=complete):
        option = _option_of(fault.place, options)
        if option is not None:
            by_option.append(replace(fault, place=(option,)))
        else:
            in_file.append(replace(fault, place=_in_file(fault.place, sources)))
    if in_file or by_option:
        raise _error(named, in_order(in_file, content), by_option)
    return study


def _option_of(place: Place, options: _Options) -> str | None:
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


def _in_file(place: Place, sources: list[int]) -> Place:
    """The place in the file of what was not overridden: blocks may be others than the file's."""
    return (place[0], sources[int(place[1])], *place[2:]) if place[0] == "block" else place


def _error(named: str, in_file: list[Fault], by_option: list[Fault]) -> UsageError:
    """All that is wrong, a line each; an option names itself."""
    lines = list(dict.fromkeys(map(str, [*in_file, *by_option])))
    of = f"{named}: " if in_file else ""
    return UsageError(of + lines[0] if len(lines) == 1 else f"{of}{len(lines)} errors\n  " + "\n  ".join(lines))


def _overridden(study: Study, options: _Options) -> tuple[dict[str, Any], list[int]]:
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


def _overridden_block(block: dict[str, Any], options: _Options) -> dict[str, Any]:
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
