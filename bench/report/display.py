"""What the table shows and how: the only place that decides it, so that its four renderings cannot disagree."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.report.columns import (
    SMALL_N,
    Quality,
    Row,
    decimals_for,
    known,
    percent,
    quality_columns,
    rows_of,
    significant,
)
from bench.report.summary import Section

NOTHING = "–"  # noqa: RUF001  (an en dash, which readers take for "no value")


@dataclass(frozen=True)
class Column:
    """A column as text, top to bottom.

    Attributes:
        heading: plain text, unique in its table.
        cells: plain text.
        brief: the same without standard deviations, for where there is little room.
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
    rows = rows_of(section.rows)
    several = [name for name in _HEADINGS if section.rows[name].nunique(dropna=False) > 1]
    shown = [
        _text("Sampler", [f"{row['sampler']}{' (baseline)' if row['baseline'] else ''}" for row in rows]),
        _text("Grid", [row["grid"] for row in rows]),
        *(_text(_HEADINGS[name], [row[name] for row in rows]) for name in several),
        _number("Steps", rows, lambda row: f"{row['steps']:,}"),
        _number("NFE", rows, lambda row: f"{row['nfe']:,.6g}" if known(row["nfe"]) else NOTHING),
    ]
    if section.rows["seeds"].max() > 1:
        shown.append(_number("Seeds", rows, lambda row: str(row["seeds"])))
    if section.rows["s_per_image_median"].notna().any():
        shown.append(_number("ms/image", rows, _milliseconds))
    if section.rows["overhead_fraction"].notna().any():
        shown.append(_number("Overhead", rows, overhead))
    return [*shown, *(_quality(each, rows) for each in measured(section))]


_HEADINGS = {"model": "Model", "run": "Run", "device_name": "Device", "dtype": "Precision", "batch": "Batch"}


def measured(section: Section) -> list[Quality]:
    """The quality columns that some row of a section has."""
    return [each for each in quality_columns(section.rows.columns) if section.rows[each.key].notna().any()]


def _text(heading: str, values: list[Any]) -> Column:
    texts = [str(value) for value in values]
    return Column(heading, texts, texts, [False] * len(texts), number=False)


def _number(heading: str, rows: list[Row], cell: Callable[[Row], str]) -> Column:
    texts = [cell(row) for row in rows]
    return Column(heading, texts, texts, [False] * len(texts))


def _milliseconds(row: Row) -> str:
    seconds = row["s_per_image_median"]
    return significant(1000 * seconds) if known(seconds) else NOTHING


def overhead(row: Row) -> str:
    """The share of a row's time outside the network, in per cent."""
    fraction = row["overhead_fraction"]
    if not known(fraction):
        return NOTHING
    return percent(round(fraction, 2) + 0.0) if fraction >= 0.0995 else f"{100 * fraction:.1f} %"


def _quality(quality: Quality, rows: list[Row]) -> Column:
    """A quality column; all cells that read like the best value are best."""
    values = [quality.scale * row[quality.key] if known(row[quality.key]) else None for row in rows]
    present = [value for value in values if value is not None]
    decimals = quality.decimals
    if decimals is None:
        decimals = min(4, decimals_for(min((abs(value) for value in present if value), default=1.0)))
    best = f"{(min if quality.better == 'min' else max)(present):,.{decimals}f}"
    means = [NOTHING if value is None else f"{value:,.{decimals}f}" for value in values]
    spreads = [quality.scale * row[quality.std] if known(row.get(quality.std)) else None for row in rows]
    cells = [
        mean if spread is None or mean == NOTHING else f"{mean} ± {_spread(spread, decimals)}"
        for mean, spread in zip(means, spreads, strict=True)
    ]
    return Column(quality.heading, cells, means, [mean == best for mean in means])


def _spread(value: float, decimals: int) -> str:
    """A standard deviation to the decimals of its mean, or to its own first digit: 0.0003 is not 0.000."""
    return f"{value:,.{max(decimals, decimals_for(value, 1)) if value else decimals}f}"


def notes(section: Section, where: str = "table") -> list[str]:
    """What a reader of a section's table must know, in sentences; the warning first."""
    clocks = "; ".join(clock for clock, _ in section.clocks())
    lines = [
        small_n(section.images, where),
        f"Protocol: {section.label}.",
        f"Time: median of whole calls, {clocks}. Overhead: share of it outside the network.",
        spread_note(section.rows),
    ]
    return [line for line in lines if line is not None]


def small_n(images: int, where: str) -> str | None:
    """The warning that every table and figure with few images carries."""
    if images >= SMALL_N:
        return None
    return f"Small N: {images:,} images a row; FD is biased upwards, compare rows of this {where} only."


def spread_note(rows: pd.DataFrame) -> str | None:
    """What the standard deviations of some rows are over; None if they have none."""
    within = "over subsets (KID), splits (IS) or by the jackknife (FD) of one seed's images"
    seeds = sorted(set(rows["seeds"].tolist()))
    if seeds == [1]:
        stated = [name for name in rows.columns if str(name).endswith("_std") and rows[name].notna().any()]
        return f"± is the standard deviation {within}." if stated else None
    counts = " or ".join(str(count) for count in seeds if count > 1)
    tail = f"; in rows of one seed, {within}" if seeds[0] == 1 else ""
    return f"± is the standard deviation over {counts} seeds{tail}."
