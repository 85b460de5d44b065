"""What a figure leaves out, and says below it."""

from collections.abc import Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation, Transform

from bench.report.data.series import BEATEN, MOST, Series
from bench.report.figures.curves import Curve, Floats
from bench.report.figures.style import (
    GREY,
    SIGNS,
    TINY,
    UP,
    apart,
    note_below,
    plain,
    style_of,
)
from models.common.words import counted

_WIDTH = 126
"""Characters of a footnote's line."""


_BEYOND = 5
"""Lines beyond the axis that the footnote names."""


_GREY = 30
"""Grey lines that the footnote names: more would be a page of names."""


_APART = 0.15
"""Of the width of the axes, how far from one another marks beyond it must be to have a number each."""


def beaten_names(curves: Sequence[Curve]) -> list[str]:
    """The names of the grey lines."""
    # the baseline alone is named beside its star
    grey = [curve for curve in curves if curve.series.beaten and not all(row["baseline"] for row in curve.rows)]
    return [_whole(curve.series.label) for curve in grey]


def mark_beyond(axes: Axes, curves: Sequence[Curve]) -> list[str]:
    """An arrow with the distance above the axes wherever points lie beyond; which lines they are of.

    Lines of which nothing is on the axes come first, then the worst.
    """
    top = axes.get_ylim()[1]
    points = [(x, y, curve.series) for curve in curves for x, y in zip(curve.x, curve.y, strict=True)]
    low, high = np.log(axes.get_xlim())
    groups: list[list[tuple[float, float, Series]]] = []
    for point in sorted((each for each in points if each[1] > top), key=lambda each: each[:2]):
        if groups and np.log(point[0] / groups[-1][0][0]) < _APART * (high - low):
            groups[-1].append(point)
        else:
            groups.append([point])
    for group in groups:
        colours = {BEATEN if series.beaten else series.look.colour for *_, series in group}
        x = float(np.exp(np.mean([np.log(x) for x, *_ in group])))
        arrow: dict[str, Any] = {"marker": UP, "linestyle": "none", "markersize": 6.0, "markeredgewidth": 0.0}
        arrow["color"] = colours.pop() if len(colours) == 1 else GREY
        axes.plot([x], [1.0], transform=_above(axes, 4.5), clip_on=False, **arrow)
        style: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": TINY - 0.5, "color": GREY}
        # brief, as neighbours may be near
        text = f"{'to ' * (len(group) > 1)}{_range([max(y for _, y, _ in group)])}"
        axes.text(x, 1.0, text, transform=_above(axes, 8.0), **style)
    outside = [(curve, curve.y[curve.y > top]) for curve in curves if (curve.y > top).any()]
    outside.sort(key=lambda each: (len(each[1]) < len(each[0].y), -each[1].max()))
    return [f"{'all of ' * (len(y) == len(curve.y))}{curve.series.label} ({_range(y)})" for curve, y in outside]


def _above(axes: Axes, points: float) -> Transform:
    """Places in x at so many points above the axes, when y is 1."""
    return axes.get_xaxis_transform() + ScaledTranslation(0, points / 72, axes.figure.dpi_scale_trans)


def _range(values: Sequence[float] | Floats) -> str:
    return " to ".join(dict.fromkeys(plain(float(f"{value:.2g}")) for value in (min(values), max(values))))


def footnote(axes: Axes, beaten: Sequence[str], beyond: Sequence[str], last: Sequence[str]) -> int:
    """Below the axes: what grey lines are, what lies beyond the axis, and what else must be said; how many lines."""
    if style_of(axes) != "page":
        parts = _counts(len(beaten), len(beyond))
    else:
        parts = []
        if beaten:
            rule = f"neither its family's best nor near the Pareto front (at most {MOST} are in colour), in the table"
            names = beaten if len(beaten) <= _GREY else [f"{len(beaten):,} lines"]
            parts.append(f"Grey: {rule}: {'; '.join(names)}.")
        if beyond:
            more = f" and {len(beyond) - _BEYOND} more" if len(beyond) > _BEYOND else ""
            parts.append(f"Beyond the axis ({SIGNS[UP]}): {'; '.join(map(_whole, beyond[:_BEYOND]))}{more}.")
    if last:
        parts[-1:] = [" ".join([*parts[-1:], *last])]
    if apart(axes.get_figure(root=True), "\n".join(parts)):
        return 0
    lines = [line for part in parts for line in fill(part, _WIDTH, break_on_hyphens=False).splitlines()]
    note_below(axes, "\n".join(lines), left=30, spacing=1.3)
    return len(lines)


def _counts(beaten: int, beyond: int) -> list[str]:
    """The same as captions say it: how many lines, and not which."""
    grey = f"Grey: {beaten:,} other{'s' * (beaten > 1)}, not the best of a family and not near the Pareto front."
    arrows = f"{counted(beyond, 'line')} with points beyond the axis ({SIGNS[UP]}: the largest value there)."
    return [grey] * bool(beaten) + [arrows] * bool(beyond)


def _whole(name: str) -> str:
    """A name that is not broken across lines."""
    return name.replace(" ", "\N{NO-BREAK SPACE}")
