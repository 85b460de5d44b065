"""What the table shows and how: the only place that decides it, so that its four renderings cannot disagree."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.report.data.columns import Row, decimals_for, known, percent, scientific, significant
from bench.report.data.distances import Quality, quality_columns
from bench.report.data.gaps import told_apart
from bench.report.data.summary import Section
from bench.report.data.timing_warnings import invalid
from bench.timing.bootstrap import ENOUGH

NOTHING = "–"  # noqa: RUF001  (an en dash, which readers take for "no value")

ALIKE = "†"
"""Marks what cannot be told from the best."""

DOUBTFUL = "‡"
"""Marks a time that does not hold up."""


@dataclass(frozen=True)
class Column:
    """A column as text, top to bottom.

    Attributes:
        heading: plain text, unique in its table.
        cells: plain text.
        brief: the same without intervals, for where there is little room.
        best: which cells hold the best value.
        number: whether it is aligned to the right.
    """

    heading: str
    cells: list[str]
    brief: list[str]
    best: list[bool]
    number: bool = True


def columns(section: Section) -> list[Column]:
    """The table of a protocol. What is the same in all rows (run, device, seeds, ...) is left to the notes."""
    rows = section.records
    shown = [
        _text("Sampler", [f"{row['sampler']}{' (baseline)' if row['baseline'] else ''}" for row in rows]),
        _text("Grid", [row["grid"] for row in rows]),
        *(_text(heading, [_word(row[name]) for row in rows]) for name, heading in _several(section.rows).items()),
        _number("Steps", rows, lambda row: f"{row['steps']:,}"),
        _number("NFE", rows, lambda row: f"{row['nfe']:,.6g}" if known(row["nfe"]) else NOTHING),
    ]
    if section.rows["seeds"].max() > 1:
        shown.append(_number("Seeds", rows, lambda row: str(row["seeds"])))
    if section.rows["s_per_image_median"].notna().any():
        shown.append(milliseconds(rows))
    if section.rows["overhead_fraction"].notna().any():
        shown.append(_number("Overhead", rows, overhead))
    shown += [_number(heading, rows, cell) for name, (heading, cell) in _SPEED.items() if _has(section.rows, name)]
    return [*shown, *(_quality(each, rows) for each in measured(section))]


_HEADINGS = {
    "model": "Model",
    "mode": "Mode",
    "clipping": "Clip",
    "run": "Run",
    "device_name": "Device",
    "batch": "Batch",
}
_TIMED = {"timed_batch": "Timed batch"}


def _several(rows: pd.DataFrame) -> dict[str, str]:
    """The columns that tell rows apart, with their headings; what was timed only where what was asked for differs."""
    names = {name: heading for name, heading in _HEADINGS.items() if rows[name].nunique(dropna=False) > 1}
    sizes = rows[["batch", "timed_batch"]].dropna().drop_duplicates()
    return names | (_TIMED if len(sizes) > sizes["batch"].nunique() else {})


def _word(value: Any) -> str:
    """What a row is called by; a column of numbers that some rows lack holds floats."""
    if isinstance(value, float):
        return f"{int(value)}" if known(value) else NOTHING
    return str(value)


def _has(rows: pd.DataFrame, name: str) -> bool:
    return name in rows.columns and bool(rows[name].notna().any())


def measured(section: Section) -> list[Quality]:
    """The quality columns that some row of a section has."""
    return [each for each in quality_columns(section.rows.columns) if section.rows[each.key].notna().any()]


def _text(heading: str, values: list[Any]) -> Column:
    texts = [str(value) for value in values]
    return Column(heading, texts, texts, [False] * len(texts), number=False)


def _number(heading: str, rows: list[Row], cell: Callable[[Row], str]) -> Column:
    texts = [cell(row) for row in rows]
    return Column(heading, texts, texts, [False] * len(texts))


def milliseconds(rows: list[Row]) -> Column:
    """Milliseconds an image, with half the interval of the median where there are rounds enough for one."""
    means = [significant(1000 * row["s_per_image_median"]) if _timed(row) else NOTHING for row in rows]
    cells = [f"{mean} ± {_half(row)}" if _half(row) else mean for mean, row in zip(means, rows, strict=True)]
    marks = [DOUBTFUL if invalid(row) else "" for row in rows]
    return Column(
        "ms/image",
        [f"{cell}{' ' * bool(mark)}{mark}" for cell, mark in zip(cells, marks, strict=True)],
        [mean + mark for mean, mark in zip(means, marks, strict=True)],
        [False] * len(rows),
    )


def _timed(row: Row) -> bool:
    return known(row["s_per_image_median"])


def _half(row: Row) -> str:
    """Half the bootstrap interval of the median, ms an image; nothing where rounds are too few for it."""
    if not _timed(row) or row["timed_rounds"] < ENOUGH:
        return ""
    half = 500 * (row["latency_s_ci_high"] - row["latency_s_ci_low"]) / row["timed_batch"]
    return spread(half, decimals_for(1000 * row["s_per_image_median"]))


def _first_latency(row: Row) -> str:
    seconds = row["latency_1_s_median"]
    return f"{significant(1000 * seconds)} ms" if known(seconds) else NOTHING


def _best_throughput(row: Row) -> str:
    rate, batch = row["best_throughput_img_per_s"], row["best_batch"]
    return f"{significant(rate)} at {int(batch):,}" if known(rate) and known(batch) else NOTHING


def _energy(row: Row) -> str:
    joules = row["energy_j_per_image"]
    return significant(joules) if known(joules) else NOTHING


_SPEED: dict[str, tuple[str, Callable[[Row], str]]] = {
    "latency_1_s_median": ("Latency at 1", _first_latency),
    "best_throughput_img_per_s": ("img/s at best batch", _best_throughput),
    "energy_j_per_image": ("J/image", _energy),
}
"""Columns of speed that only stand where they were measured: where a study swept the batch, or the device says."""

SPEED_HEADINGS = tuple(heading for heading, _ in _SPEED.values())


def overhead(row: Row) -> str:
    """The share of a row's time outside the network, in per cent."""
    fraction = row["overhead_fraction"]
    if not known(fraction):
        return NOTHING
    return percent(round(fraction, 2) + 0.0) if fraction >= 0.0995 else f"{100 * fraction:.1f} %"


def _quality(quality: Quality, rows: list[Row]) -> Column:
    """A quality column; all cells that read like the best value are best, and what cannot be told from it is marked."""
    values = [quality.scale * row[quality.key] if known(row[quality.key]) else None for row in rows]
    decimals = quality.decimals
    if decimals is None:
        smallest = min((abs(value) for value in values if value), default=1.0)
        decimals = min(4, decimals_for(smallest))
    means = [NOTHING if value is None else _mean(value, decimals, quality) for value in values]
    best, alike = _ranks(quality, rows, means)
    marks = [ALIKE if mark else "" for mark in alike]
    halves = [quality.scale * row[quality.ci] if known(row.get(quality.ci)) else None for row in rows]
    cells = [
        mean if half is None or mean == NOTHING else f"{mean} ± {_spread(half, decimals, quality)}"
        for mean, half in zip(means, halves, strict=True)
    ]
    return Column(
        quality.heading,
        [f"{cell}{' ' * bool(mark)}{mark}" for cell, mark in zip(cells, marks, strict=True)],
        [mean + mark for mean, mark in zip(means, marks, strict=True)],
        best,
    )


def _ranks(quality: Quality, rows: list[Row], means: list[str]) -> tuple[list[bool], list[bool]]:
    """Which rows are best, and which others cannot be told from the best, among those that can be ranked together."""
    best, alike = [False] * len(rows), [False] * len(rows)
    groups: dict[tuple[str, ...], list[int]] = {}
    for n, row in enumerate(rows):
        if known(row[quality.key]):
            groups.setdefault(tuple(str(row.get(name)) for name in quality.within), []).append(n)
    for members in groups.values():
        sign = 1 if quality.better == "min" else -1
        first = min(members, key=lambda n: sign * float(rows[n][quality.key]))
        others = [n for n in members if means[n] != means[first]]
        apart = told_apart(rows[first], [rows[n] for n in others], quality)
        for n in members:
            best[n] = n not in others
        for n, each in zip(others, apart, strict=True):
            alike[n] = each is False
    return best, alike


def _mean(value: float, decimals: int, quality: Quality) -> str:
    return scientific(value) if quality.scientific else f"{value:,.{decimals}f}"


def _spread(value: float, decimals: int, quality: Quality) -> str:
    return scientific(value, 2) if quality.scientific else spread(value, decimals)


def spread(value: float, decimals: int) -> str:
    """Half an interval to the decimals of its mean, or to its own first digit: 0.0003 is not 0.000."""
    return f"{value:,.{max(decimals, decimals_for(value, 1)) if value else decimals}f}"
