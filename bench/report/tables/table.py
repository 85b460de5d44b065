"""The table of a section, as columns of text for every rendering."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from bench.report.data.columns import Row, guidance_column, has, milliseconds
from bench.report.data.distances import Quality, quality_columns
from bench.report.data.fits import is_fitted
from bench.report.data.gaps import told_apart
from bench.report.data.section import Section
from bench.report.data.text import (
    ALIKE,
    NOTHING,
    Column,
    decimals_for,
    known,
    marked,
    numbers,
    percent,
    scientific,
    significant,
    spread,
    words,
)

_HEADINGS = {
    "model": "Model",
    "mode": "Mode",
    "clipping": "Clip",
    "run": "Run",
    "device_name": "Device",
    "batch": "Batch",
}
_TIMED = {"timed_batch": "Timed batch"}


def columns(section: Section) -> list[Column]:
    """The table of a protocol. What is the same in all rows (run, device, seeds, ...) is left to the notes."""
    rows, frame = section.records, section.rows
    shown = [
        words("Sampler", [f"{row['sampler']}{' (baseline)' if row['baseline'] else ''}" for row in rows]),
        words("Grid", [row["grid"] for row in rows]),
        *guidance_column(rows),
        *(words(heading, [_word(row[name]) for row in rows]) for name, heading in _several(frame).items()),
        numbers("Steps", [f"{row['steps']:,}" for row in rows]),
        numbers("NFE", [f"{row['nfe']:,.6g}" if known(row["nfe"]) else NOTHING for row in rows]),
    ]
    if any(row["calls"] != row["nfe"] for row in rows if known(row["nfe"])):
        shown.append(numbers("Calls", [f"{row['calls']:,.6g}" if known(row["calls"]) else NOTHING for row in rows]))
    if has(frame, "fit_nfe"):
        shown.append(numbers("Fit NFE", [f"{row['fit_nfe']:,.0f}" if is_fitted(row) else NOTHING for row in rows]))
    if frame["seeds"].max() > 1:
        shown.append(numbers("Seeds", [str(row["seeds"]) for row in rows]))
    if section.timed:
        shown.append(milliseconds(rows))
    if has(frame, "overhead_fraction"):
        shown.append(numbers("Overhead", [overhead(row) for row in rows]))
    for name, (heading, cell) in _SPEED.items():
        if has(frame, name):
            shown.append(numbers(heading, [cell(row) if known(row[name]) else NOTHING for row in rows]))
    return [*shown, *(_quality(each, rows) for each in measured(section))]


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


def measured(section: Section) -> list[Quality]:
    """The quality columns that some row of a section has."""
    return [each for each in quality_columns(section.rows.columns) if has(section.rows, each.key)]


def overhead(row: Row) -> str:
    """The share of a row's time outside the network, in per cent."""
    fraction = row["overhead_fraction"]
    if not known(fraction):
        return NOTHING
    return percent(round(fraction, 2) + 0.0) if fraction >= 0.0995 else f"{100 * fraction:.1f} %"


def _best_throughput(row: Row) -> str:
    rate, batch = row["best_throughput_img_per_s"], row["best_batch"]
    return f"{significant(rate)} at {int(batch):,}" if known(batch) else NOTHING


_SPEED: dict[str, tuple[str, Callable[[Row], str]]] = {
    "latency_1_s_median": ("Latency at 1", lambda row: f"{significant(1000 * row['latency_1_s_median'])} ms"),
    "best_throughput_img_per_s": ("img/s at best batch", _best_throughput),
    "energy_j_per_image": ("J/image", lambda row: significant(row["energy_j_per_image"])),
}
"""Columns of speed that only stand where they were measured: where a study swept the batch, or the device says."""

SPEED_HEADINGS = tuple(heading for heading, _ in _SPEED.values())


def _quality(quality: Quality, rows: list[Row]) -> Column:
    """A quality column; all cells that read like the best value are best, and what cannot be told from it is marked."""
    means, halves = value_texts(quality, rows)
    best, apart = ranks(quality, rows, means)
    marks = [ALIKE if each is False else "" for each in apart]
    return marked(quality.heading, means, halves, marks, best, [each is not None for each in apart])


def value_texts(quality: Quality, rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    """The values of a quality, with as many decimals each, and half their intervals; nothing where there is none."""
    values = [quality.scale * row[quality.key] if known(row[quality.key]) else None for row in rows]
    decimals = quality.decimals
    if decimals is None:
        decimals = min(4, decimals_for(min((abs(value) for value in values if value), default=1.0)))
    means, halves = [], []
    for value, row in zip(values, rows, strict=True):
        half = quality.scale * row[quality.ci] if value is not None and known(row.get(quality.ci)) else None
        if value is None:
            means.append(NOTHING)
        else:
            means.append(scientific(value) if quality.scientific else f"{value:,.{decimals}f}")
        if half is None:
            halves.append("")
        else:
            halves.append(scientific(half, 2) if quality.scientific else spread(half, decimals))
    return means, halves


def ranks(
    quality: Quality, rows: Sequence[Row], means: Sequence[str], within: Sequence[str] = ()
) -> tuple[list[bool], list[bool | None]]:
    """Which rows are best, and whether others can be told from the best, among those that can be ranked together; None
    of what is best, has no value, or is not tested.

    Args:
        quality: what they are ranked by.
        rows: some of a table.
        means: their values as they are shown.
        within: rows are ranked only with those alike in these columns, besides those of the quality.
    """
    best, found = [False] * len(rows), list[bool | None]([None] * len(rows))
    groups: dict[tuple[str, ...], list[int]] = {}
    for n, row in enumerate(rows):
        if known(row[quality.key]):
            groups.setdefault(tuple(str(row.get(name)) for name in (*quality.within, *within)), []).append(n)
    for members in groups.values():
        first = min(members, key=lambda n: quality.order(rows[n]))
        others = [n for n in members if means[n] != means[first]]
        apart = told_apart(rows[first], [rows[n] for n in others], quality)
        for n in members:
            best[n] = n not in others
        for n, each in zip(others, apart, strict=True):
            found[n] = each
    return best, found
