"""Quality against cost: what a sampler's steps buy, in network evaluations and in time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.escape import figure_text
from bench.report.data.answer import Answer
from bench.report.data.columns import Row, known, mode_words, percent, rows_of, setting, significant
from bench.report.data.distances import fd_label, of_key
from bench.report.data.series import BEATEN, FEW, Series, all_series, in_one_mode, several, usual
from bench.report.data.summary import Section, Summary, was_timed
from bench.report.figures.intervals import bar_ends, too_long, with_short_bars
from bench.report.figures.legend import Curve, beaten_names, families, footnote, legend, mark_beyond
from bench.report.figures.style import (
    HALO,
    INK,
    TEXT,
    TINY,
    empty,
    log_axis,
    new_figure,
    panel_title,
    plain_axes,
    wrapped,
)

_ROOM = 0.1
"""Of the width of the axes, what the words of a baseline beyond it take."""
_GOOD, _FRONT = "#FAF0C3", "#C9C9C9"


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
    """Rows of a section in one mode, as far as they have it, and the answer that holds for them."""

    section: Section
    rows: pd.DataFrame
    clock: str | None
    answer: Answer


def quality_vs_nfe(summary: Summary) -> Figure:
    """Frechet distance against network evaluations, a panel for each protocol that has one; in the first mode."""
    first = summary.runs[0].mode
    panels = [_Panel(each, in_one_mode(each.rows, first), None, each.answers[0]) for each in measured(summary)]
    return _figure(summary, panels, _NFE)


def quality_vs_seconds(summary: Summary) -> Figure:
    """Frechet distance against time, a panel for each protocol that has one and each device and batch.

    In the mode of the fastest setting that is good enough; nothing of what was not timed.
    """
    panels = [
        _Panel(section, in_one_mode(rows, answer_mode(answer, summary)), clock, answer)
        for section in measured(summary)
        for (clock, rows), answer in zip(section.clocks(), section.answers, strict=True)
        if was_timed(rows)
    ]
    return _figure(summary, panels, _TIME)


def answer_mode(answer: Answer, summary: Summary) -> str:
    """The mode of the winner, or the first if there is none."""
    return summary.runs[0].mode if answer.winner is None else str(answer.winner["mode"])


def measured(summary: Summary) -> list[Section]:
    """The protocols with a Frechet distance to a reference."""
    return [section for section in summary.sections if section.fd is not None]


def _figure(summary: Summary, panels: Sequence[_Panel], cost: Cost) -> Figure:
    heights = [_height(all_series(panel.rows, panel.section, summary)) for panel in panels] or [3.9]
    figure = new_figure(summary, 0.6 + sum(heights))
    grid = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)
    if not panels:
        missing = "nothing was timed" if measured(summary) else "no Frechet distance was measured"
        reason = missing if summary.sections else "no cell succeeded"
        empty(grid[0, 0], f"nothing to draw: {reason}")
    for axes, panel in zip(grid[:, 0], panels, strict=False):
        panel_title(axes, panel.section, panel.clock)
        fd = str(panel.section.fd)
        if not (drawn := _drawable(rows_of(panel.rows), cost, fd)):
            empty(axes, "nothing to draw: no positive distance was measured")
        else:
            lines = _draw(axes, panel, drawn, cost, fd, summary)
            figure.set_figheight(figure.get_figheight() + 0.13 * lines)
    return figure


def _height(found: list[Series]) -> float:
    """Inches of a panel without its footnote: as high as its legend."""
    shown = [each for each in found if not each.beaten]
    lines = 6 + sum(1 + wrapped(each.label).count("\n") for each in shown) + len(families(shown))
    return max(3.9, 0.7 + (0.15 if families(shown) else 0.175) * lines)


def _draw(axes: Axes, panel: _Panel, drawn: list[Row], cost: Cost, fd: str, summary: Summary) -> int:
    """Draw a panel; how many lines its footnote has."""
    curves = [_curve(each, cost, fd) for each in all_series(panel.rows, panel.section, summary)]
    plain_axes(axes)
    many = any(curve.series.beaten for curve in curves)
    log_axis(axes, "x", _costs(drawn, cost, many))
    top = _top(drawn, panel, fd, many)
    shown = [min(row[fd], top) for row in drawn]
    log_axis(axes, "y", shown)
    few = sum(len(curve.y) > 0 for curve in curves) <= FEW
    curves = curves if few else [_with_bars_on(curve, cost, panel.answer) for curve in curves]
    short = [with_short_bars(curve, axes.get_ylim()) for curve in curves]
    log_axis(axes, "y", [*shown, *bar_ends(short, top)])
    for curve in short:
        _line(axes, curve)
    _highlights(axes, panel, cost, fd)
    _references(axes, panel, fd)
    _front(axes, [row for row in drawn if row[cost.front]], cost, fd)
    axes.set_xlabel(cost.label, fontsize=TEXT, color=INK)
    axes.set_ylabel(figure_text(f"{fd_label(fd)}, lower is better"), fontsize=TEXT, color=INK)
    left_out = len(panel.rows) - len(drawn)
    legend(axes, curves, f"{left_out} not drawn: no positive\ndistance or cost" if left_out else None)
    beyond = mark_beyond(axes, curves)
    panel_title(axes, panel.section, panel.clock, raised=bool(beyond))
    return footnote(axes, beaten_names(curves), beyond, [*_last_words(panel, short, few), *too_long(curves, short)])


def _last_words(panel: _Panel, curves: Sequence[Curve], few: bool) -> list[str]:
    modes = panel.section.rows["mode"]
    words = [f"{name.capitalize()}: {value} unless named." for name, value in usual(panel.rows).items()]
    if modes.nunique() > 1:
        if panel.rows["mode"].nunique() == 1:
            words.append(f"Mode: {panel.rows['mode'].iloc[0]}.")
        words.append("Another figure compares the modes.")
    if any(curve.spread.any() for curve in curves if not curve.series.beaten):
        of = "" if few else " of the Pareto front, the baseline and the answer"
        words.append(f"Bars: 95 % interval of the mean{of}, where there is one.")
    return words


def _curve(series: Series, cost: Cost, fd: str) -> Curve:
    rows = _drawable(series.rows, cost, fd)
    x, y = np.array([cost.of(row) for row in rows]), np.array([row[fd] for row in rows], dtype=float)
    halves = [row[of_key(fd).ci] for row in rows]
    spread = np.array([half if known(half) else 0.0 for half in halves])
    return Curve(series, rows, x, y, spread)


def _with_bars_on(curve: Curve, cost: Cost, answer: Answer) -> Curve:
    """The curve with the intervals of what matters only: those of many lines at one cost could not be told apart."""
    ids = [row["cells"] for row in (answer.baseline, answer.winner) if row is not None]
    told = [bool(row[cost.front]) or row["cells"] in ids for row in curve.rows]
    return replace(curve, spread=np.where(told, curve.spread, 0.0))


def _costs(drawn: list[Row], cost: Cost, many: bool) -> list[float]:
    """The costs that the axis has to hold: where there is little room, not that of a baseline far beyond all others."""
    costs = [cost.of(row) for row in drawn]
    others = [cost.of(row) for row in drawn if not row["baseline"]]
    return others if many and others and max(costs) > 3 * max(others) else costs


def _top(drawn: list[Row], panel: _Panel, fd: str, many: bool) -> float:
    """The largest distance that the axis has to hold, the same whatever the cost.

    What is many times worse than the whole front, or hundreds of times worse than its end, tells nothing by how much:
    it is marked beyond the axis, if that makes the axis shorter by half a decade. The baseline is always inside.
    """
    front = [row[fd] for row in drawn if row["pareto_nfe"]]
    worst, baseline = max(row[fd] for row in drawn), panel.answer.baseline
    inside = min((5 if many else 10) * max(front), 300 * min(front)) if front else worst
    if baseline is not None and known(baseline[fd]):
        inside = max(inside, 1.5 * baseline[fd])
    return float(inside if worst > 3 * inside else worst)


def _drawable(rows: list[Row], cost: Cost, fd: str) -> list[Row]:
    """Rows that have a place on logarithmic axes."""
    return [row for row in rows if all(known(row[key]) and row[key] > 0 for key in (cost.column, fd))]


def _references(axes: Axes, panel: _Panel, fd: str) -> None:
    """The baseline's level, and what is still good enough."""
    baseline, tolerance = panel.answer.baseline, panel.answer.tolerance
    if baseline is not None and known(baseline[fd]) and baseline[fd] > 0:
        level = baseline[fd]
        axes.axhspan(
            level,
            level * (1 + tolerance),
            color=_GOOD,
            linewidth=0,
            zorder=0.5,
            label=f"within {percent(tolerance)} of the baseline",
        )
        axes.axhline(level, color=INK, linewidth=0.9, linestyle=(0, (5, 3)), zorder=1.5)


def _front(axes: Axes, front: list[Row], cost: Cost, fd: str) -> None:
    """The Pareto front as a staircase: between two settings nothing better than the left one was measured."""
    front = sorted(front, key=cost.of)
    x, y = [cost.of(row) for row in front], [row[fd] for row in front]
    if len(front) < 2:  # there is nothing between
        return
    axes.step(x, y, where="post", color=_FRONT, linewidth=3, solid_capstyle="round", zorder=1.8, label="Pareto front")


def _line(axes: Axes, curve: Curve) -> None:
    look, y = curve.series.look, curve.y
    if not len(y):
        return
    if curve.series.beaten:
        axes.plot(curve.x, y, color=BEATEN, linewidth=0.5, marker=".", markersize=2.5, zorder=2.2)
        return
    drawn = axes.errorbar(
        curve.x,
        y,
        yerr=curve.spread if curve.spread.any() else None,
        color=look.colour,
        marker=look.marker,
        linestyle=look.line,
        linewidth=1.1,
        markersize=look.size,
        markeredgecolor="white",
        markeredgewidth=0.6,
        elinewidth=0.7,
        capsize=0,
        zorder=3,
        # the baseline alone is named beside its star
        label=None if all(row["baseline"] for row in curve.rows) else wrapped(curve.series.label),
    )
    for bars in drawn.lines[2]:  # pale, as those of many lines stand at the same cost
        bars.set(alpha=0.5, zorder=2.6)


def _highlights(axes: Axes, panel: _Panel, cost: Cost, fd: str) -> None:
    """The star of the baseline and a ring around the answer."""
    answer = panel.answer
    if answer.baseline is not None and known(answer.baseline[fd]) and answer.baseline[fd] > 0:
        x, (left, right) = cost.of(answer.baseline), axes.get_xlim()
        if x > right:  # room for its words, beside the last marks
            right *= (right / left) ** _ROOM
            axes.set_xlim(right=right)
        at = ([min(x, right)], [answer.baseline[fd]])
        label = f"baseline:\n{wrapped(_short(answer.baseline, panel))}"
        star: dict[str, Any] = {"c": INK, "edgecolors": "white", "linewidths": 0.7, "clip_on": False}
        axes.scatter(*at, marker="*", s=150, zorder=5, label=label, **star)
        if x > right:
            text = f"at {significant(x).removesuffix('.00')} \N{RIGHTWARDS ARROW}"
            style: dict[str, Any] = {"fontsize": TINY, "color": INK, "ha": "right", "textcoords": "offset points"}
            axes.annotate(text, (right, answer.baseline[fd]), (4, 8), zorder=5, path_effects=HALO, **style)
    if answer.winner is not None and answer.winner[fd] > 0:
        x, label = cost.of(answer.winner), f"{answer.words}:\n{wrapped(_short(answer.winner, panel))}"
        axes.scatter(
            [x], [answer.winner[fd]], s=110, facecolors="none", edgecolors=INK, linewidths=1.2, zorder=5, label=label
        )


def _short(row: Row, panel: _Panel) -> str:
    if "grid" in several(panel.rows):
        return setting(row)
    return f"{row['sampler']} at {row['steps']:,} steps{mode_words(row['mode'])}"
