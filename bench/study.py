"""Studies: a TOML file says what is compared; here, and only here, its product is taken and becomes a list of cells."""

import tomllib
from bisect import bisect_right
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.errors import UsageError
from models.grids import GRIDS, Grid
from models.registry import explain, unknown
from models.schedule import Schedule
from models.zoo import load_card, model_folder
from samplers import SAMPLERS, Sampler

STUDIES = Path(__file__).parent / "studies"

Precision = Literal["fp32"]
Metric = Literal["fd", "kid", "inception_score", "precision_recall"]
METRICS: tuple[Metric, ...] = ("fd", "kid", "inception_score", "precision_recall")


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Baseline(_Strict):
    """The setting that the others are compared with."""

    sampler: str
    grid: str
    steps: int = Field(ge=1)


class Block(_Strict):
    """A product of samplers, grids and either steps or evaluations, on the study's model or on one of its own.

    Attributes:
        model: None for the study's.
        samplers, grids: specifications.
        steps: numbers of steps.
        evaluations: budgets of network evaluations an image instead: each sampler takes the most steps that it declares
            to stay within. A sampler of two evaluations a step is so compared with one of one.
        seeds: None for the study's.
    """

    model: str | None = None
    samplers: list[str] = Field(min_length=1)
    grids: list[str] = Field(min_length=1)
    steps: list[int] | None = Field(default=None, min_length=1)
    evaluations: list[int] | None = Field(default=None, min_length=1)
    seeds: list[int] | None = None

    @model_validator(mode="after")
    def _has_steps_or_evaluations(self) -> "Block":
        if (self.steps is None) == (self.evaluations is None):
            raise ValueError("expected either steps or evaluations")
        return self


class Study(_Strict):
    """A speed-versus-quality study.

    Attributes:
        name: names the run folder.
        title: heads tables and figures.
        model: an embedded model's name or a folder; its extractor and reference measure every cell, those of blocks
            with a model of their own too.
        images: how many each cell generates (at least 16, which the metrics need).
        batch: images generated at a time; full batches are the timed repeats.
        repeats: timed calls a cell has at least; where there are fewer full batches, the first is run again.
        seeds: seed blocks; a block of the product may have its own.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        precision: arithmetic of the network.
        clip: whether predictions of x_0 are clamped to the range on the model's card.
        metrics: of `METRICS`.
        tolerance: how much worse than the baseline is still good enough, as a fraction of the baseline's distance.
        baseline: what the answer compares with.
        block: the products.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    title: str
    model: str
    images: int = Field(ge=16, lt=2**32)
    batch: int = Field(ge=1)
    repeats: int = Field(default=4, ge=1)
    seeds: list[int] = Field(default=[0], min_length=1)
    device: str = "auto"
    precision: Precision = "fp32"
    clip: bool = True
    metrics: list[Metric] = Field(default=list(METRICS), min_length=1)
    tolerance: float = Field(default=0.1, ge=0)
    baseline: Baseline
    block: list[Block] = Field(min_length=1)


@dataclass(frozen=True)
class Cell:
    """One row to be measured: a sampler on a grid of some steps, with one seed.

    Attributes:
        model: as the study spells it.
        main: whether that is the study's main model.
    """

    sampler: str
    grid: str
    steps: int
    seed: int
    model: str
    main: bool = True

    def __str__(self) -> str:
        model = "" if self.main else f"{self.model}: "
        return f"{model}{self.sampler} on {self.grid}, {self.steps} steps, seed {self.seed}"


class Overrides(BaseModel):
    """What the command line says, which wins over the file. None leaves the study's value."""

    samplers: list[str] | None = None
    grids: list[str] | None = None
    steps: list[int] | None = None
    evaluations: list[int] | None = None
    images: int | None = None
    batch: int | None = None
    seed: int | None = None
    device: str | None = None
    precision: str | None = None
    model: str | None = None


def study_names() -> list[str]:
    """Names of the studies that ship."""
    return sorted(path.stem for path in STUDIES.glob("*.toml"))


def load_study(name_or_path: str, overrides: Overrides | None = None) -> Study:
    """Read a study, apply the overrides and check it.

    Raises:
        UsageError: no such study, not TOML, unknown keys, wrong types or ranges, unknown samplers or grids.
    """
    path = STUDIES / f"{name_or_path}.toml"
    if not path.is_file():
        path = Path(name_or_path)
        if path.suffix != ".toml":
            raise unknown("study", name_or_path, study_names())
        if not path.is_file():
            raise UsageError(
                f"no study file {name_or_path!r}; expected a TOML file or one of: {', '.join(study_names())}"
            )
    try:
        return parse_study(path.read_text(), name_or_path, overrides or Overrides())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the study {name_or_path!r}: {error}") from None


def parse_study(text: str, origin: str, overrides: Overrides) -> Study:
    """A study from TOML text; `origin` names it in errors."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"study {origin!r} is not valid TOML: {error}") from None
    try:
        study = Study.model_validate(content)
        study = Study.model_validate(_overridden(study, overrides))
    except ValidationError as error:
        raise UsageError(f"study {origin!r}: {explain(error)}. {_KEYS}") from None
    plan(study)  # fails on unknown samplers and grids
    return study


_KEYS = f"A study has the keys: {', '.join(Study.model_fields)}; a block: {', '.join(Block.model_fields)}."


def _overridden(study: Study, overrides: Overrides) -> dict[str, Any]:
    content = study.model_dump()
    for key in ("images", "batch", "device", "precision", "model"):
        value = getattr(overrides, key)
        if value is not None:
            content[key] = value
    if overrides.seed is not None:
        content["seeds"] = [overrides.seed]
    blocks = content["block"]
    if overrides.samplers is not None:
        blocks = [_block_for(study, sampler) for sampler in overrides.samplers]
    for block in blocks:
        if overrides.steps is not None or overrides.evaluations is not None:
            block["steps"], block["evaluations"] = overrides.steps, overrides.evaluations
        if overrides.grids is not None:
            block["grids"] = overrides.grids
        if overrides.seed is not None:
            block["seeds"] = None
    content["block"] = blocks
    return content


def _block_for(study: Study, sampler: str) -> dict[str, Any]:
    """A block for a sampler that the command line names: as the study has it, else like the main model's first."""
    wanted = SAMPLERS.make(sampler)
    same = [block for block in study.block if wanted in map(SAMPLERS.make, block.samplers)]
    alike = [block for block in study.block if type(wanted) in (type(SAMPLERS.make(each)) for each in block.samplers)]
    main = [block for block in study.block if block.model is None]
    block = (same or alike or main or study.block)[0]
    return block.model_dump() | {"samplers": [sampler]}


def plan(study: Study) -> list[Cell]:
    """The cells of a study, the baseline's first, each once, in canonical spelling.

    Raises:
        UsageError: a sampler or grid that does not exist, or parameters that it does not take.
    """
    base = study.baseline
    cells = [_cell(base.sampler, base.grid, base.steps, seed, study.model, main=True) for seed in study.seeds]
    for block in study.block:
        seeds = study.seeds if block.seeds is None else block.seeds
        model = study.model if block.model is None else block.model
        for sampler, grid in product(block.samplers, block.grids):
            for steps, seed in product(_steps(block, sampler, grid, model), seeds):
                cells.append(_cell(sampler, grid, steps, seed, model, main=model == study.model))
    return list(dict.fromkeys(cells))


def _steps(block: Block, sampler: str, grid: str, model: str) -> list[int]:
    if block.steps is not None:
        return block.steps
    schedule = load_card(model_folder(model)).schedule.build()
    made, placed = SAMPLERS.make(sampler), GRIDS.make(grid)
    return [most_steps(made, placed, schedule, budget) for budget in block.evaluations or ()]


def most_steps(sampler: Sampler, grid: Grid, schedule: Schedule, budget: int) -> int:
    """The most steps on a grid whose declared evaluations an image stay within a budget.

    Raises:
        UsageError: the sampler does not declare its evaluations, or one step takes more than the budget.
    """

    def evaluations(steps: int) -> int:
        try:
            levels = grid(schedule, steps)
        except UsageError:  # more steps than the schedule has
            return budget + 1
        declared = sampler.nfe(levels)
        if declared is None:
            raise UsageError(f"{SAMPLERS.spec_of(sampler)} cannot say its evaluations before; give its block steps")
        return declared

    found = bisect_right(range(1, budget + 1), budget, key=evaluations)
    if found == 0:
        raise UsageError(f"{SAMPLERS.spec_of(sampler)} takes more than {budget} evaluations in a single step")
    return found


def _cell(sampler: str, grid: str, steps: int, seed: int, model: str, *, main: bool) -> Cell:
    if not 0 <= seed < 2**64:
        raise UsageError(f"seed {seed} lies outside 0 ... 2^64 - 1")
    made, placed = SAMPLERS.make(sampler), GRIDS.spec_of(GRIDS.make(grid))
    return Cell(SAMPLERS.spec_of(made), "native" if made.places_steps else placed, steps, seed, model, main)
