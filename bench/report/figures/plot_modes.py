"""What modes cost and save: how quality changes against the speed-up, for each setting beside its first mode."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.data.distances import fd_label
from bench.report.data.modes import ModeCost
from bench.report.data.section import Section
from bench.report.data.series import COLOURS, MARKERS
from bench.report.data.summary import Summary
from bench.report.data.text import known
from bench.report.figures import style
from bench.report.figures.panels import panel_title
from bench.report.figures.style import INK, SMALL, wrapped

_HEIGHT = 3.9
"""Inches of a panel."""
_ROOM = 0.5
"""Of the range of the changes, how much there is above and below: intervals of few seeds may be far wider."""
_FEW = 30
"""Points of which each has the bars of its intervals."""


def comparable(section: Section) -> bool:
    """Whether a section has pairs of modes with a place in the figure: timed, and with the distance of the rank."""
    return bool(_points(section))


def modes(summary: Summary) -> Figure:
    """A panel for each protocol with rows that differ in the mode; ValueError if none has."""
    sections = [section for section in summary.sections if comparable(section)]
    if not sections:
        raise ValueError("no rows differ in the mode only; there is nothing to draw")
    figure = style.new_figure(summary, 0.6 + _HEIGHT * len(sections), paper=style.ACROSS)
    for axes, section in zip(figure.subplots(len(sections), 1, squeeze=False)[:, 0], sections, strict=True):
        style.plain_axes(axes)
        panel_title(axes, section, None)
        _panel(axes, section)
    return figure


class _Point(NamedTuple):
    """A setting in a mode: its speed-up with interval, and by how many per cent the distance changed, with half of its.

    `alike` says whether that change was tested and cannot be told from 0.
    """

    mode: str
    speedup: float
    low: float
    high: float
    change: float
    ci: float
    alike: bool


def _points(section: Section) -> list[_Point]:
    return [point for each in section.modes if (point := _point(each, section.rank)) is not None]


def _point(each: ModeCost, rank: str | None) -> _Point | None:
    found = each.difference(rank)
    if found is None or not known(each.speedup) or not found.first > 0:
        return None
    change, ci = 100 * found.mean / found.first, 100 * found.ci / found.first
    return _Point(str(each.row["mode"]), each.speedup, each.low, each.high, change, ci, found.alike)


def _panel(axes: Axes, section: Section) -> None:
    points = _points(section)
    bars = len(points) <= _FEW
    for n, mode in enumerate(dict.fromkeys(point.mode for point in points)):
        members = [point for point in points if point.mode == mode]
        _draw(axes, members, COLOURS[n % len(COLOURS)], MARKERS[n % len(MARKERS)], bars)
    ends = [end for point in points for end in (point.speedup, point.low, point.high) if known(end)]
    style.log_axis(axes, "x", [1.0, *ends])
    changes = [0.0, *(point.change for point in points)]
    room = _ROOM * max(max(changes) - min(changes), 0.1)
    axes.set_ylim(min(changes) - room, max(changes) + room)
    for line in (axes.axhline(0), axes.axvline(1)):
        line.set(color=INK, linewidth=0.9, linestyle=(0, (5, 3)), zorder=1.5)
    first = " or ".join(dict.fromkeys(str(each.first["mode"]) for each in section.modes))
    change = f"change of {fd_label(str(section.rank))} in %, lower is better"
    style.axis_titles(axes, f"times as fast as in {first}, higher is better", change, size=SMALL)
    style.legend_beside(axes)
    style.note_below(axes, _note(points, bars))


def _note(points: Sequence[_Point], bars: bool) -> str:
    words = ["Dashed: no change."]
    if any(point.alike for point in points):
        words.append("Hollow: cannot be told from no change (paired t-test, p > 0.05).")
    if bars and any(known(end) for point in points for end in (point.low, point.ci)):
        words.append("Bars: 95 % intervals.")
    return " ".join(words)


def _draw(axes: Axes, points: Sequence[_Point], colour: str, look: tuple[str, float], bars: bool) -> None:
    """The settings of a mode; a point without an interval has no bar."""
    x, y = np.array([point.speedup for point in points]), np.array([point.change for point in points])
    if bars:
        sides = np.array([[point.speedup - point.low, point.high - point.speedup] for point in points])
        halves = np.array([point.ci for point in points])
        pale: dict[str, Any] = {"linestyle": "none", "elinewidth": 0.7, "alpha": 0.35, "zorder": 2}
        axes.errorbar(x, y, yerr=np.nan_to_num(halves), xerr=np.nan_to_num(sides).T, ecolor=colour, **pale)
    alike = np.array([point.alike for point in points])
    for chosen, face in ((alike, "white"), (~alike, colour)):
        marker: dict[str, Any] = {"markerfacecolor": face, "markeredgecolor": colour, "markersize": 0.8 * look[1]}
        axes.plot(x[chosen], y[chosen], look[0], zorder=3, **marker)
    # one entry of the legend whatever points there are
    axes.plot([], [], look[0], color=colour, markersize=0.8 * look[1], label=wrapped(points[0].mode))
