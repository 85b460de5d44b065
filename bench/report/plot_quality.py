"""Quality against cost: what a sampler's steps buy, in network evaluations and in time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from bench.report.answer import Answer
from bench.report.columns import Row, fd_label, known, percent, rows_of, setting
from bench.report.style import (
    GREY,
    INK,
    SMALL,
    TEXT,
    TINY,
    Series,
    all_series,
    empty,
    log_axis,
    new_figure,
    panel_title,
    plain_axes,
    several,
)
from bench.report.summary import Section, Summary


@dataclass(frozen=True)
class Cost:
    """A cost to draw quality against: a column, times a scale, and the column that marks its Pareto front."""

    column: str
    scale: float
    label: str
    front: str

    def of(self, row: Row) -> float:
        return float(self.scale * row[self.column])


_NFE = Cost("nfe", 1.0, "network evaluations an image (NFE)", "pareto_nfe")
_TIME = Cost("s_per_image_median", 1e3, "milliseconds an image", "pareto_seconds")


@dataclass(frozen=True)
class _Panel:
    section: Section
    rows: pd.DataFrame
    clock: str | None
    answer: Answer


def quality_vs_nfe(summary: Summary) -> Figure:
    """Frechet distance against network evaluations, a panel for each protocol."""
    panels = [_Panel(each, each.rows, None, each.answers[0]) for each in summary.sections]
    return _figure(summary, panels, _NFE)


def quality_vs_seconds(summary: Summary) -> Figure:
    """Frechet distance against time, a panel for each protocol and each device, precision and batch."""
    panels = [
        _Panel(section, rows, clock, answer)
        for section in summary.sections
        for (clock, rows), answer in zip(section.clocks(), section.answers, strict=True)
    ]
    return _figure(summary, panels, _TIME)


def _figure(summary: Summary, panels: Sequence[_Panel], cost: Cost) -> Figure:
    # a panel is as high as its legend, which has a line for each series and six for all else
    heights = [max(3.9, 0.7 + 0.175 * (6 + len(all_series(panel.rows, summary)))) for panel in panels] or [3.9]
    figure = new_figure(summary, 0.6 + sum(heights))
    grid = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)
    if not panels:
        empty(grid[0, 0], "nothing to draw: no cell succeeded")
    for axes, panel in zip(grid[:, 0], panels, strict=False):
        panel_title(axes, panel.section, panel.clock)
        if panel.section.fd is None:
            empty(axes, "nothing to draw: no Frechet distance was measured")
        else:
            _draw(axes, panel, cost, panel.section.fd, summary)
    return figure


def _draw(axes: Axes, panel: _Panel, cost: Cost, fd: str, summary: Summary) -> None:
    drawn = _drawable(rows_of(panel.rows), cost, fd)
    if not drawn:
        empty(axes, "nothing to draw: no positive distance was measured")
        return
    plain_axes(axes)
    log_axis(axes, "x", [cost.of(row) for row in drawn])
    heights = [row[fd] for row in drawn]
    floor = panel.section.floor
    log_axis(axes, "y", [*heights, floor] if floor is not None and floor > 0 else heights)
    for each in all_series(panel.rows, summary):
        _line(axes, each, cost, fd)
    _highlights(axes, panel, cost, fd)
    _references(axes, panel, fd)
    _front(axes, [row for row in drawn if row[cost.front]], cost, fd)
    left_out = len(panel.rows) - len(drawn)
    axes.set_xlabel(cost.label, fontsize=TEXT, color=INK)
    axes.set_ylabel(f"{fd_label(fd)}, lower is better", fontsize=TEXT, color=INK)
    title = f"{left_out} not drawn: no positive\ndistance or cost" if left_out else None
    _legend(axes, title)


def _legend(axes: Axes, title: str | None) -> None:
    """Beside the data, the samplers first."""
    pairs = list(zip(*axes.get_legend_handles_labels(), strict=True))
    pairs.sort(key=lambda pair: not isinstance(pair[0], ErrorbarContainer))
    handles, labels = [handle for handle, _ in pairs], [label for _, label in pairs]
    legend = axes.legend(
        handles, labels, loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=SMALL, frameon=False, alignment="left"
    )
    if title is not None:
        legend.set_title(title, FontProperties(size=TINY))


def _drawable(rows: list[Row], cost: Cost, fd: str) -> list[Row]:
    """Rows that have a place on logarithmic axes."""
    return [row for row in rows if all(known(row[key]) and row[key] > 0 for key in (cost.column, fd))]


def _references(axes: Axes, panel: _Panel, fd: str) -> None:
    """The baseline's level, what is still good enough, and the distance of real data."""
    baseline, tolerance = panel.answer.baseline, panel.answer.tolerance
    if baseline is not None and known(baseline[fd]) and baseline[fd] > 0:
        level = baseline[fd]
        axes.axhspan(
            level,
            level * (1 + tolerance),
            color=GREY,
            alpha=0.18,
            linewidth=0,
            label=f"within {percent(tolerance)} of it",
        )
        axes.axhline(level, color=INK, linewidth=0.9, linestyle=(0, (5, 3)), zorder=1.5)
    floor = panel.section.floor
    if floor is not None and floor > 0:
        axes.axhline(floor, color=GREY, linewidth=0.9, linestyle=":", zorder=1.5, label="real data vs real data")


def _front(axes: Axes, front: list[Row], cost: Cost, fd: str) -> None:
    """The Pareto front as a staircase: between two settings nothing better than the left one was measured."""
    front = sorted(front, key=cost.of)
    x, y = [cost.of(row) for row in front], [row[fd] for row in front]
    axes.step(
        x, y, where="post", color="#C9C9C9", linewidth=3, solid_capstyle="round", zorder=1.8, label="Pareto front"
    )


def _line(axes: Axes, each: Series, cost: Cost, fd: str) -> None:
    rows = _drawable(each.rows, cost, fd)
    if not rows:
        return
    x, y = np.array([cost.of(row) for row in rows]), np.array([row[fd] for row in rows], dtype=float)
    spread = np.array([row[f"{fd}_std"] if known(row[f"{fd}_std"]) else 0.0 for row in rows])
    axes.errorbar(
        x,
        y,
        # a bar to zero or below has no end on a logarithmic axis
        yerr=np.array([np.minimum(spread, 0.999 * y), spread]) if spread.any() else None,
        color=each.look.colour,
        marker=each.look.marker,
        linestyle=each.look.line,
        linewidth=1.1,
        markersize=each.look.size,
        markeredgecolor="white",
        markeredgewidth=0.6,
        elinewidth=0.9,
        capsize=2,
        zorder=3,
        label=_wrapped(each.label),
    )


def _highlights(axes: Axes, panel: _Panel, cost: Cost, fd: str) -> None:
    """The star of the baseline and a ring around the answer."""
    answer = panel.answer
    if answer.baseline is not None and known(answer.baseline[fd]) and answer.baseline[fd] > 0:
        at, label = (
            ([cost.of(answer.baseline)], [answer.baseline[fd]]),
            f"baseline: {_wrapped(_short(answer.baseline, panel))}",
        )
        axes.scatter(*at, marker="*", s=150, c=INK, edgecolors="white", linewidths=0.7, zorder=5, label=label)
    if answer.winner is not None and answer.winner[fd] > 0:
        x, label = cost.of(answer.winner), f"fastest good enough:\n{_wrapped(_short(answer.winner, panel))}"
        axes.scatter(
            [x], [answer.winner[fd]], s=110, facecolors="none", edgecolors=INK, linewidths=1.2, zorder=5, label=label
        )


def _wrapped(label: str) -> str:
    """A long specification on two lines: a wide legend would take its width from the axes."""
    return label if len(label) <= 24 else label.replace("[", "\n[", 1)


def _short(row: Row, panel: _Panel) -> str:
    return setting(row) if "grid" in several(panel.rows) else f"{row['sampler']} at {row['steps']:,} steps"
