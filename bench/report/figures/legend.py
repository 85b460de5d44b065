"""What says which line of a quality figure is which: legend, marks beyond the axis, footnote."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation, Transform
from numpy.typing import NDArray

from bench.escape import figure_text
from bench.report.data.columns import Row
from bench.report.data.series import BEATEN, FAMILIES, MOST, Series
from bench.report.figures.style import GREY, INK, SIGNS, SMALL, TINY, UP, plain, wrapped

Floats = NDArray[np.float64]

_WIDTH = 126
"""Characters of a footnote's line."""
_BEYOND = 5
"""Lines beyond the axis that the footnote names."""
_GREY = 30
"""Grey lines that the footnote names: more would be a page of names."""
_APART = 0.15
"""Of the width of the axes, how far from one another marks beyond it must be to have a number each."""


@dataclass(frozen=True)
class Curve:
    """A series with the rows that have a place on the axes, their points, and half the widths of their 95 % intervals.

    A width is 0 where there is no interval.
    """

    series: Series
    rows: list[Row]
    x: Floats
    y: Floats
    spread: Floats


def families(curves: Sequence[Series]) -> list[str]:
    """The families of some series, in the order of the legend; none where colours are not those of families."""
    present = {each.family for each in curves if each.family is not None}
    return [name for name in FAMILIES if name in present] + sorted(present - set(FAMILIES))


def legend(axes: Axes, curves: Sequence[Curve], title: str | None) -> None:
    """Beside the data: the samplers that stand out by family, then everything else."""
    pairs = list(zip(*axes.get_legend_handles_labels(), strict=True))
    lines = [pair for pair in pairs if isinstance(pair[0], ErrorbarContainer)]
    others = [pair for pair in pairs if not isinstance(pair[0], ErrorbarContainer)]
    family = {wrapped(curve.series.label): curve.series.family for curve in curves}
    entries = []
    shown = families([curve.series for curve in curves if not curve.series.beaten])
    named = {figure_text(name): name for name in shown}
    for label, name in named.items():
        members = [pair for pair in lines if family[pair[1]] == name]
        entries += [(Line2D([], [], linestyle="none"), label), *members] if members else []
    entries = [*(entries or lines), *others]
    drawn = axes.legend(
        [handle for handle, _ in entries],
        [label for _, label in entries],
        loc="upper left",
        bbox_to_anchor=(1.01, 1.02),
        fontsize=TINY + 0.5 if named else SMALL,
        labelspacing=0.3 if named else 0.5,
        frameon=False,
        alignment="left",
    )
    for text in drawn.get_texts():
        if text.get_text() in named:
            text.set(color=FAMILIES.get(named[text.get_text()], INK), fontweight="bold")
    if title is not None:
        drawn.set_title(title, FontProperties(size=TINY))


def beaten_names(curves: Sequence[Curve]) -> list[str]:
    """The names of the grey lines; where they are too many for a footnote, how many they are."""
    # the baseline alone is named beside its star
    grey = [curve for curve in curves if curve.series.beaten and not all(row["baseline"] for row in curve.rows)]
    names = [_whole(curve.series.label) for curve in grey]
    return names if len(names) <= _GREY else [f"{len(names):,} lines"]


def mark_beyond(axes: Axes, curves: Sequence[Curve]) -> list[str]:
    """An arrow with the distance above the axes wherever points lie beyond; which lines they are of.

    Lines of which nothing is on the axes come first, then the worst.
    """
    top = axes.get_ylim()[1]
    points = [(x, y, curve.series) for curve in curves for x, y in zip(curve.x, curve.y, strict=True)]
    beyond = sorted((each for each in points if each[1] > top), key=lambda each: each[:2])
    low, high = np.log(axes.get_xlim())
    groups: list[list[tuple[float, float, Series]]] = []
    for point in beyond:
        if groups and np.log(point[0] / groups[-1][0][0]) < _APART * (high - low):
            groups[-1].append(point)
        else:
            groups.append([point])
    for group in groups:
        colours = {BEATEN if series.beaten else series.look.colour for *_, series in group}
        x = float(np.exp(np.mean([np.log(x) for x, *_ in group])))
        colour = colours.pop() if len(colours) == 1 else GREY
        arrow: dict[str, Any] = {"marker": UP, "linestyle": "none", "markersize": 6.0, "markeredgewidth": 0.0}
        axes.plot([x], [1.0], color=colour, transform=_above(axes, 4.5), clip_on=False, **arrow)
        style: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": TINY - 0.5, "color": GREY}
        axes.text(x, 1.0, _largest([y for _, y, *_ in group]), transform=_above(axes, 8.0), **style)
    outside = [(curve, curve.y[curve.y > top]) for curve in curves if (curve.y > top).any()]
    outside.sort(key=lambda each: (len(each[1]) < len(each[0].y), -each[1].max()))
    return [f"{'all of ' * (len(y) == len(curve.y))}{curve.series.label} ({_range(y)})" for curve, y in outside]


def _above(axes: Axes, points: float) -> Transform:
    """Places in x at so many points above the axes, when y is 1."""
    return axes.get_xaxis_transform() + ScaledTranslation(0, points / 72, axes.figure.dpi_scale_trans)


def _largest(values: Sequence[float]) -> str:
    """Brief, as neighbours may be near."""
    return f"{'to ' * (len(values) > 1)}{_range([max(values)])}"


def _range(values: Sequence[float] | Floats) -> str:
    return " to ".join(dict.fromkeys(plain(float(f"{value:.2g}")) for value in (min(values), max(values))))


def footnote(axes: Axes, beaten: Sequence[str], beyond: Sequence[str], last: Sequence[str]) -> int:
    """Below the axes: what grey lines are, what lies beyond the axis, and what else must be said; how many lines."""
    parts = []
    if beaten:
        rule = f"neither its family's best nor near the Pareto front (at most {MOST} are in colour), in the table"
        parts.append(f"Grey: {rule}: {'; '.join(beaten)}.")
    if beyond:
        more = f" and {len(beyond) - _BEYOND} more" if len(beyond) > _BEYOND else ""
        parts.append(f"Beyond the axis ({SIGNS[UP]}): {'; '.join(map(_whole, beyond[:_BEYOND]))}{more}.")
    if last:
        parts[-1:] = [" ".join([*parts[-1:], *last])]
    lines = [line for part in parts for line in fill(part, _WIDTH, break_on_hyphens=False).splitlines()]
    style: dict[str, Any] = {"fontsize": TINY, "color": GREY, "va": "top", "linespacing": 1.3}
    at: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False}
    axes.annotate(figure_text("\n".join(lines)), (0, 0), (-30, -34), **at, **style)
    return len(lines)


def _whole(name: str) -> str:
    """A name that is not broken across lines."""
    return name.replace(" ", "\N{NO-BREAK SPACE}")
