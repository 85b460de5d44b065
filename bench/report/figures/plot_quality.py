"""Quality against cost: what a sampler's steps buy, in network evaluations and in time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.data.answer import Answer
from bench.report.data.columns import Row, guided, mode_words, rows_of, setting, with_words
from bench.report.data.distances import fd_label, of_key
from bench.report.data.fits import fitted_note
from bench.report.data.section import Section, was_timed
from bench.report.data.series import (
    FEW,
    Series,
    all_series,
    answer_mode,
    costs_on_axis,
    in_one_mode,
    usual,
)
from bench.report.data.summary import Summary
from bench.report.data.text import known, percent, significant, steps_words
from bench.report.figures import style
from bench.report.figures.curves import Curve, bar_ends, draw, too_long
from bench.report.figures.footnotes import beaten_names, footnote, mark_beyond
from bench.report.figures.legend import families, legend
from bench.report.figures.panels import panel_title
from bench.report.figures.style import HALO, INK, TINY, wrapped

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


def quality_vs_nfe(summary: Summary) -> Figure:
    """Frechet distance against network evaluations, a panel for each protocol that has one; in the first mode."""
    first = summary.runs[0].mode
    panels = [_Panel(summary, s, in_one_mode(s.rows, first), None, s.answers[0], _NFE) for s in measured(summary)]
    return _figure(summary, panels)


def quality_vs_seconds(summary: Summary) -> Figure:
    """Frechet distance against time, a panel for each protocol that has one and each device and batch.

    In the mode of the fastest setting that is good enough; nothing of what was not timed.
    """
    panels = [
        _Panel(summary, section, in_one_mode(rows, answer_mode(answer, summary)), clock, answer, _TIME)
        for section in measured(summary)
        for (clock, rows), answer in zip(section.clocks(), section.answers, strict=True)
        if was_timed(rows)
    ]
    return _figure(summary, panels)


def measured(summary: Summary) -> list[Section]:
    """The protocols with a Frechet distance to a reference."""
    return [section for section in summary.sections if section.fd is not None]


def _figure(summary: Summary, panels: Sequence["_Panel"]) -> Figure:
    paper = summary.view.style == "paper"
    heights = [_paper_height(panel.series) if paper else _height(panel.series) for panel in panels] or [3.9]
    figure = style.new_figure(summary, 0.6 + sum(heights))
    grid = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)
    if not panels:
        missing = "nothing was timed" if measured(summary) else "no Frechet distance was measured"
        style.empty(grid[0, 0], f"nothing to draw: {missing if summary.sections else 'no cell succeeded'}")
    for axes, panel in zip(grid[:, 0], panels, strict=False):
        panel_title(axes, panel.section, panel.clock)
        if panel.drawn:
            figure.set_figheight(figure.get_figheight() + 0.13 * panel.draw(axes))
        else:
            style.empty(axes, "nothing to draw: no positive distance was measured")
    return figure


def _height(found: list[Series]) -> float:
    """Inches of a panel without its footnote: as high as its legend."""
    shown = [each for each in found if not each.beaten]
    lines = 6 + sum(1 + wrapped(each.label).count("\n") for each in shown) + len(families(shown))
    return max(3.9, 0.7 + (0.15 if families(shown) else 0.175) * lines)


def _paper_height(found: list[Series]) -> float:
    """Inches of a panel whose legend stands below it, in two columns."""
    shown = [each for each in found if not each.beaten]
    lines = 6 + sum(1 + wrapped(each.label).count("\n") for each in shown) + len(families(shown))
    return 2.1 + 0.145 * (lines / 2 + 1)


class _Panel:
    """Rows of a section in one mode, as far as they have it, and the answer that holds for them.

    Attributes:
        series: its lines.
        drawn: the rows that have a place on logarithmic axes.
        fd: the distance.
        baseline: of the answer, where its distance has a place.
    """

    def __init__(
        self, summary: Summary, section: Section, rows: pd.DataFrame, clock: str | None, answer: Answer, cost: Cost
    ) -> None:
        self.section, self.rows, self.clock, self.answer, self.cost = section, rows, clock, answer, cost
        self.fd = str(section.fd)
        self.series = all_series(rows, section, summary)
        self.drawn = self._drawable(rows_of(rows))
        row = answer.baseline
        self.baseline = row if row is not None and known(row[self.fd]) and row[self.fd] > 0 else None

    def draw(self, axes: Axes) -> int:
        """Draw it; how many lines its footnote has."""
        curves = [self._curve(each) for each in self.series]
        style.plain_axes(axes)
        many = any(curve.series.beaten for curve in curves)
        costs = [(self.cost.of(row), row) for row in self.drawn]
        # where there is little room, the baseline may be beyond
        style.log_axis(axes, "x", costs_on_axis(costs) if many else [cost for cost, _ in costs])
        top = self._top(many)
        shown = [min(row[self.fd], top) for row in self.drawn]
        style.log_axis(axes, "y", shown)
        few = sum(len(curve.y) > 0 for curve in curves) <= FEW
        curves = curves if few else [self._with_bars_on(curve) for curve in curves]
        short = [curve.with_short_bars(axes.get_ylim()) for curve in curves]
        style.log_axis(axes, "y", [*shown, *bar_ends(short, top)])
        for curve in short:
            draw(axes, curve)
        self._baseline(axes)
        self._winner(axes)
        self._references(axes)
        self._front(axes)
        style.axis_titles(axes, self.cost.label, f"{fd_label(self.fd)}, lower is better")
        left_out = len(self.rows) - len(self.drawn)
        legend(axes, curves, f"{left_out} not drawn: no positive\ndistance or cost" if left_out else None)
        beyond = mark_beyond(axes, curves)
        panel_title(axes, self.section, self.clock, raised=bool(beyond))
        last = [*self._last_words(short, few), *too_long(curves, short)]
        return footnote(axes, beaten_names(curves), beyond, last)

    def _drawable(self, rows: list[Row]) -> list[Row]:
        return [row for row in rows if all(known(row[key]) and row[key] > 0 for key in (self.cost.column, self.fd))]

    def _curve(self, series: Series) -> Curve:
        rows = self._drawable(series.rows)
        x, y = np.array([self.cost.of(row) for row in rows]), np.array([row[self.fd] for row in rows], dtype=float)
        halves = [row[of_key(self.fd).ci] for row in rows]
        return Curve(series, rows, x, y, np.array([half if known(half) else 0.0 for half in halves]))

    def _with_bars_on(self, curve: Curve) -> Curve:
        """With the intervals of what matters only: those of many lines at one cost could not be told apart."""
        ids = [row["cells"] for row in (self.answer.baseline, self.answer.winner) if row is not None]
        told = [bool(row[self.cost.front]) or row["cells"] in ids for row in curve.rows]
        return replace(curve, spread=np.where(told, curve.spread, 0.0))

    def _top(self, many: bool) -> float:
        """The largest distance that the axis has to hold, the same whatever the cost.

        What is many times worse than the whole front, or hundreds of times worse than its end, tells nothing by how
        much: it is marked beyond the axis, if that makes the axis shorter by half a decade. The baseline is inside.
        """
        front = [row[self.fd] for row in self.drawn if row["pareto_nfe"]]
        worst, baseline = max(row[self.fd] for row in self.drawn), self.answer.baseline
        inside = min((5 if many else 10) * max(front), 300 * min(front)) if front else worst
        if baseline is not None and known(baseline[self.fd]):
            inside = max(inside, 1.5 * baseline[self.fd])
        return float(inside if worst > 3 * inside else worst)

    def _baseline(self, axes: Axes) -> None:
        """Its star; beyond the axis with its cost."""
        if self.baseline is None:
            return
        x, (left, right) = self.cost.of(self.baseline), axes.get_xlim()
        if x > right:  # room for its words, beside the last marks
            right *= (right / left) ** _ROOM
            axes.set_xlim(right=right)
        level, label = self.baseline[self.fd], f"baseline:\n{wrapped(self._short(self.baseline))}"
        star: dict[str, Any] = {"c": INK, "edgecolors": "white", "linewidths": 0.7, "clip_on": False}
        axes.scatter([min(x, right)], [level], marker="*", s=150, zorder=5, label=label, **star)
        if x > right:
            text = f"at {significant(x).removesuffix('.00')} \N{RIGHTWARDS ARROW}"
            words: dict[str, Any] = {"fontsize": TINY, "color": INK, "ha": "right", "textcoords": "offset points"}
            axes.annotate(text, (right, level), (4, 8), zorder=5, path_effects=HALO, **words)

    def _winner(self, axes: Axes) -> None:
        """A ring around the answer."""
        winner = self.answer.winner
        if winner is not None and winner[self.fd] > 0:
            label = f"{self.answer.words}:\n{wrapped(self._short(winner))}"
            ring: dict[str, Any] = {"s": 110, "facecolors": "none", "edgecolors": INK, "linewidths": 1.2, "zorder": 5}
            axes.scatter([self.cost.of(winner)], [winner[self.fd]], label=label, **ring)

    def _references(self, axes: Axes) -> None:
        """The baseline's level, and what is still good enough."""
        if self.baseline is not None:
            level, tolerance = self.baseline[self.fd], self.answer.tolerance
            label = f"within {percent(tolerance)} of the baseline"
            axes.axhspan(level, level * (1 + tolerance), color=_GOOD, linewidth=0, zorder=0.5, label=label)
            axes.axhline(level, color=INK, linewidth=0.9, linestyle=(0, (5, 3)), zorder=1.5)

    def _front(self, axes: Axes) -> None:
        """The Pareto front as a staircase: between two settings nothing better than the left one was measured."""
        front = sorted((row for row in self.drawn if row[self.cost.front]), key=self.cost.of)
        if len(front) < 2:  # there is nothing between
            return
        x, y = [self.cost.of(row) for row in front], [row[self.fd] for row in front]
        line: dict[str, Any] = {"color": _FRONT, "linewidth": 3, "solid_capstyle": "round", "zorder": 1.8}
        axes.step(x, y, where="post", label="Pareto front", **line)

    def _last_words(self, curves: Sequence[Curve], few: bool) -> list[str]:
        words = [f"{name.capitalize()}: {value} unless named." for name, value in usual(self.rows).items()]
        if self.rows["guidance"].nunique() == 1 and guided(self.drawn[0]):
            words.append(f"Guidance: {self.drawn[0]['guidance']}.")
        if self.section.rows["mode"].nunique() > 1:
            if self.rows["mode"].nunique() == 1:
                words.append(f"Mode: {self.rows['mode'].iloc[0]}.")
            words.append("Another figure compares the modes.")
        words += filter(None, [fitted_note(self.drawn)])
        if any(curve.spread.any() for curve in curves if not curve.series.beaten):
            of = "" if few else " of the Pareto front, the baseline and the answer"
            words.append(f"Bars: 95 % interval of the mean{of}, where there is one.")
        return words

    def _short(self, row: Row) -> str:
        if self.rows["grid"].nunique() > 1:
            return setting(row)
        words = f"{with_words(row, model=False)}{mode_words(row['mode'])}"
        return f"{row['sampler']} at {steps_words(row['steps'])}{words}"
