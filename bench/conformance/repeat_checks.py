"""The check that images follow from a sampler's arguments alone, whatever ran before, at the ends of its parameters.

What depends on a cache's hits, or on which of several equal objects it is given, shows only where a level has been seen
before, and often only at the end of a parameter's range. So the first call is on levels that no call before has had; it
is made again on the same and on equal levels, and again after calls at other steps, batches and grids.
"""

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import count
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from bench.conformance import laws
from bench.conformance.check import SHAPE, Nonconforming, call, denoiser, fit_of, require
from bench.noise.stream import ImageNoise
from bench.purity.tables import tables_of
from models.common.errors import UsageError
from models.grids import GRIDS
from models.networks.network import Network
from models.schedule import DiscreteVP, Level, Schedule
from samplers import Sampler

_STEPS, _IMAGES = 6, 2
_OTHERS = ((9, 2, "trailing"), (_STEPS, 1, "trailing"), (4, 3, "karras"), (_STEPS, 2, "logsnr[clean=false]"))
"""Steps, images and grids of the calls between."""
_FAR, _NEAR = 1e3, 1e-2
"""Where a range has no end: so many times the default, and so near to a bound that is itself outside."""
_UNSEEN = count(1)


def at_ends(sampler: Sampler) -> Iterator[tuple[str, Sampler]]:
    """What was changed and the sampler: as it is, then with one parameter after another at an end of what it may be.

    Every choice of several is an end, and so are both truth values; where there is no limit, a number far out. Lists
    and free text have none. What a sampler refuses to be made of is left out.
    """
    yield "as given", sampler
    described = TypeAdapter(type(sampler)).json_schema().get("properties", {})
    for name, schema in described.items():
        now = getattr(sampler, name)
        for value in _ends(schema, now):
            try:
                yield f"{name} = {value}", dataclasses.replace(sampler, **{name: value})  # type: ignore[type-var]
            except UsageError:
                continue


def _ends(schema: dict[str, Any], now: Any) -> list[Any]:
    """The ends of a parameter whose JSON schema is given, without its present value."""
    found: list[Any] = [end for part in schema.get("anyOf", []) for end in _ends(part, now)]
    found += schema.get("enum", []) + ([schema["const"]] if "const" in schema else [])
    match schema.get("type"):
        case "boolean":
            found += [False, True]
        case "null":
            found.append(None)
        case "number" | "integer" as kind if "enum" not in schema and "const" not in schema:
            found += _numbers(schema, now, whole=kind == "integer")
    return [end for end in found if end != now]


def _numbers(schema: dict[str, Any], now: Any, *, whole: bool) -> list[float]:
    """The lowest and the highest of a range of numbers."""
    usual = now if isinstance(now, int | float) else schema.get("default") or 1
    step = 1 if whole else _NEAR * abs(usual or 1.0)
    far = usual + 3 if whole else _FAR * abs(usual or 1.0)
    low = schema.get("minimum", schema["exclusiveMinimum"] + step if "exclusiveMinimum" in schema else -far)
    high = schema.get("maximum", schema["exclusiveMaximum"] - step if "exclusiveMaximum" in schema else far)
    return [int(end) if whole else float(end) for end in (low, high)]


def repeats_at_ends(sampler: Sampler) -> str:
    """Bit for bit, for each of `at_ends`; a combination that the sampler refuses (UsageError) is none."""
    done, tables = 0, tables_of(type(sampler))
    with _silenced():
        for change, variant in at_ends(sampler):
            try:
                _repeats(variant, change)
            except UsageError:
                continue
            done += 1
    if done == 0:
        raise Nonconforming("refuses every call, with its own parameters and with any of them at an end of its range")
    if kept := tables.changed():
        raise Nonconforming(
            f"keeps {', '.join(kept)} from call to call, so that images may depend on what ran before; keep nothing, "
            "or by functools.lru_cache what follows from a function's arguments alone"
        )
    return f"bit for bit with {done} sets of parameters, after calls at other steps, batches and levels"


def _repeats(sampler: Sampler, change: str) -> None:
    # all but unnoticeably other betas every time, so that no level has been seen before
    schedule = DiscreteVP.linear(beta_end=0.02 * (1.0 + 1e-6 * next(_UNSEEN)))
    levels = GRIDS.make("trailing")(schedule, _STEPS)
    fit = fit_of(sampler, _network(), schedule)
    alone = _call(sampler, schedule, levels, _IMAGES, fit)
    equal = [Level(*level) for level in levels]
    for what, again in (("the same levels", levels), ("equal levels", equal)):
        _compare(alone, _call(sampler, schedule, again, _IMAGES, fit), f"{change}: a second call on {what}")
    fit = fit_of(sampler, _network(), schedule)  # of which all that it keeps is at first of the calls between
    for steps, images, grid in _OTHERS:
        _call(sampler, schedule, GRIDS.make(grid)(schedule, steps), images, fit)
    for what, again in (("the same levels", levels), ("new levels", GRIDS.make("trailing")(schedule, _STEPS))):
        found = _call(sampler, schedule, again, _IMAGES, fit)
        _compare(alone, found, f"{change}: after calls at other steps, batches and levels, one on {what}")


def _call(sampler: Sampler, schedule: Schedule, levels: Sequence[Level], images: int, fit: Any) -> Tensor:
    noise = ImageNoise(0, torch.arange(images))
    x = noise(torch.empty(images, *SHAPE, dtype=torch.float64)) * schedule.prior_std(levels[0])
    return call(sampler, denoiser(sampler, _network(), schedule, fit=fit), x, levels, noise)[0]


@contextmanager
def _silenced() -> Iterator[None]:
    """Without the warnings that libraries log about parameters which nobody has asked for."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


@cache
def _network() -> Network:
    return laws.gaussian()


def _compare(first: Tensor, again: Tensor, what: str) -> None:
    same = torch.equal(first.nan_to_num(), again.nan_to_num()) and torch.equal(first.isnan(), again.isnan())
    require(same, f"{what} differs by up to {float((first - again).abs().max()):.3g}")
