"""Reads studies: a TOML file, and what the command line says instead of it. All errors of a study are told at once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from bench.study.content import Content
from bench.study.fields import Growing
from bench.study.overrides import Options, Overrides, option_of, overridden
from bench.study.study import Baseline, Block, ExtractorChoice, Published, Study, Timing
from bench.study.validation import misfits
from models.cards.card import table_of
from models.cards.changes import Changes
from models.cards.prompts_card import PromptsChoice
from models.common.errors import UsageError
from models.common.explain import Fault, Place, faults, in_order, shown
from models.common.files import expanded, parse_toml
from models.plugins.registry import in_our_words, unknown

STUDIES = Path(__file__).parents[1] / "studies"


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
    wrong, options = _faults(content), Options()
    said = {} if overrides is None else overrides.model_dump(exclude_none=True)
    try:
        options, unusable = Options.model_validate(said), list[Fault]()
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


def _checked(named: str, content: dict[str, Any], options: Options, complete: bool) -> Study:
    """A study whose keys are right by themselves, with what the command line says instead."""
    study = Study.model_validate(content)
    told, sources = overridden(study, options)
    study = Study.model_validate(told)
    in_file, by_option = list[Fault](), list[Fault]()
    for fault in misfits(Content(told, frozenset()), complete=complete):
        option = option_of(fault.place, options)
        if option is not None:
            by_option.append(replace(fault, place=(option,)))
        else:
            in_file.append(replace(fault, place=_in_file(fault.place, sources)))
    if in_file or by_option:
        raise _error(named, in_order(in_file, content), by_option)
    return study


def _in_file(place: Place, sources: list[int]) -> Place:
    """The place in the file of what was not overridden: blocks may be others than the file's."""
    return (place[0], sources[int(place[1])], *place[2:]) if place[0] == "block" else place


def _error(named: str, in_file: list[Fault], by_option: list[Fault]) -> UsageError:
    """All that is wrong, a line each; an option names itself."""
    lines = list(dict.fromkeys(map(str, [*in_file, *by_option])))
    of = f"{named}: " if in_file else ""
    return UsageError(of + lines[0] if len(lines) == 1 else f"{of}{len(lines)} errors\n  " + "\n  ".join(lines))
