"""Error against network evaluations where the truth is known: of the solver, and of the law of the samples.

A row of panels for each model. Solver error is the distance from the exact probability flow of the same noise, so only
deterministic samplers have one; law error is the distance of the samples from the data law, which every sampler has on
a model that is known exactly.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatterMathtext

from bench.escape import figure_text
from bench.report.data.columns import Line, Row, clippings, guided, line, rows_of, with_columns
from bench.report.data.fits import fitted_note
from bench.report.data.series import Look, all_looks, by_family, costs_on_axis, family_order, one_mode_each
from bench.report.data.summary import Summary
from bench.report.data.text import known
from bench.report.figures import style
from bench.report.figures.legend import Entry, family_legend, laid_out
from bench.report.figures.panels import lettered
from bench.report.figures.style import DOWN, GREY, HALO, INK, RIGHT, SIGNS, TEXT, TINY, UP

ROUND_OFF = 1e-6
"""Errors below are float32's, not a solver's: ten roundings of numbers of order 1."""
BEYOND = 10.0
"""How many times the median error at the fewest evaluations the axis goes up to; what lies above is marked."""
SLOPES = (1, 2, 3, 4)
_NAME = (0.04, 0.06)
"""Of the width and height of the axes, what the name of a slope takes."""
_HEIGHT, _PAPER, _LINE = 3.6, 2.6, 0.165
"""Inches of a row of panels, of one in a paper, and of a line of the legend."""


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
    table = table[table[[each.column for each in measures]].notna().any(axis=1)]
    table = table.assign(clipping=clippings(table))
    measured = rows_of(table)
    models = list(table.groupby("model_sha256", sort=False))
    looks, costs = _looks(measured, summary), _costs(measured)
    height = _PAPER if summary.view.style == "paper" else _HEIGHT
    figure = style.new_figure(
        summary, 1.0 + height * len(models), warned=False, paper=style.ACROSS, highest=style.READABLE
    )
    panels = figure.subplots(len(models), len(measures), squeeze=False, sharex=True)
    drawn: dict[Line, set[str]] = {}
    for row, (_, rows) in zip(panels, models, strict=True):
        for axes, measure in zip(row, measures, strict=True):
            for each, signs in _panel(axes, rows, _told(measure, rows), looks, costs).items():
                drawn.setdefault(each, set()).update(signs)
    for axes in panels[-1]:
        style.axis_titles(axes, "network evaluations an image (NFE)")
    _legend(figure, {each: look for each, look in looks.items() if each in drawn}, drawn, measured, summary)
    return figure


def _told(measure: Measure, rows: pd.DataFrame) -> Measure:
    """Of solvers the error of the median image, whose slope few images that end in another mode do not hide; that of
    all where most end as they should to round-off, as on finite data.
    """
    if measure is not _SOLVER:
        return measure
    return _MEDIAN if rows[_MEDIAN.column].median() > ROUND_OFF else measure


def _looks(rows: Sequence[Row], summary: Summary) -> dict[Line, Look]:
    """How the lines of some rows are drawn, by family, in the order of the legend."""
    families = {line(row): str(row["family"]) for row in rows}
    order, found = family_order(families.values()), all_looks(summary)
    return {each: found[each] for each in sorted(families, key=lambda each: order.index(families[each]))}


def _costs(rows: Sequence[Row]) -> list[float]:
    """The evaluations that the axes have to hold."""
    return costs_on_axis([(float(row["nfe"]), row) for row in rows if known(row["nfe"]) and row["nfe"] > 0])


def _panel(
    axes: Axes, rows: pd.DataFrame, measure: Measure, looks: dict[Line, Look], costs: Sequence[float]
) -> dict[Line, set[str]]:
    """Draw a panel; its lines, each with the arrows that it needs."""
    style.plain_axes(axes)
    found = [row for row in rows_of(rows) if known(row[measure.column]) and known(row["nfe"]) and row["nfe"] > 0]
    floors = [row[measure.floor] for row in found if known(row[measure.floor])]
    model = str(rows["model"].iloc[0])
    if not found:
        _heading(axes, model, measure, None)
        axes.axis("off")
        axes.text(0.5, 0.5, f"no {measure.name} was measured", ha="center", color=GREY, fontsize=TEXT)
        return {}
    found.sort(key=lambda row: float(row["nfe"]))
    lines = {each: [row for row in found if line(row) == each] for each in looks}
    lines = {each: members for each, members in lines.items() if members}  # others stand in another model's panel
    # the median error at the fewest evaluations of each line
    usual = float(np.median([members[0][measure.column] for members in lines.values()]))
    values = [[row[measure.column] for row in members] for members in lines.values()]
    low, high = _limits(values, [] if measure.slopes else floors, usual)
    style.log_scale(axes, "x", 0.85 * min(costs), 1.18 * max(costs))
    errors = style.log_scale(axes, "y", low, high)
    if low < 1e-4:
        errors.set_major_formatter(LogFormatterMathtext())
    if measure.slopes:
        _slopes(axes, usual)
    _heading(axes, model, measure, _floor(axes, floors, measure))
    style.axis_titles(axes, y=f"{measure.name} ({measure.unit}), lower is better", size=TINY + 0.5)
    return {each: _draw(axes, members, measure, looks[each]) for each, members in lines.items()}


def _limits(lines: Sequence[Sequence[float]], floors: Sequence[float], usual: float) -> tuple[float, float]:
    """The ends of the axis: what is more than round-off, and not far beyond the usual.

    Of a line that is wholly beyond, the least error is on the axis if that makes it no more than a decade longer.
    """
    inside = [value for values in (*lines, floors) for value in values if ROUND_OFF < value <= BEYOND * usual]
    inside += [least for least in map(min, lines) if BEYOND * usual < least <= 10 * BEYOND * usual]
    if not inside:
        return ROUND_OFF, 2 * max(usual, ROUND_OFF)
    return 0.7 * min(inside), 1.4 * max(inside)


def _slopes(axes: Axes, usual: float) -> None:
    """Dashed lines of errors that fall with 1/NFE, 1/NFE^2, ... from the middle on, each named where it leaves.

    One whose name would stand on that of another is left out.
    """
    (first, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    left, named = (first * right) ** 0.5, list[tuple[float, float, float]]()
    for order in SLOPES:
        end = min(right, left * (usual / low) ** (1 / order))
        below = usual * (end / left) ** -order
        leaves_below = end < right
        x, width = math.log(end / first) / math.log(right / first), _NAME[0] * (1 if order > 1 else 4)
        place = (x if leaves_below else x - width), math.log(below / low) / math.log(high / low), width
        if any(place[0] < x + w and x < place[0] + width and abs(place[1] - y) < _NAME[1] for x, y, w in named):
            continue
        named.append(place)
        axes.plot([left, end], [usual, below], "--", color=GREY, linewidth=0.8, zorder=1.2)
        offset, side = ((3, 3), "left") if leaves_below else ((-1, 5), "right")
        words: dict[str, Any] = {"fontsize": TINY, "color": GREY, "ha": side, "textcoords": "offset points"}
        name = "slope 1" if order == 1 else str(order)
        axes.annotate(name, (end, below), offset, path_effects=HALO, zorder=3.5, **words).set_in_layout(False)


def _heading(axes: Axes, model: str, measure: Measure, floor: str | None) -> None:
    """Above a panel, its model and floor; in a paper a letter, of which the caption says what it shows."""
    figure = axes.get_figure(root=True)
    told = f"{model}: {measure.name}{f' ({floor})' if floor else ''}"
    letter = lettered(axes, [told], figure is not None and len(figure.axes) == 1)
    heading: dict[str, Any] = {"loc": "left", "y": style.ABOVE, "color": INK}
    if letter is not None:
        axes.set_title(letter, fontsize=TINY, **heading)
        return
    axes.set_title(figure_text(model), fontsize=TEXT, fontweight="bold", **heading)
    if floor is not None:
        axes.set_title(floor, loc="right", y=style.ABOVE, fontsize=TINY, color=GREY)


def _floor(axes: Axes, floors: Sequence[float], measure: Measure) -> str | None:
    """Draw what cannot be told from nothing, dotted where it is on the axis; what it is, in words."""
    if not floors:
        return None
    level = float(np.median(floors))
    inside = level > axes.get_ylim()[0]
    if inside:
        axes.axhline(level, color=INK, linewidth=0.9, linestyle=":", zorder=1.4)
    return f"{'dotted: ' if inside else ''}{measure.floor_name} {f'{level:.2g}' if level else 'under 1e-07'}"


def _draw(axes: Axes, rows: Sequence[Row], measure: Measure, look: Look) -> set[str]:
    """A line, and an arrow at the edge of the axes for each point beyond it; which arrows.

    On finite data an error can be 0. Beside an arrow to the right stands the number of evaluations.
    """
    (low, high), right = axes.get_ylim(), axes.get_xlim()[1]
    x = np.array([row["nfe"] for row in rows], dtype=float)
    y = np.array([row[measure.column] for row in rows], dtype=float)
    drawn = np.clip(y, low / 1e3, high * 1e3)  # a line to 0 or to 1e5 would not be seen to go anywhere
    axes.plot(x, drawn, linewidth=0.9, markersize=0.7 * look.size, zorder=3, **_line_style(look))
    far, at = x > right, np.column_stack([np.minimum(x, right), np.clip(y, low, high)])
    beyond = {RIGHT: far, UP: (y > high) & ~far, DOWN: (y < low) & ~far}
    beyond = {sign: outside for sign, outside in beyond.items() if outside.any()}
    for sign, outside in beyond.items():
        arrow: dict[str, Any] = {"marker": sign, "markersize": 6.5, "color": look.colour, "markeredgewidth": 0.0}
        axes.plot(*at[outside].T, linestyle="none", clip_on=False, zorder=4, **arrow)
    for cost, place in zip(x[far], at[far], strict=True):
        words: dict[str, Any] = {"fontsize": TINY, "color": look.colour, "ha": "right", "zorder": 5}
        axes.annotate(f"at {cost:,g}", place, (5, 6), textcoords="offset points", path_effects=HALO, **words)
    return set(beyond)


def _line_style(look: Look) -> dict[str, Any]:
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.4}
    return {"color": look.colour, "marker": look.marker, "linestyle": look.line, **edge}


def _legend(
    figure: Figure, looks: dict[Line, Look], drawn: dict[Line, set[str]], rows: Sequence[Row], summary: Summary
) -> None:
    """Below the figure: the samplers by family, and what their lines and arrows mean.

    A grid is named unless it is that of most lines.
    """
    grids = [grid for _, grid, *_ in looks]
    usual = max(dict.fromkeys(grids), key=grids.count)
    of_line = {line(row): row for row in rows}
    families: dict[str, dict[str, Line2D]] = {}
    for each, look in looks.items():
        handle = Line2D([], [], linewidth=1.0, markersize=0.75 * look.size, **_line_style(look))
        row = of_line[each]
        # the same on another model looks the same
        guidance = str(row["guidance"]) if guided(row) else ""
        parts = (each[0], "" if each[1] == usual else each[1], guidance, str(row["clipping"]))
        label = figure_text(", ".join(filter(None, parts)))
        families.setdefault(figure_text(str(row["family"])), {}).setdefault(label, handle)
    entries: list[list[Entry]] = laid_out({name: list(members.items()) for name, members in families.items()})
    figure.set_figheight(figure.get_figheight() + _LINE * len(entries[0]))
    legend = family_legend(figure, entries, list(families), by_family(summary))
    beyond = set().union(*drawn.values())
    signs = " ".join(words for sign, words in SIGNS.items() if sign in beyond)
    zero = f", {SIGNS[DOWN]} perhaps 0" if DOWN in beyond else ""
    grid = f"Grid: {usual} unless named." if len(set(grids)) > 1 else ""
    note = f"{grid} {signs} beyond the axis{zero}.".strip() if signs else grid
    fitted = fill(fitted_note(rows) or "", 130)
    lines = filter(None, (note, fitted, style.warning(summary)))
    style.note_above(legend, figure, list(lines))
