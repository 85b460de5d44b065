"""Where the time goes: inside the network, or in the sampler around it."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.columns import Row, known, significant
from bench.report.display import overhead
from bench.report.style import (
    FAINT,
    GREY,
    INK,
    SMALL,
    TEXT,
    TINY,
    Series,
    all_series,
    empty,
    new_figure,
    panel_title,
    plain_axes,
)
from bench.report.summary import Summary

_INSIDE, _OUTSIDE = "#9DB8CC", "#D55E00"
_BAR = 0.19
"""Inches a bar."""
_MOST = 48
"""Bars in one panel; where there are more, each sampler shows only its fewest and most steps."""


def time_split(summary: Summary) -> Figure:
    """Bars of the time an evaluation and image, split; what a whole image takes stands at the bar's end.

    Divided by evaluations, settings of 5 and of 1000 steps fit on one scale, and what a sampler adds
    shows as a longer bar.
    """
    panels = [
        (section, *_groups(all_series(rows, summary), clock))
        for section in summary.sections
        for clock, rows in section.clocks()
    ]
    bars = [1 + sum(1.35 + len(rows) for _, rows in groups) for _, groups, _ in panels] or [5]
    figure = new_figure(summary, 0.9 + sum(0.8 + _BAR * count for count in bars))
    grid = figure.subplots(len(bars), 1, squeeze=False, height_ratios=bars)
    if not panels:
        empty(grid[0, 0], "nothing to draw: no cell succeeded")
    for axes, (section, groups, subtitle) in zip(grid[:, 0], panels, strict=False):
        panel_title(axes, section, subtitle)
        if groups:
            _draw(axes, groups)
        else:
            empty(axes, "nothing to draw: the time inside the network was not measured")
    return figure


def _groups(found: list[Series], clock: str) -> tuple[list[tuple[str, list[Row]]], str]:
    """Labels with the rows whose time inside the network is known, as many as can be read, and what they are."""
    timed = [[row for row in each.rows if known(row["overhead_fraction"]) and row["nfe"] > 0] for each in found]
    groups = [(each.label, rows) for each, rows in zip(found, timed, strict=True) if rows]
    if sum(len(rows) for _, rows in groups) <= _MOST:
        return groups, clock
    ends = [
        (label, [row for row in rows if row["baseline"] or row is rows[0] or row is rows[-1]]) for label, rows in groups
    ]
    return ends, f"{clock}; of each sampler only the fewest and the most steps"


def _draw(axes: Axes, groups: list[tuple[str, list[Row]]]) -> None:
    plain_axes(axes)
    longest = max(1e3 * row["s_per_image_median"] / row["nfe"] for _, rows in groups for row in rows)
    axes.set_xlim(0, 1.32 * longest)
    y, ticks = 0.0, []
    for label, rows in groups:
        axes.text(0.004 * longest, y, label, fontsize=SMALL, fontweight="bold", color=INK, va="center")
        for row in rows:
            y += 1
            _bar(axes, y, row, longest)
            ticks.append((y, f"{row['steps']:,}{' (baseline)' if row['baseline'] else ''}"))
        y += 1.35
    axes.set_ylim(y - 0.7, -2.6)
    axes.text(
        1.32 * longest,
        -2.05,
        "at the end: overhead, time of a whole image",
        fontsize=TINY,
        color=GREY,
        va="center",
        ha="right",
    )
    axes.set_yticks([at for at, _ in ticks], [text for _, text in ticks])
    axes.tick_params(axis="y", length=0, labelsize=TINY)
    axes.spines["left"].set_visible(False)
    axes.xaxis.grid(True, color=FAINT, linewidth=0.6)
    axes.set_xlabel("milliseconds an image and network evaluation", fontsize=TEXT, color=INK)
    axes.set_ylabel("steps", fontsize=TEXT, color=INK)
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
