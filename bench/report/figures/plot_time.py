"""Where the time goes: inside the network, or in the sampler around it."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.escape import figure_text
from bench.report.data.columns import Row, clip_suffix, guided, with_words, without_scale
from bench.report.data.section import Section, was_timed
from bench.report.data.series import Series, all_series, answer_mode, family_order, in_one_mode, usual
from bench.report.data.summary import Summary
from bench.report.data.text import known, significant, steps_words
from bench.report.data.view import Style
from bench.report.figures.panels import panel_title
from bench.report.figures.style import (
    ACROSS,
    FAINT,
    HALO,
    INK,
    SMALL,
    TINY,
    WIDTH,
    axis_titles,
    empty,
    new_figure,
    plain_axes,
    text_width,
)
from bench.report.tables.table import overhead

_INSIDE, _OUTSIDE = "#9DB8CC", "#D55E00"
_BAR = 0.18
"""Inches a bar."""
_HEADING = 1.35
"""Bars that a heading has the height of."""
_MOST = 45
"""Bars and headings in one panel; where there are more, each sampler shows only its ends, or only one setting."""
_MOST_OF: dict[Style, int] = {"page": 1_000_000, "paper": 32, "slide": 22}
"""The same in a figure, however many panels it has."""
_BEYOND = 3.0
"""How many times the median a bar is long at most; what is much longer is cut off, and an arrow says so."""
_ROOM = 1.32
"""How many times the longest bar the axis is long: what stands at a bar's end has room."""
_CHARACTER = 0.054
"""Inches of a character of the title."""
_USUAL = 20
"""Evaluations of the one setting, about."""


class _Group(NamedTuple):
    """Bars under a heading, each with what stands beside it."""

    label: str
    bars: list[tuple[str, Row]]


def time_split(summary: Summary) -> Figure:
    """Bars of the time an evaluation and image, split; what a whole image takes stands at the bar's end.

    Divided by evaluations, settings of 5 and of 1000 steps fit on one scale, and what a sampler adds
    shows as a longer bar. In the mode of the answer, where there are several.
    """
    clocks = [(section, *each) for section in summary.sections for each in _clocks(section, summary)]
    most = max(8, _MOST_OF[summary.view.style] // max(1, len(clocks)))
    panels = [(section, *_groups(all_series(rows, section, summary), words, most)) for section, rows, words in clocks]
    bars = [1 + _length(groups) for _, groups, _ in panels] or [5]
    figure = new_figure(summary, 0.9 + sum(0.8 + _BAR * count for count in bars), paper=ACROSS)
    grid = figure.subplots(len(bars), 1, squeeze=False, height_ratios=bars)
    if not panels:
        empty(grid[0, 0], f"nothing to draw: {'nothing was timed' if summary.sections else 'no cell succeeded'}")
    for axes, (section, groups, subtitle) in zip(grid[:, 0], panels, strict=False):
        words = f"{subtitle}\nAt the end of a bar: overhead, time of a whole image"
        panel_title(axes, section, words, width=_characters(groups))
        if groups:
            _draw(axes, groups)
        else:
            empty(axes, "nothing to draw: the time inside the network was not measured")
    return figure


def _clocks(section: Section, summary: Summary) -> Iterator[tuple[pd.DataFrame, str]]:
    """Rows with comparable times in one mode, that of the answer where they have it, and what they were measured on."""
    for (clock, found), answer in zip(section.clocks(), section.answers, strict=True):
        if not was_timed(found):
            continue
        rows = in_one_mode(found, answer_mode(answer, summary))
        mode = usual(rows).get("mode", "" if found["mode"].nunique() == 1 else rows["mode"].iloc[0])
        yield rows, f"{clock}, {mode} unless named" if mode else clock


def _characters(groups: list[_Group]) -> int:
    """Of a line of the title, which begins right of the names of bars."""
    names = [text_width(figure_text(text), TINY) for group in groups for text, _ in group.bars]
    return min(86, int((WIDTH - 0.1 - max(names, default=0.0)) / _CHARACTER))


def _length(groups: list[_Group]) -> float:
    return sum(_HEADING + len(group.bars) for group in groups)


def _groups(found: list[Series], clock: str, most: int) -> tuple[list[_Group], str]:
    """The rows whose time inside the network is known, as many as can be read, and which those are."""
    most = min(most, _MOST)
    timed = [(each, [row for row in each.rows if known(row["overhead_fraction"]) and row["nfe"] > 0]) for each in found]
    timed = [(each, rows) for each, rows in timed if rows]
    groups = [_Group(each.label, list(map(_with_steps, rows))) for each, rows in timed]
    if _length(groups) <= most:
        return groups, clock
    groups = [_Group(each.label, list(map(_with_steps, _ends(rows)))) for each, rows in timed]
    if _length(groups) <= most:
        return groups, f"{clock}; of each sampler only the fewest and the most steps"
    scale = " and at its first scale" if any(guided(row) for _, rows in timed for row in rows) else ""
    groups, left_out = _one_each(timed, most)
    fewest = f", without the {left_out:,} of the least overhead" if left_out else ""
    return (
        groups,
        f"{clock}; of each sampler the setting nearest {_USUAL} evaluations, on its first grid{scale}{fewest}",
    )


def _with_steps(row: Row) -> tuple[str, Row]:
    return f"{steps_words(row['steps'])}{' (baseline)' if row['baseline'] else ''}", row


def _ends(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["baseline"] or row is rows[0] or row is rows[-1]]


def _one_each(timed: list[tuple[Series, list[Row]]], most: int) -> tuple[list[_Group], int]:
    """One setting of each sampler, model, mode and guidance of whatever scale, under its family; the most overhead
    first, and as many as fit; how many do not.
    """
    settings: dict[tuple[str, ...], Row] = {}
    # the first grid's, but the baseline's own line only where there is no other
    for _, rows in sorted(timed, key=lambda each: all(row["baseline"] for row in each[1])):
        nearest = min(rows, key=lambda row: abs(math.log(row["nfe"] / _USUAL)))
        nearest = nearest | {"guidance": without_scale(str(nearest["guidance"]))}
        names = ("sampler", "clipping", "guidance", "model_sha256")
        settings.setdefault(tuple(nearest[name] for name in names), nearest)
    every = sorted(settings.values(), key=lambda row: -float(row["overhead_fraction"]))
    chosen = every[:most]
    several = len({row["model_sha256"] for row in settings.values()}) > 1
    groups = {name: _Group(name, []) for name in family_order(row["family"] for row in chosen)}
    for row in chosen:
        text = f"{row['sampler']}{with_words(row, model=several)}{clip_suffix(row)}, {steps_words(row['steps'])}"
        groups[row["family"]].bars.append((text, row))
    return list(groups.values()), len(every) - len(chosen)


def _draw(axes: Axes, groups: list[_Group]) -> None:
    plain_axes(axes)
    bars = [row for group in groups for _, row in group.bars]
    longest = _longest([_length_of(row) for row in bars])
    axes.set_xlim(0, _ROOM * longest)
    y, ticks = 0.0, list[float]()
    for group in groups:
        style: dict[str, Any] = {"fontsize": SMALL, "fontweight": "bold", "color": INK, "va": "center"}
        axes.text(0.004 * longest, y, figure_text(group.label), path_effects=HALO, **style)
        ticks += [y + n for n in range(1, len(group.bars) + 1)]
        y += len(group.bars) + _HEADING
    _bars(axes, ticks, bars, longest)
    axes.set_ylim(y - 0.7, -2.6)
    axes.set_yticks(ticks, [figure_text(text) for group in groups for text, _ in group.bars])
    axes.tick_params(axis="y", length=0, labelsize=TINY)
    axes.spines["left"].set_visible(False)
    axes.xaxis.grid(True, color=FAINT, linewidth=0.6)
    axis_titles(axes, "milliseconds an image and network evaluation")
    axes.legend(loc="upper left", ncols=2, fontsize=SMALL, framealpha=1, edgecolor="none", borderaxespad=0.2)


def _length_of(row: Row) -> float:
    """Milliseconds an image and evaluation."""
    return float(1e3 * row["s_per_image_median"] / row["nfe"])


def _longest(lengths: Sequence[float]) -> float:
    """What no bar is longer than: the axis ends `_ROOM` times as far, and a bar that would end on it is not cut off."""
    longest = min(max(lengths), _BEYOND * float(np.median(lengths)))
    for length in sorted(lengths):
        longest = length if longest < length <= _ROOM * longest else longest
    return longest


def _bars(axes: Axes, places: Sequence[float], rows: Sequence[Row], longest: float) -> None:
    totals = np.array([_length_of(row) for row in rows])
    shown = np.minimum(totals, longest)  # a bar that is cut off keeps its proportions
    # two clocks may differ by less than nothing
    outside = shown * np.clip([row["overhead_fraction"] for row in rows], 0.0, 1.0)
    axes.barh(places, shown - outside, height=0.78, color=_INSIDE, label="inside the network")
    axes.barh(places, outside, left=shown - outside, height=0.78, color=_OUTSIDE, label="sampler overhead")
    for y, row, total, end in zip(places, rows, totals.tolist(), shown.tolist(), strict=True):
        cut = f"\N{RIGHTWARDS ARROW} {significant(total)}; " if total > end else ""
        text = f"{cut}{overhead(row)}, {significant(1e3 * row['s_per_image_median'])} ms"
        axes.text(end + 0.012 * longest, y, text, fontsize=TINY, color=INK, va="center", path_effects=HALO)
