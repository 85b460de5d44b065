"""Options that several commands have, with their help, and the values of all options as they are typed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from cyclopts import CoercionError, Parameter, Token, convert

from models.common.files import expanded


def exact(type_: Any, tokens: Sequence[Token]) -> Any:
    """The value of an option: cyclopts's own, but for paths, and for whole numbers, of which that rounds 17.5 to 18.

    Lists of whole numbers are separated by commas, and a word may stand instead of a number. CoercionError if something
    else than a whole number was given for one.
    """
    inner = get_args(type_)
    if int not in (type_, *inner):
        return _at_home(convert(type_, tokens))
    several, words = get_origin(type_) in (list, tuple), [word for each in inner for word in get_args(each)]
    given = [part for token in tokens for part in (token.value.split(",") if several else [token.value])]
    try:
        found = [part if part in words else int(part) for part in given]
    except ValueError:
        wanted = "whole numbers separated by commas, such as 5,10,20" if several else "a whole number, such as 20"
        said = ",".join(token.value for token in tokens)
        raise CoercionError(msg=f"{said!r}; expected {', or '.join([wanted, *words])}", token=tokens[0]) from None
    return list(found) if several else found[0]


def _at_home(value: Any) -> Any:
    """Paths with the home folder in the place of ~, which shells leave in --option=~/path."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(_at_home, value))
    return expanded(value) if isinstance(value, Path) else value


Batch = int | Literal["auto"]
Device = Annotated[str, Parameter(help="auto, cpu, cuda, cuda:1, ...")]
AsJson = Annotated[bool, Parameter(name="--json", help="As JSON on stdout, with all that is known.")]
Plugin = Annotated[
    list[Path] | None,
    Parameter(help="Python file that registers samplers, guidances or networks; may be given several times."),
]


Numbers = Annotated[list[int] | None, Parameter(converter=exact)]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """What is said instead of a study's file (`bench.study.overrides.Overrides`).

    Attributes:
        samplers: Instead of the study's, such as "ddim[eta=0.5],heun".
        grids: Instead of the study's, such as "trailing,karras[rho=5]".
        guidance: Instead of the study's, such as "none,cfg[scale=2]".
        steps: Instead of the study's, such as "5,10".
        evaluations: Budgets instead of steps, such as "10,20": each sampler takes the most steps that stay within.
        model: Embedded model, model folder, or hf:owner/name.
        prompts: File of what text-to-image models make images of: one prompt a line, or .csv with a column of them.
        images: Images a cell generates.
        batch: Images generated and timed at a time, or auto: as many as the device evaluates fastest.
        seed: One seed block instead of the study's.
        device: auto, cpu, cuda, cuda:1, ...
        threads: Of the CPU (default: as many as torch takes).
        timeout: Seconds that a cell may take, in a process of its own, and each round of its timing.
        modes: How the network is executed, instead of the study's, such as "fp32,bf16+channels_last+compile".
        precision: fp32, tf32, bf16 or fp16 in every mode.
        until: decided: images grow, and what can no longer be the answer is left out.
    """

    samplers: str | None = None
    grids: str | None = None
    guidance: str | None = None
    steps: Numbers = None
    evaluations: Numbers = None
    model: str | None = None
    prompts: str | None = None
    images: int | None = None
    batch: Batch | None = None
    seed: int | None = None
    device: str | None = None
    threads: int | None = None
    timeout: float | None = None
    modes: str | None = None
    precision: str | None = None
    until: str | None = None
