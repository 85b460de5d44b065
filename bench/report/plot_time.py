"""Where the time goes: inside the network, or in the sampler around it."""

import math
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.columns import Row, guest, known, mode_words, significant
from bench.report.display import overhead
from bench.report.series import FAMILIES, Series, all_series
from bench.report.style import (
    FAINT,
    INK,
    SMALL,
    TEXT,
    TINY,
    empty,
    new_figure,
    panel_title,
    plain_axes,
)
from bench.report.summary import Summary

_INSIDE, _OUTSIDE = "#9DB8CC", "#D55E00"
_BAR = 0.18
"""Inches a bar."""
_MOST = 48
"""Bars in one panel; where there are more, each sampler shows only its fewest and most steps, or only one setting."""
_USUAL = 20
"""Evaluations of the one setting, about."""


class _Group(NamedTuple):
    """Bars under a heading, each with what stands beside it."""

    label: str
    bars: list[tuple[str, Row]]


def time_split(summary: Summary) -> Figure:
    """Bars of the time an evaluation and image, split; what a whole image takes stands at the bar's end.

    Divided by evaluations, settings of 5 and of 1000 steps fit on one scale, and what a sampler adds
    shows as a longer bar.
    """
    panels = [
        (section, *_groups(all_series(rows, section, summary), clock))
        for section in summary.sections
        for clock, rows in section.clocks()
    ]
    bars = [1 + sum(1.35 + len(group.bars) for group in groups) for _, groups, _ in panels] or [5]
    figure = new_figure(summary, 0.9 + sum(0.8 + _BAR * count for count in bars))
    grid = figure.subplots(len(bars), 1, squeeze=False, height_ratios=bars)
    if not panels:
        empty(grid[0, 0], "nothing to draw: no cell succeeded")
    for axes, (section, groups, subtitle) in zip(grid[:, 0], panels, strict=False):
        panel_title(axes, section, f"{subtitle}\nat the end of a bar: overhead, time of a whole image", width=86)
        if groups:
            _draw(axes, groups)
        else:
            empty(axes, "nothing to draw: the time inside the network was not measured")
    return figure


def _groups(found: list[Series], clock: str) -> tuple[list[_Group], str]:
    """The rows whose time inside the network is known, as many as can be read, and which those are."""
    timed = [(each, [row for row in each.rows if known(row["overhead_fraction"]) and row["nfe"] > 0]) for each in found]
    timed = [(each, rows) for each, rows in timed if rows]
    if sum(len(rows) for _, rows in timed) <= _MOST:
        return [_Group(each.label, [_with_steps(row) for row in rows]) for each, rows in timed], clock
    if sum(len(_ends(rows)) for _, rows in timed) <= _MOST:
        ends = [_Group(each.label, [_with_steps(row) for row in _ends(rows)]) for each, rows in timed]
        return ends, f"{clock}; of each sampler only the fewest and the most steps"
    return _one_each(timed), f"{clock}; of each sampler the setting nearest {_USUAL} evaluations, on its first grid"


def _with_steps(row: Row) -> tuple[str, Row]:
    return f"{_steps(row)}{' (baseline)' if row['baseline'] else ''}", row


def _steps(row: Row) -> str:
    return f"{row['steps']:,} step{'s' * (row['steps'] != 1)}"


def _ends(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["baseline"] or row is rows[0] or row is rows[-1]]


def _one_each(timed: list[tuple[Series, list[Row]]]) -> list[_Group]:
    """One setting of each sampler, model and mode, under its family; the most overhead first, and as many as fit."""
    settings: dict[tuple[str, str, str], Row] = {}
    for _, rows in timed:
        nearest = min(rows, key=lambda row: abs(math.log(row["nfe"] / _USUAL)))
        settings.setdefault((nearest["sampler"], nearest["model_sha256"], nearest["mode"]), nearest)
    chosen = sorted(settings.values(), key=lambda row: -float(row["overhead_fraction"]))[:_MOST]
    groups = {name: _Group(name, []) for name in [*FAMILIES, *(row["family"] for row in chosen)]}
    for row in chosen:
        model = f" with {row['model']}" if guest(row) else ""
        groups[row["family"]].bars.append((f"{row['sampler']}{model}, {_steps(row)}{mode_words(row['mode'])}", row))
    return [group for group in groups.values() if group.bars]


def _draw(axes: Axes, groups: list[_Group]) -> None:
    plain_axes(axes)
    longest = max(1e3 * row["s_per_image_median"] / row["nfe"] for group in groups for _, row in group.bars)
    axes.set_xlim(0, 1.32 * longest)
    y, ticks = 0.0, []
    for group in groups:
        axes.text(0.004 * longest, y, group.label, fontsize=SMALL, fontweight="bold", color=INK, va="center")
        for text, row in group.bars:
            y += 1
            _bar(axes, y, row, longest)
            ticks.append((y, text))
        y += 1.35
    axes.set_ylim(y - 0.7, -2.6)
    axes.set_yticks([at for at, _ in ticks], [text for _, text in ticks])
    axes.tick_params(axis="y", length=0, labelsize=TINY)
    axes.spines["left"].set_visible(False)
    axes.xaxis.grid(True, color=FAINT, linewidth=0.6)
    axes.set_xlabel("milliseconds an image and network evaluation", fontsize=TEXT, color=INK)
    axes.legend(loc="upper left", ncols=2, fontsize=SMALL, frameon=False, borderaxespad=0.2)


def _bar(axes: Axes, y: float, row: Row, longest: float) -> None:
    total = 1e3 * row["s_per_image_median"] / row["nfe"]
    outside = min(total, max(0.0, total * row["overhead_fraction"]))  # two clocks may differ by less than nothing
    first = not axes.patches
    axes.barh(y, total - outside, height=0.78, color=_INSIDE, label="inside the network" if first else None)
    axes.barh(
        y, outside, left=total - outside, height=0.78, color=_OUTSIDE, label="sampler overhead" if first else None
    )
    text = f"{overhead(row)}, {significant(1e3 * row['s_per_image_median'])} ms"
    axes.text(total + 0.012 * longest, y, text, fontsize=TINY, color=INK, va="center")
