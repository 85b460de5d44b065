"""Reads studies: a TOML file, and what the command line says instead of it."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from bench.plan import plan
from bench.study import Block, Study, Timing
from models.errors import UsageError
from models.modes import PRECISIONS, parse_mode
from models.registry import explain, unknown
from samplers import SAMPLERS

STUDIES = Path(__file__).parent / "studies"


class Overrides(BaseModel):
    """What the command line says, which wins over the file. None leaves the study's value."""

    samplers: list[str] | None = None
    grids: list[str] | None = None
    steps: list[int] | None = None
    evaluations: list[int] | None = None
    images: int | None = None
    batch: int | str | None = None
    seed: int | None = None
    device: str | None = None
    threads: int | None = None
    modes: list[str] | None = None
    precision: str | None = None
    model: str | None = None

    @property
    def other_cells(self) -> bool:
        """Whether samplers, grids or numbers of steps are not the file's."""
        return any(value is not None for value in (self.samplers, self.grids, self.steps, self.evaluations))


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
        moved = "".join(f" {_MOVED[key]}." for key in content if key in _MOVED)
        raise UsageError(f"study {origin!r}: {explain(error)}.{moved} {_KEYS}") from None
    plan(study)  # fails on unknown samplers and grids
    return study


_KEYS = (
    f"A study has the keys: {', '.join(Study.model_fields)}; its timing: {', '.join(Timing.model_fields)}; "
    f"a block: {', '.join(Block.model_fields)}."
)
_MOVED = {
    "repeats": "Instead of `repeats = 10` write `timing = { repeats = 10 }`",
    "precision": 'Instead of `precision = "bf16"` write `modes = ["bf16"]`',
}
"""Keys that studies had before, and what says the same now."""


def _overridden(study: Study, overrides: Overrides) -> dict[str, Any]:
    content = study.model_dump()
    for key in ("images", "batch", "device", "threads", "model"):
        value = getattr(overrides, key)
        if value is not None:
            content[key] = value
    if overrides.model is not None:
        content["checkpoint"] = None  # which is about the file's own model
    if overrides.seed is not None:
        content["seeds"] = [overrides.seed]
    if overrides.modes is not None:
        content["modes"] = overrides.modes
    if overrides.precision is not None:
        content["modes"] = [_with_precision(mode, overrides.precision) for mode in content["modes"]]
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
        if overrides.modes is not None:
            block["modes"] = None
        if overrides.precision is not None and block["modes"] is not None:
            block["modes"] = [_with_precision(mode, overrides.precision) for mode in block["modes"]]
        if overrides.other_cells:
            block["published"] = None  # which is about the cells as the file has them
    content["block"] = blocks
    return content


def _with_precision(mode: str, precision: str) -> str:
    if precision not in PRECISIONS:
        raise UsageError(f"--precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
    return str(replace(parse_mode(mode), precision=precision))


def _block_for(study: Study, sampler: str) -> dict[str, Any]:
    """A block for a sampler that the command line names: as the study has it, else like the main model's first."""
    wanted = SAMPLERS.make(sampler)
    same = [block for block in study.block if wanted in map(SAMPLERS.make, block.samplers)]
    alike = [block for block in study.block if type(wanted) in (type(SAMPLERS.make(each)) for each in block.samplers)]
    main = [block for block in study.block if block.model is None]
    block = (same or alike or main or study.block)[0]
    return block.model_dump() | {"samplers": [sampler], "published": None}
