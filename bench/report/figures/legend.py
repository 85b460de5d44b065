"""What says which line of a figure is which: legends, marks beyond the axis, bars of intervals, footnote."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation, Transform
from numpy.typing import NDArray

from bench.escape import figure_text
from bench.report.data.columns import Row
from bench.report.data.series import BEATEN, FAMILIES, MOST, Series, family_order
from bench.report.figures.style import (
    GREY,
    INK,
    SIGNS,
    SMALL,
    TINY,
    UP,
    WIDTH,
    apart,
    note_below,
    plain,
    style_of,
    wrapped,
)
from models.common.words import counted

Floats = NDArray[np.float64]
Entry = tuple[str, Line2D]

_WIDTH = 126
"""Characters of a footnote's line."""
_BEYOND = 5
"""Lines beyond the axis that the footnote names."""
_GREY = 30
"""Grey lines that the footnote names: more would be a page of names."""
_APART = 0.15
"""Of the width of the axes, how far from one another marks beyond it must be to have a number each."""
_LONGEST = 1 / 3
"""Of the height of the axes, what a bar may take."""
_SHORT = np.log(3.0)
"""The length of axes that grow with what bars need."""
_COLUMNS = 4
"""Of a legend below a figure, at most."""
_BESIDE, _LETTER = 0.56, 0.05
"""Inches of a column beside its labels, and of a letter of these."""


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


def families(series: Sequence[Series]) -> list[str]:
    """Their families, in the order of the legend; none where colours are not those of families."""
    return family_order(each.family for each in series if each.family is not None)


def legend(axes: Axes, curves: Sequence[Curve], title: str | None) -> None:
    """Beside the data: the samplers that stand out by family, then everything else."""
    pairs = list(zip(*axes.get_legend_handles_labels(), strict=True))
    lines = [pair for pair in pairs if isinstance(pair[0], ErrorbarContainer)]
    family = {wrapped(curve.series.label): curve.series.family for curve in curves}
    shown = families([curve.series for curve in curves if not curve.series.beaten])
    entries = []
    for name in shown:
        members = [pair for pair in lines if family[pair[1]] == name]
        entries += [(_blank(), figure_text(name)), *members] if members else []
    entries = [*(entries or lines), *(pair for pair in pairs if pair not in lines)]
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.02)}
    if (figure := axes.get_figure(root=True)) is not None and style_of(axes) == "paper":
        below = ScaledTranslation(-0.4, -0.38, figure.dpi_scale_trans)
        place |= {"bbox_to_anchor": (0.0, 0.0), "bbox_transform": axes.transAxes + below, "ncols": 2}
        place |= {"columnspacing": 0.7, "handlelength": 1.4, "handletextpad": 0.5, "borderpad": 0.0}
        entries = _without_heading_last(entries, {figure_text(name) for name in shown})
    drawn = axes.legend(
        [handle for handle, _ in entries],
        [label for _, label in entries],
        fontsize=TINY if "ncols" in place else TINY + 0.5 if shown else SMALL,
        labelspacing=0.3 if shown else 0.5,
        frameon=False,
        alignment="left",
        **place,
    )
    _bold_families(drawn, [handle for handle, _ in entries], shown, coloured=True)
    if title is not None:
        drawn.set_title(title, FontProperties(size=TINY))


def _without_heading_last(entries: list[tuple[Any, str]], headings: set[str]) -> list[tuple[Any, str]]:
    """Entries for two columns, of which the first does not end with a heading."""
    found = list(entries)
    while found and found[last := -(-len(found) // 2) - 1][1] in headings:
        found.insert(last, (_blank(), ""))
    return found


def family_legend(figure: Figure, columns: Sequence[Sequence[Entry]], names: Sequence[str], coloured: bool) -> Legend:
    """Below a figure: columns of `laid_out`, the names of families bold and, if they have colours, in theirs."""
    entries = [entry for column in columns for entry in column]
    drawn = figure.legend(
        [handle for _, handle in entries],
        [label for label, _ in entries],
        loc="outside lower left",
        ncols=len(columns),
        fontsize=TINY,
        labelspacing=0.3,
        frameon=False,
        alignment="left",
    )
    _bold_families(drawn, [handle for _, handle in entries], names, coloured)
    return drawn


def _bold_families(drawn: Legend, handles: Sequence[Any], names: Sequence[str], coloured: bool) -> None:
    """The names of families, which have a blank handle."""
    colours = {figure_text(name): FAMILIES.get(name, INK) if coloured else INK for name in names}
    for text, handle in zip(drawn.get_texts(), handles, strict=True):
        if text.get_text() in colours and isinstance(handle, Line2D) and handle.get_linestyle() == "None":
            text.set(color=colours[text.get_text()], fontweight="bold")


def laid_out(groups: Mapping[str, Sequence[Entry]]) -> list[list[Entry]]:
    """The columns, of one length: families one after another, each below its name, which is no column's last entry; as
    many as fit beside one another.
    """
    lists = [[(name, _blank()), *members] for name, members in groups.items()]
    height = max(2, -(-sum(map(len, lists)) // _COLUMNS))
    while (count := len(found := _filled(lists, height))) > _COLUMNS or (count > 1 and _width(found) > WIDTH):
        height += 1
    longest = max(map(len, found))
    return [column + [("", _blank())] * (longest - len(column)) for column in found]


def _width(columns: Sequence[Sequence[Entry]]) -> float:
    """Inches that columns take, about."""
    return sum(_BESIDE + _LETTER * max(len(label) for label, _ in column) for column in columns)


def _filled(groups: Sequence[Sequence[Entry]], height: int) -> list[list[Entry]]:
    found = list[list[Entry]]([[]])
    for group in groups:
        if len(found[-1]) > height - 2:
            found.append([])
        for entry in group:
            if len(found[-1]) == height:
                found.append([])
            found[-1].append(entry)
    return found


def _blank() -> Line2D:
    return Line2D([], [], linestyle="none")


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
