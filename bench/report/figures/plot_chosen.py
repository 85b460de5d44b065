"""Two columns of the table against each other, whichever are asked for."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.column_meanings import TABLE, meaning_of
from bench.report.data.columns import Row, has
from bench.report.data.distances import of_key, quality_columns
from bench.report.data.section import Section
from bench.report.data.series import Series, all_series, in_one_mode
from bench.report.data.summary import Summary
from bench.report.data.text import known
from bench.report.data.view import Style
from bench.report.figures import style
from bench.report.figures.captions import axis_name, chosen_axes
from bench.report.figures.curves import Curve, draw
from bench.report.figures.footnotes import beaten_names, footnote
from bench.report.figures.legend import legend
from bench.report.figures.panels import panel_title
from bench.report.figures.style import FAINT, INK, wrapped

_HEIGHT, _LEGEND, _PAPER = 3.9, 0.16, 2.1
"""Inches: of a panel, of a line of its legend, and of a panel of a paper without its legend."""
_WIDE = 10.0
"""How many times the least value the largest is where an axis is logarithmic."""


class Axis(NamedTuple):
    """A column that an axis shows; half the interval of its values has a column of its own, where there is one."""

    column: str
    title: str
    interval: str | None

    def of(self, row: Row) -> float | None:
        """The value of a row, if it is known."""
        value = row.get(self.column)
        return float(value) if known(value) else None


def chosen(summary: Summary) -> Figure:
    """The columns that are asked for, a panel for each protocol that has both; in the first mode."""
    names = chosen_axes(summary)
    assert names is not None, "the figure is drawn where axes are asked for"
    x, y = (_axis(name, summary) for name in names)
    panels = [section for section in summary.sections if has(section.rows, x.column) and has(section.rows, y.column)]
    found = [all_series(in_one_mode(each.rows, summary.runs[0].mode), each, summary) for each in panels]
    heights = [_height(series, summary) for series in found] or [_HEIGHT]
    figure = style.new_figure(summary, 0.6 + sum(heights))
    grid = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)
    if not panels:
        style.empty(grid[0, 0], "nothing to draw: no protocol has both columns")
    for axes, section, series in zip(grid[:, 0], panels, found, strict=False):
        style.plain_axes(axes)
        panel_title(axes, section, None)
        figure.set_figheight(figure.get_figheight() + 0.13 * _panel(axes, section, series, x, y))
    return figure


def _axis(name: str, summary: Summary) -> Axis:
    """A column of the table as an axis, called what it is in words; what it means is in the note."""
    called = axis_name(name, summary)
    if name not in {each.key for each in quality_columns(summary.table.columns)}:
        return Axis(name, called, None)
    quality = of_key(name)
    good = {"min": "lower is better", "max": "higher is better"}[quality.better]
    return Axis(name, f"{called}, {good}", quality.ci)


def _height(series: Sequence[Series], summary: Summary) -> float:
    """Inches of a panel: as high as its legend, which stands below it in a paper."""
    lines = 3 + sum(2 + wrapped(each.label).count("\n") for each in series if not each.beaten)
    if summary.view.style == "paper":
        return _PAPER + _LEGEND * lines / 2
    return max(_HEIGHT, _LEGEND * lines)


def _panel(axes: Axes, section: Section, series: Sequence[Series], x: Axis, y: Axis) -> int:
    """Draw a panel; how many lines its footnote has."""
    curves = [_curve(each, x, y) for each in series]
    for curve in curves:
        draw(axes, curve)
    _scale(axes, "x", [float(value) for curve in curves for value in curve.x])
    _scale(axes, "y", [float(value) for curve in curves for value in curve.y])
    baseline = [row for row in section.records if row["baseline"]]
    points = [(right, up) for row in baseline if (right := x.of(row)) is not None and (up := y.of(row)) is not None]
    if points:
        star: dict[str, Any] = {"c": INK, "edgecolors": "white", "linewidths": 0.7, "zorder": 5, "marker": "*"}
        label = f"baseline:\n{wrapped(str(baseline[0]['sampler']))}"
        axes.scatter([right for right, _ in points], [up for _, up in points], s=150, label=label, **star)
    style.axis_titles(axes, x.title, y.title)
    drawn = sum(len(curve.rows) for curve in curves)
    every = sum(len(each.rows) for each in series)
    legend(axes, curves, f"{every - drawn} not drawn:\none is not known" if drawn < every else None)
    return footnote(axes, beaten_names(curves), [], _meanings(x, y, curves, style.style_of(axes)))


def _meanings(x: Axis, y: Axis, curves: Sequence[Curve], style_: Style) -> list[str]:
    """What columns that are no qualities mean, and what bars are."""
    plain = [(axis.title, meaning_of(axis.column, TABLE)) for axis in (x, y) if axis.interval is None]
    words = [f"{name[:1].upper()}{name[1:]}: {found.meaning}" for name, found in plain if found is not None]
    words = words if style_ == "page" else []  # a caption has the names
    return [*words, *(["Bars: 95 % interval of the mean."] if any(curve.spread.any() for curve in curves) else [])]


def _curve(series: Series, x: Axis, y: Axis) -> Curve:
    rows = [row for row in series.rows if x.of(row) is not None and y.of(row) is not None]
    halves = [row.get(y.interval) if y.interval else None for row in rows]
    spread = np.array([half if known(half) else 0.0 for half in halves])
    across, up = (np.array([axis.of(row) for row in rows], dtype=float) for axis in (x, y))
    return Curve(series, rows, across, up, spread)


def _scale(axes: Axes, which: Literal["x", "y"], values: Sequence[float]) -> None:
    """A logarithmic axis of positive values that are far apart, else a linear one."""
    if values and min(values) > 0 and max(values) >= _WIDE * min(values):
        style.log_axis(axes, which, values)
    else:
        (axes.xaxis if which == "x" else axes.yaxis).grid(True, color=FAINT, linewidth=0.6)
