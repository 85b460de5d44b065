"""The table of what modes cost and save, as columns of text for every rendering."""

import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import pandas as pd

from bench.report.data.columns import KEYS, decimals_for, known, scientific, significant
from bench.report.data.distances import Quality
from bench.report.data.mode_effects import Difference, ModeCost
from bench.report.data.timing_warnings import invalid
from bench.report.tables.display import ALIKE, DOUBTFUL, NOTHING, Column, milliseconds

TITLE = "What the modes cost and save"

MANY = 30
"""Lines from which on the terminal shows one for each mode instead of one for each setting."""


def below(found: Sequence[ModeCost]) -> list[str]:
    """The sentences under the table."""
    first = " or ".join(dict.fromkeys(each.first["mode"] for each in found))
    lines = [f"Speed-up: time an image in {first} over that in the row's mode, with its 95 % bootstrap interval."]
    if any(each.batches_differ for each in found):
        lines.append("Some modes were timed in other batches than the first, as timed_batch in table.csv says.")
    if any(DOUBTFUL in _speedup(each) for each in found):
        lines.append(f"{DOUBTFUL}: of times that do not hold up.")
    differences = [each for cost in found for each in cost.differences]
    if not differences:
        return lines
    lines.append(
        f"Δ: difference of the row's mode from {first}, of the same seeds and so from the same noise; ±: half the 95 % "
        "interval of its mean (paired, Student's t)."
    )
    if any(each.alike for each in differences):
        lines.append(f"{ALIKE}: cannot be told from 0 (p > 0.05, not corrected for many tests).")
    if any(each.seeds == 1 and each.p is None for each in differences):
        lines.append("Of one seed, a difference has no interval and is not tested.")
    if any(each.seeds > 1 and each.p is None for each in differences):
        lines.append("A difference that is the same in all seeds has no interval and is not tested.")
    return lines


def mode_columns(found: Sequence[ModeCost]) -> list[Column]:
    """A line for each setting and mode but the first, in the order of the table."""
    rows = [each.row for each in found]
    models = _texts("Model", [each.row["model"] for each in found])
    return [
        _texts("Sampler", [row["sampler"] for row in rows]),
        _texts("Grid", [row["grid"] for row in rows]),
        *([models] if len(set(models.cells)) > 1 else []),
        _texts("Mode", [row["mode"] for row in rows]),
        _numbers("Steps", [f"{row['steps']:,}" for row in rows]),
        milliseconds(rows),
        Column("Speed-up", [_speedup(each) for each in found], [_speedup(each, True) for each in found], _none(found)),
        *(_difference_column(quality, found) for quality in _qualities(found)),
    ]


def mode_summary(found: Sequence[ModeCost]) -> list[Column]:
    """A line for each mode: over how many settings, and the median, least and greatest speed-up and difference."""
    modes: dict[str, list[ModeCost]] = {}
    for each in found:
        modes.setdefault(str(each.row["mode"]), []).append(each)
    groups = list(modes.values())
    return [
        _texts("Mode", list(modes)),
        _numbers("Settings", [f"{len(group):,}" for group in groups]),
        _numbers("Speed-up", [_range([each.speedup for each in group], significant) for group in groups]),
        *(_differences_column(quality, groups) for quality in _qualities(found)),
    ]


def frame(found: Sequence[ModeCost]) -> pd.DataFrame:
    """All that is known of each pair, a row each."""
    return pd.DataFrame([_line(each) for each in found])


def _line(each: ModeCost) -> dict[str, Any]:
    line = {name: each.row[name] for name in (*KEYS, "run", "seeds")} | {"first_mode": each.first["mode"]}
    line |= {
        f"s_per_image_median{end}": row["s_per_image_median"] for end, row in (("", each.row), ("_first", each.first))
    }
    line |= {"speedup": each.speedup, "speedup_ci_low": each.low, "speedup_ci_high": each.high}
    for difference in each.differences:
        key = difference.quality.key
        line |= {f"{key}_first": difference.first, f"{key}_difference": difference.mean}
        line |= {f"{key}_difference_ci": difference.ci, f"{key}_difference_p": difference.p}
        line |= {f"{key}_difference_seeds": difference.seeds}
    return line


def _qualities(found: Sequence[ModeCost]) -> list[Quality]:
    return list(dict.fromkeys(each.quality for cost in found for each in cost.differences))


def _of(cost: ModeCost, quality: Quality) -> Difference | None:
    return next((each for each in cost.differences if each.quality == quality), None)


def _speedup(each: ModeCost, brief: bool = False) -> str:
    if not known(each.speedup):
        return NOTHING
    doubt = DOUBTFUL if invalid(each.row) or invalid(each.first) else ""
    if brief or not known(each.low):
        return f"{significant(each.speedup)}×{doubt}"
    interval = f"({significant(each.low)} to {significant(each.high)})"
    return f"{significant(each.speedup)}× {interval}{' ' * bool(doubt)}{doubt}"


def _difference_column(quality: Quality, found: Sequence[ModeCost]) -> Column:
    differences = [_of(each, quality) for each in found]
    marks = [ALIKE if each is not None and each.alike else "" for each in differences]
    means = [_signed(each.mean, quality, each.ci) if each is not None else NOTHING for each in differences]
    halves = [f" ± {_half(each)}" if each is not None and known(each.ci) else "" for each in differences]
    cells = [f"{m}{h}{' ' * bool(mark)}{mark}" for m, h, mark in zip(means, halves, marks, strict=True)]
    brief = [mean + mark for mean, mark in zip(means, marks, strict=True)]
    return Column(_heading(quality), cells, brief, _none(found))


def _differences_column(quality: Quality, groups: Sequence[Sequence[ModeCost]]) -> Column:
    means = [[found.mean for each in group if (found := _of(each, quality)) is not None] for group in groups]
    return _numbers(_heading(quality), [_range(values, lambda value: _signed(value, quality)) for values in means])


def _heading(quality: Quality) -> str:
    return f"Δ {quality.heading.rstrip(' ↓↑')}"


def _decimals(quality: Quality, ci: float) -> int:
    """Those of the quality, or more where the interval is too small for them: a difference is read against it."""
    usual = 3 if quality.decimals is None else quality.decimals
    return max(usual, decimals_for(quality.scale * ci, 1)) if known(ci) and ci > 0 else usual


def _half(each: Difference) -> str:
    if each.quality.scientific:
        return scientific(each.ci, 2)
    return f"{each.quality.scale * each.ci:,.{_decimals(each.quality, each.ci)}f}"


def _signed(value: float, quality: Quality, ci: float = math.nan) -> str:
    if quality.scientific:
        return f"{'+' if value >= 0 else ''}{scientific(value)}"
    return f"{quality.scale * value:+z,.{_decimals(quality, ci)}f}"


def _range(values: Sequence[float], text: Callable[[float], str]) -> str:
    """The median of some values, and how far they reach."""
    measured = [value for value in values if known(value)]
    if not measured:
        return NOTHING
    least, most = text(min(measured)), text(max(measured))
    return text(median(measured)) + (f" ({least} to {most})" if least != most else "")


def _texts(heading: str, cells: Sequence[object]) -> Column:
    texts = [str(cell) for cell in cells]
    return Column(heading, texts, texts, _none(texts), number=False)


def _numbers(heading: str, cells: list[str]) -> Column:
    return Column(heading, cells, cells, _none(cells))


def _none(found: Sequence[object]) -> list[bool]:
    return [False] * len(found)
