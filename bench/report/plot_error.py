"""Error against network evaluations where the truth is known: of the solver, and of the law of the samples.

A row of panels for each model. Solver error is the distance from the exact probability flow of the same noise, so only
deterministic samplers have one; law error is the distance of the samples from the data law, which every sampler has on
a model that is known exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogFormatterMathtext, NullLocator

from bench.escape import figure_text
from bench.report.columns import Line, Row, known, line, rows_of, with_columns
from bench.report.series import FAMILIES, Look, all_looks, by_family, one_mode_each
from bench.report.style import FAINT, GREY, HALO, INK, TEXT, TINY, log_ticks, new_figure, plain, plain_axes, warning
from bench.report.summary import Summary

ROUND_OFF = 1e-6
"""Errors below are float32's, not a solver's: ten roundings of numbers of order 1."""
BEYOND = 10.0
"""How many times the median error at the fewest evaluations the axis goes up to; what lies above is marked."""
SLOPES = (1, 2, 3, 4)
_HEIGHT, _LINE = 3.2, 0.165
"""Inches of a row of panels and of a line of the legend."""
_COLUMNS = 4
"""Of the legend."""


@dataclass(frozen=True)
class Measure:
    """What a column of panels shows.

    Attributes:
        column: of the error.
        floor: column of what cannot be told from nothing.
        name, unit: of the axis.
        floor_name: of the floor.
        slopes: whether lines with the slopes of the orders are drawn; without them the floor is always on the axis.
    """

    column: str
    floor: str
    name: str
    unit: str
    floor_name: str
    slopes: bool


_SOLVER = Measure("solver_rmse", "solver_rmse_reference", "solver error", "RMSE", "the reference's own error", True)
_MEDIAN = replace(_SOLVER, column="solver_rmse_median", unit="RMSE of the median image")
MEASURES = (
    _SOLVER,
    Measure("law_fd", "law_fd_floor", "law error", "Frechet distance in pixels", "as many exact samples", False),
)


def shown_measures(summary: Summary) -> list[Measure]:
    """The errors that were measured; without any there is nothing to draw."""
    table = summary.table
    return [each for each in MEASURES if each.column in table.columns and table[each.column].map(known).any()]


def error_vs_nfe(summary: Summary) -> Figure:
    """Errors against evaluations in one mode, log-log, a row of panels for each model; ValueError if there are none."""
    measures = shown_measures(summary)
    if not measures:
        raise ValueError(f"no row has any of {', '.join(each.column for each in MEASURES)}; there is nothing to draw")
    columns = [name for each in (*MEASURES, _MEDIAN) for name in (each.column, each.floor)]
    table = one_mode_each(with_columns(summary.table, columns), summary.runs[0].mode)
    measured = table[table[[each.column for each in measures]].notna().any(axis=1)]
    models = list(measured.groupby("model_sha256", sort=False))
    looks, costs = _looks(rows_of(measured), summary), _costs(rows_of(measured))
    entries = len(looks) + measured["family"].nunique()
    figure = new_figure(summary, 1.0 + _HEIGHT * len(models) + _LINE * -(-entries // _COLUMNS), warned=False)
    panels = figure.subplots(len(models), len(measures), squeeze=False, sharex=True)
    for row, (_, rows) in zip(panels, models, strict=True):
        for axes, measure in zip(row, measures, strict=True):
            _panel(axes, rows, _told(measure, rows), looks, costs)
    for axes in panels[-1]:
        axes.set_xlabel("network evaluations an image (NFE)", fontsize=TEXT, color=INK)
    drawn = _legend(figure, looks, rows_of(measured), by_family(summary))
    notes = [_note(looks), *filter(None, [warning(summary)])]
    drawn.set_title(figure_text("\n".join(notes)), FontProperties(size=TINY))
    drawn.get_title().set_color(GREY)
    return figure


def _told(measure: Measure, rows: pd.DataFrame) -> Measure:
    """Of solvers the error of the median image, whose slope few images that end in another mode do not hide; that of
    all where most end as they should to round-off, as on finite data.
    """
    if measure is not _SOLVER or _MEDIAN.column not in rows.columns:
        return measure
    return _MEDIAN if rows[_MEDIAN.column].median() > ROUND_OFF else measure


def _looks(rows: Sequence[Row], summary: Summary) -> dict[Line, Look]:
    """How the lines of some rows are drawn, by family, in the order of the legend."""
    families = {line(row): str(row["family"]) for row in rows}
    order = [*FAMILIES, *sorted(set(families.values()) - set(FAMILIES))]
    found = all_looks(summary)
    return {each: found[each] for each in sorted(families, key=lambda each: order.index(families[each]))}


def _panel(axes: Axes, rows: pd.DataFrame, measure: Measure, looks: dict[Line, Look], costs: Sequence[float]) -> None:
    plain_axes(axes)
    found = [row for row in rows_of(rows) if known(row[measure.column]) and known(row["nfe"]) and row["nfe"] > 0]
    axes.set_title(figure_text(str(rows["model"].iloc[0])), loc="left", fontsize=TEXT, fontweight="bold", color=INK)
    if not found:
        axes.axis("off")
        axes.text(0.5, 0.5, f"no {measure.name} was measured", ha="center", color=GREY, fontsize=TEXT)
        return
    usual = _usual(found, measure)
    shown = [measure.column] if measure.slopes else [measure.column, measure.floor]
    low, high = _limits([row[name] for row in found for name in shown if known(row[name])], usual)
    _scales(axes, costs, low, high)
    if measure.slopes:
        _slopes(axes, usual)
    _floor(axes, found, measure)
    for each, look in looks.items():
        # a line whose model is another stands in another panel
        _draw(axes, [row for row in found if line(row) == each], measure, look)
    axes.set_ylabel(f"{measure.name} ({measure.unit}), lower is better", fontsize=TINY + 0.5, color=INK)


def _costs(rows: Sequence[Row]) -> list[float]:
    """The evaluations that the axes have to hold: not those of a baseline far beyond all others."""
    costs = [float(row["nfe"]) for row in rows if known(row["nfe"]) and row["nfe"] > 0]
    others = [float(row["nfe"]) for row in rows if known(row["nfe"]) and row["nfe"] > 0 and not row["baseline"]]
    return others if others and max(costs) > 3 * max(others) else costs


def _usual(rows: Sequence[Row], measure: Measure) -> float:
    """The median error at the fewest evaluations of each line."""
    lines: dict[Line, Row] = {}
    for row in sorted(rows, key=lambda row: float(row["nfe"])):
        lines.setdefault(line(row), row)
    return float(np.median([row[measure.column] for row in lines.values()]))


def _limits(values: Sequence[float], usual: float) -> tuple[float, float]:
    """The ends of the axis: what is more than round-off, and not far beyond the usual."""
    inside = [value for value in values if ROUND_OFF < value <= BEYOND * usual]
    if not inside:
        return ROUND_OFF, 2 * max(usual, ROUND_OFF)
    return 0.7 * min(inside), 1.4 * max(inside)


def _scales(axes: Axes, costs: Sequence[float], low: float, high: float) -> None:
    left, right = 0.85 * min(costs), 1.18 * max(costs)
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(low, high))
    axes.xaxis.set_major_locator(FixedLocator(log_ticks(left, right)))
    axes.yaxis.set_major_locator(FixedLocator(log_ticks(low, high)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.grid(True, color=FAINT, linewidth=0.6)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    if low < 1e-4:
        axes.yaxis.set_major_formatter(LogFormatterMathtext())
    else:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))


def _slopes(axes: Axes, usual: float) -> None:
    """Dashed lines of errors that fall with 1/NFE, 1/NFE^2, ... from the middle on, each named where it leaves."""
    right, low = axes.get_xlim()[1], axes.get_ylim()[0]
    left = (axes.get_xlim()[0] * right) ** 0.5
    for order in SLOPES:
        end = min(right, left * (usual / low) ** (1 / order))
        below = usual * (end / left) ** -order
        axes.plot([left, end], [usual, below], "--", color=GREY, linewidth=0.8, zorder=1.2)
        leaves_below = end < right
        offset, side = ((3, 3), "left") if leaves_below else ((-1, 5), "right")
        style: dict[str, Any] = {"fontsize": TINY, "color": GREY, "ha": side, "textcoords": "offset points"}
        text = axes.annotate(
            "slope 1" if order == 1 else str(order), (end, below), offset, path_effects=HALO, zorder=3.5, **style
        )
        text.set_in_layout(False)


def _floor(axes: Axes, rows: Sequence[Row], measure: Measure) -> None:
    """What cannot be told from nothing: dotted where it is on the axis, and named above."""
    floors = [row[measure.floor] for row in rows if known(row[measure.floor])]
    if not floors:
        return
    level = float(np.median(floors))
    inside = level > axes.get_ylim()[0]
    if inside:
        axes.axhline(level, color=INK, linewidth=0.9, linestyle=":", zorder=1.4)
    text = f"{'dotted: ' if inside else ''}{measure.floor_name} {f'{level:.2g}' if level else 'under 1e-07'}"
    axes.set_title(text, loc="right", fontsize=TINY, color=GREY)


def _draw(axes: Axes, rows: Sequence[Row], measure: Measure, look: Look) -> None:
    """A line, and a triangle at the edge of the axes for each point beyond it; on finite data an error can be 0."""
    rows = sorted(rows, key=lambda row: float(row["nfe"]))
    low, high = axes.get_ylim()
    x = np.array([row["nfe"] for row in rows], dtype=float)
    y = np.array([row[measure.column] for row in rows], dtype=float)
    style: dict[str, Any] = {"color": look.colour, "markeredgecolor": "white", "markeredgewidth": 0.4}
    drawn = np.clip(y, low / 1e3, high * 1e3)  # a line to 0 or to 1e5 would not be seen to go anywhere
    axes.plot(
        x, drawn, marker=look.marker, linestyle=look.line, linewidth=0.9, markersize=0.7 * look.size, zorder=3, **style
    )
    for marker, edge, outside in (("^", high, y > high), ("v", low, y < low)):
        if outside.any():  # the layout cannot measure an empty line that is not clipped
            at = np.full(int(outside.sum()), edge)
            axes.plot(x[outside], at, marker, markersize=4.5, clip_on=False, zorder=4, **style)


def _legend(figure: Figure, looks: dict[Line, Look], rows: Sequence[Row], coloured: bool) -> Legend:
    """Below the panels: the samplers by family. A grid is named unless it is that of most lines."""
    usual = _usual_grid(looks)
    family_of = {line(row): str(row["family"]) for row in rows}
    headings = {figure_text(family): family for family in family_of.values()}
    entries: dict[str, Line2D] = {}
    for each, look in looks.items():
        entries.setdefault(figure_text(family_of[each]), Line2D([], [], linestyle="none"))
        handle = Line2D([], [], color=look.colour, marker=look.marker, linestyle=look.line, linewidth=1.0)
        handle.set(markersize=0.75 * look.size, markeredgecolor="white", markeredgewidth=0.4)
        # the same on another model looks the same
        entries.setdefault(figure_text(each[0] if each[1] == usual else f"{each[0]}, {each[1]}"), handle)
    drawn = figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower left",
        ncols=_COLUMNS,
        fontsize=TINY,
        labelspacing=0.3,
        frameon=False,
        alignment="left",
    )
    for text in drawn.get_texts():
        if (family := headings.get(text.get_text())) is not None:
            text.set(color=FAMILIES.get(family, INK) if coloured else INK, fontweight="bold")
    return drawn


def _usual_grid(looks: dict[Line, Look]) -> str:
    grids = [grid for _, grid, _ in looks]
    return max(dict.fromkeys(grids), key=grids.count)


def _note(looks: dict[Line, Look]) -> str:
    grid = f"Grid: {_usual_grid(looks)} unless named. " if len({grid for _, grid, _ in looks}) > 1 else ""
    return f"{grid}▲ ▼ beyond the axis, ▼ perhaps 0."
