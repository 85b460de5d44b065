"""The lines of a figure: their points with intervals, and how they are drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from bench.report.data.columns import Row
from bench.report.data.series import BEATEN, Series
from bench.report.figures.style import (
    wrapped,
)

Floats = NDArray[np.float64]


_LONGEST = 1 / 3
"""Of the height of the axes, what a bar may take."""


_SHORT = np.log(3.0)
"""The length of axes that grow with what bars need."""


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

    def with_short_bars(self, ends: tuple[float, float]) -> "Curve":
        """Without intervals that take so much of an axis with these ends that they hide what they are about.

        One to zero or below has no end on a logarithmic axis.
        """
        least = np.maximum(self.y - self.spread, np.finfo(float).tiny)
        lengths = np.log(self.y + self.spread) - np.log(least)
        fits = lengths <= _LONGEST * max(np.log(ends[1] / ends[0]), _SHORT)
        return replace(self, spread=np.where(fits, self.spread, 0.0))


def bar_ends(curves: Sequence[Curve], top: float) -> list[float]:
    """The ends of the bars of what is not above the top; grey lines have none."""
    shown = [each for each in curves if not each.series.beaten]
    inside = [(y, half) for each in shown for y, half in zip(each.y, each.spread, strict=True) if half > 0 and y <= top]
    return [end for y, half in inside for end in (y - half, y + half)]


def too_long(curves: Sequence[Curve], short: Sequence[Curve]) -> list[str]:
    """What is said of the intervals that are in no bar of the short ones."""
    pairs = [pair for pair in zip(curves, short, strict=True) if not pair[0].series.beaten]
    left_out = sum(int((each.spread > kept.spread).sum()) for each, kept in pairs)
    are = "interval is" if left_out == 1 else "intervals are"
    return [f"{left_out:,} {are} longer than a third of the axis and left out; see the table."] if left_out else []


def draw(axes: Axes, curve: Curve) -> None:
    """Draw a line with its intervals; one that is beaten in grey, without any."""
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
