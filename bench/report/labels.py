"""What says which line of a quality figure is which: legend, numbers on grey lines, marks beyond the axis, footnote."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.transforms import ScaledTranslation, Transform
from numpy.typing import NDArray
from scipy.spatial import KDTree

from bench.report.series import BEATEN, FAMILIES, MOST, Series
from bench.report.style import GREY, INK, SMALL, TINY, plain

Floats = NDArray[np.float64]

_SIZE = np.array((4.1, 3.3))
"""Inches of the axes, about: the layout is only known when everything is in place."""
_CROWDED = 0.16
"""Inches: a number this far from all other lines could not stand better."""
_WIDTH = 126
"""Characters of a footnote's line."""
_NAMED = 5
"""Lines beyond the axis that the footnote names."""
_NUMBERED = 60
"""Grey lines that can have a number each: those of more could not be found in the figure."""


@dataclass(frozen=True)
class Curve:
    """A series with its points on the axes, and half the widths of their 95 % intervals (0 if they have none)."""

    series: Series
    x: Floats
    y: Floats
    spread: Floats


def wrapped(label: str) -> str:
    """A long specification on two lines: a wide legend would take its width from the axes."""
    return label if len(label) <= 24 else label.replace("[", "\n[", 1)


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
    named = families([curve.series for curve in curves if not curve.series.beaten])
    for name in named:
        entries += [(Line2D([], [], linestyle="none"), name), *(pair for pair in lines if family[pair[1]] == name)]
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
            text.set(color=FAMILIES.get(text.get_text(), INK), fontweight="bold")
    if title is not None:
        drawn.set_title(title, FontProperties(size=TINY))


def number_beaten(axes: Axes, curves: Sequence[Curve]) -> list[str]:
    """A number on each grey line, where it is farthest from all others; the numbers with the names, in their order.

    Where lines are too many to have numbers, none has one, and what is returned says how many they are.
    """
    count = sum(curve.series.beaten for curve in curves)
    if count > _NUMBERED:
        return [f"{count:,} lines, too many to be named; the table has them"]
    paths = [_path(axes, curve) for curve in curves]
    taken = np.empty((0, 2))
    names: list[str] = []
    for n, curve in enumerate(curves):
        if not curve.series.beaten or not len(paths[n]):
            continue
        lines = np.concatenate([path for m, path in enumerate(paths) if m != n])
        # a number is twice as wide as a line needs to be away
        distances = np.minimum(_distances(paths[n], lines), 0.5 * _distances(paths[n], taken))
        at = paths[n][int(np.minimum(distances, _CROWDED).argmax())]
        names.append(f"{len(names) + 1}\N{NO-BREAK SPACE}{_whole(curve.series.label)}")
        x, y = (at / _SIZE).tolist()
        text = axes.text(x, y, str(len(names)), transform=axes.transAxes, fontsize=5.5, color=GREY)
        text.set(ha="center", va="center", zorder=3.5, path_effects=[withStroke(linewidth=2.2, foreground="white")])
        taken = np.concatenate([taken, at[None]])
    return names


def _distances(points: Floats, others: Floats) -> Floats:
    """Of each point to the nearest of others; infinite if there are none."""
    if not len(others):
        return np.full(len(points), np.inf)
    return np.asarray(KDTree(others).query(points)[0], dtype=np.float64)


def _path(axes: Axes, curve: Curve) -> Floats:
    """Points along the visible part of a line, inches from the lower left corner of the axes."""
    low = np.log([axes.get_xlim()[0], axes.get_ylim()[0]])
    high = np.log([axes.get_xlim()[1], axes.get_ylim()[1]])
    at = (np.log(np.column_stack([curve.x, curve.y])) - low) / (high - low)
    between = [np.linspace(a, b, 16) for a, b in pairwise(at)]
    path = np.concatenate([at, *between])
    inside = ((path > 0.02) & (path < 0.98)).all(axis=1)
    return np.asarray(path[inside] * _SIZE)


def mark_beyond(axes: Axes, curves: Sequence[Curve]) -> list[str]:
    """A triangle with the distance above the axes wherever points lie beyond; which lines they are of.

    Lines of which nothing is on the axes come first, then the worst.
    """
    top = axes.get_ylim()[1]
    points = [(x, y, curve.series) for curve in curves for x, y in zip(curve.x, curve.y, strict=True)]
    beyond = sorted((each for each in points if each[1] > top), key=lambda each: each[:2])
    low, high = np.log(axes.get_xlim())
    groups: list[list[tuple[float, float, Series]]] = []
    for point in beyond:
        if groups and np.log(point[0] / groups[-1][0][0]) < 0.1 * (high - low):
            groups[-1].append(point)
        else:
            groups.append([point])
    for group in groups:
        colours = {BEATEN if series.beaten else series.look.colour for *_, series in group}
        x = float(np.exp(np.mean([np.log(x) for x, *_ in group])))
        colour = colours.pop() if len(colours) == 1 else GREY
        axes.plot([x], [1.0], "^", color=colour, markersize=4.5, transform=_above(axes, 4.0), clip_on=False)
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
        rule = f"neither its family's best nor near the Pareto front (at most {MOST} are in colour)"
        parts.append(f"Grey: {rule}: {', '.join(beaten)}.")
    if beyond:
        more = f" and {len(beyond) - _NAMED} more" if len(beyond) > _NAMED else ""
        parts.append(f"Beyond the axis (▲): {', '.join(map(_whole, beyond[:_NAMED]))}{more}.")
    if last:
        parts[-1:] = [" ".join([*parts[-1:], *last])]
    lines = [line for part in parts for line in fill(part, _WIDTH, break_on_hyphens=False).splitlines()]
    style: dict[str, Any] = {"fontsize": TINY, "color": GREY, "va": "top", "linespacing": 1.3}
    at: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False}
    axes.annotate("\n".join(lines), (0, 0), (-30, -34), **at, **style)
    return len(lines)


def _whole(name: str) -> str:
    """A name that is not broken across lines."""
    return name.replace(" ", "\N{NO-BREAK SPACE}")
