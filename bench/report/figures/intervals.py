"""The intervals of a quality figure: which of them are drawn as bars, and what is said of the others."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bench.report.figures.legend import Curve

_LONGEST = 1 / 3
"""Of the height of the axes, what a bar may take."""
_SHORT = np.log(3.0)
"""The length of axes that grow with what bars need."""


def with_short_bars(curve: Curve, ends: tuple[float, float]) -> Curve:
    """The curve without intervals that take so much of an axis that they hide what they are about.

    One to zero or below has no end on a logarithmic axis.
    """
    least = np.maximum(curve.y - curve.spread, np.finfo(float).tiny)
    lengths = np.log(curve.y + curve.spread) - np.log(least)
    return replace(
        curve, spread=np.where(lengths <= _LONGEST * max(np.log(ends[1] / ends[0]), _SHORT), curve.spread, 0.0)
    )


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
