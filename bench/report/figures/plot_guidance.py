"""What guidance does: quality against its scale, and precision against recall with the scale along the line."""

import math
from collections.abc import Sequence
from dataclasses import replace
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from bench.escape import figure_text
from bench.report.data.columns import Row, guided, has
from bench.report.data.distances import Quality
from bench.report.data.series import LINES, MARKERS, Look, all_looks
from bench.report.data.summary import Summary
from bench.report.data.sweeps import Sweep, Sweeps, sweeps
from bench.report.data.text import known
from bench.report.figures import style
from bench.report.figures.labels import Label, write_labels
from bench.report.figures.legend import Entry, family_legend, laid_out
from bench.report.figures.panels import lettered
from bench.report.figures.style import FAINT, GREY, INK, SMALL, TINY, plain, text_width, wrapped

LOG = 5.0
"""From how many times the least scale on the axis of scales is logarithmic; that of a distance likewise."""
_ROW, _SQUARE, _LINE = 2.15, 3.3, 0.165
"""Inches: of a row of panels, of a panel of precision and recall, of a line of the legend."""
_FILLS = ("full", "none", "left", "bottom", "right", "top")
"""How the markers of guidances are filled, in the order of the legend."""
_BESIDE, _APART = 0.55, 0.03
"""Inches: what stands beside a panel, and between the names of two ticks."""


def guidance(summary: Summary) -> Figure:
    """Quality against the scale, a row of panels for each protocol and budget; ValueError if nothing was swept."""
    found = _found(sweeps(summary))
    columns = max(len(each.qualities) for each in found)
    figure = style.new_figure(
        summary, 0.5 + _ROW * len(found), warned=False, paper=style.ACROSS, highest=style.READABLE
    )
    grid = figure.subplots(len(found), columns, squeeze=False)
    looks = _Looks(summary, found)
    for row, here, words in zip(grid, found, _titles(found, 116), strict=True):
        letter = _letter(row[0], found, here)
        if letter is None or letter:
            _row_title(row[0], words if letter is None else letter, GREY if letter is None else INK)
        for axes in row[len(here.qualities) :]:
            axes.axis("off")
        for axes, quality in zip(row, here.qualities, strict=False):
            _panel(axes, here, quality, looks)
            _scales(axes, here, style.WIDTH / columns - _BESIDE)
    for axes in grid[-1]:
        style.axis_titles(axes, "guidance scale" if len(looks.kinds) > 1 else f"scale of {looks.kinds[0]}")
        axes.xaxis.label.set_fontsize(SMALL)
    real = any(_real(each) is not None for each in found)
    dotted = Line2D([], [], color=GREY, linewidth=0.8, linestyle=(0, (1, 2)))
    beside = [(words, dotted) for words in _plain_words(found)]
    beside += [("real images", Line2D([], [], color=INK, linewidth=0.9))] if real else []
    _legend(figure, looks, beside, [], found, summary)
    return figure


def precision_recall(summary: Summary) -> Figure:
    """Precision against recall, a panel for each protocol and budget; ValueError if nothing was swept."""
    found = _found(with_both(sweeps(summary)))
    across = min(3 if summary.view.style == "slide" else 2, len(found))
    down = -(-len(found) // across)
    figure = style.new_figure(summary, 0.5 + _SQUARE * down, warned=False, paper=style.ACROSS, highest=style.READABLE)
    grid = figure.subplots(down, across, squeeze=False)
    looks, labels = _Looks(summary, found), list[tuple[Axes, list[Label]]]()
    for axes in grid.flat[len(found) :]:
        axes.axis("off")
    for axes, here, words in zip(grid.flat, found, _titles(found, 108 // across), strict=False):
        letter = _letter(axes, found, here)
        if letter is None or letter:
            axes.set_title(letter or words, loc="left", fontsize=TINY, color=INK if letter else GREY)
        labels.append((axes, _trade(axes, here, looks)))
    beside = [(words, _marker("x")) for words in _plain_words(found) if words == _UNGUIDED]
    _legend(figure, looks, beside, ["Numbers: the guidance scale, as far as there is room."], found, summary)
    write_labels(figure, labels)
    return figure


def with_both(found: Sequence[Sweeps]) -> list[Sweeps]:
    """Those of which precision and recall were measured."""
    return [each for each in found if {"precision", "recall"} <= {quality.key for quality in each.qualities}]


def _found(found: list[Sweeps]) -> list[Sweeps]:
    if not found:
        raise ValueError("no guidance has several scales for as many evaluations; there is nothing to draw")
    return found


def _titles(found: Sequence[Sweeps], width: int) -> list[str]:
    """What stands above panels, in lines of so many characters: the budget, above the first of a protocol that, too."""
    said, titles = set[str](), list[str]()
    for here in found:
        label = here.section.label
        lines = [] if label in said else fill(label, width).splitlines()
        said.add(label)
        titles.append(figure_text("\n".join([*lines, *fill(_budget(here), width).splitlines()])))
    return titles


def _letter(axes: Axes, found: Sequence[Sweeps], here: Sweeps) -> str | None:
    """The letter of a panel of a paper, whose caption says the budget and, first of all, the protocol."""
    words, several = _budget(here), len({each.section.label for each in found}) > 1
    if not several and here is found[0]:
        style.apart(axes.get_figure(root=True), f"Protocol: {here.section.label}.")
    return lettered(axes, [f"{words}; protocol: {here.section.label}" if several else words], len(found) == 1)


def _budget(here: Sweeps) -> str:
    return f"At most {here.evaluations:,.0f} network evaluations an image (NFE)"


def _row_title(axes: Axes, words: str, colour: str) -> None:
    """Above a row of panels, from the left of its first, which needs room for its height, but none for its width."""
    axes.set_title("\n".join(" " for _ in words.splitlines()), loc="left", fontsize=TINY)
    place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom"}
    axes.annotate(words, (0, 1), (0, 7), fontsize=TINY, color=colour, **place).set_in_layout(False)


def _plain_words(found: Sequence[Sweeps]) -> list[str]:
    """What the values are called that guided ones are seen beside, if there are any."""
    plains = [sweep.plain for each in found for sweep in each.sweeps if sweep.plain is not None]
    return [_SCALE_1 if all(map(guided, plains)) else _UNGUIDED] if plains else []


_UNGUIDED, _SCALE_1 = "without guidance, as many NFE", "scale 1, as without guidance"


class _Looks:
    """How sweeps are drawn: colour and marker are the sampler's, line and filling those of the kind of guidance."""

    def __init__(self, summary: Summary, found: Sequence[Sweeps]) -> None:
        every, looks = [sweep for each in found for sweep in each.sweeps], all_looks(summary)
        self._first, used = dict[str, Look](), set[tuple[str, str]]()
        for sweep in every:
            if sweep.sampler not in self._first:
                look = looks[sweep.line]
                others = [replace(look, marker=sign, size=size) for sign, size in MARKERS]
                look = next((each for each in (look, *others) if (each.colour, each.marker) not in used), look)
                used.add((look.colour, look.marker))
                self._first[sweep.sampler] = look
        # the plainest first
        self.kinds = sorted(dict.fromkeys(sweep.kind for sweep in every), key=lambda kind: kind.count("["))
        self.samplers = list(self._first)

    def colour(self, sampler: str) -> str:
        return self._first[sampler].colour

    def of_sampler(self, sampler: str) -> dict[str, Any]:
        look = self._first[sampler]
        return {"color": look.colour, "marker": look.marker, "markersize": 0.75 * look.size}

    def of_kind(self, kind: str) -> dict[str, Any]:
        n = self.kinds.index(kind)
        filled = {"fillstyle": _FILLS[n % len(_FILLS)], "markerfacecoloralt": "white", "markeredgewidth": 0.9}
        return {"linestyle": LINES[n % len(LINES)], "linewidth": 1.1, **filled}

    def of(self, sweep: Sweep) -> dict[str, Any]:
        return self.of_sampler(sweep.sampler) | self.of_kind(sweep.kind)


def _marker(sign: str) -> Line2D:
    return Line2D([], [], color=GREY, marker=sign, linestyle="none", markersize=5.5, markeredgewidth=1.4)


def _panel(axes: Axes, here: Sweeps, quality: Quality, looks: _Looks) -> None:
    """One quality; what has no value in it is left out."""
    style.plain_axes(axes)
    values = list[float]()
    for sweep in here.sweeps:
        rows = [(scale, row) for scale, row in sweep.points.items() if _has(row, quality)]
        points = [(scale, quality.scale * row[quality.key]) for scale, row in rows]
        axes.plot(*np.array(points).reshape(-1, 2).T, **looks.of(sweep), zorder=3)
        values += [value for _, value in points]
    plains = {sweep.sampler: sweep.plain for sweep in here.sweeps if sweep.plain and _has(sweep.plain, quality)}
    for sampler, row in plains.items():
        level = quality.scale * row[quality.key]
        axes.axhline(level, color=looks.colour(sampler), linewidth=0.8, linestyle=(0, (1, 2)), zorder=2)
        values.append(level)
    if quality.key == "class_accuracy" and (real := _real(here)) is not None:
        axes.axhline(quality.scale * real, color=INK, linewidth=0.9, zorder=1.5)
    if quality.counts is None and values and min(values) > 0 and max(values) >= LOG * min(values):
        style.log_axis(axes, "y", values)
    else:
        axes.yaxis.grid(True, color=FAINT, linewidth=0.6)
    style.axis_titles(axes, y=quality.heading, size=SMALL)
    axes.tick_params(labelsize=TINY)


def _has(row: Row, quality: Quality) -> bool:
    return known(row.get(quality.key))


def _real(here: Sweeps) -> float | None:
    """The share of real images that are taken for their class."""
    rows = here.section.rows
    return float(rows["class_accuracy_real"].dropna().iloc[0]) if has(rows, "class_accuracy_real") else None


def _scales(axes: Axes, here: Sweeps, width: float) -> None:
    """The axis of the scales, with those for ticks that there is room to name in so many inches."""
    scales = sorted({scale for sweep in here.sweeps for scale in sweep.points})
    logarithmic = scales[0] > 0 and scales[-1] >= LOG * scales[0]
    places = [math.log(scale) if logarithmic else scale for scale in scales]
    length = places[-1] - places[0] or 1.0
    widths, named = [text_width(plain(scale), TINY) for scale in scales], [0]
    for n, place in enumerate(places):
        apart = 0.89 * width * (place - places[named[-1]]) / length
        if apart >= (widths[n] + widths[named[-1]]) / 2 + _APART:
            named.append(n)
    if logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(*(math.exp(end) for end in (places[0] - 0.06 * length, places[-1] + 0.06 * length)))
    axes.xaxis.set_major_locator(FixedLocator([scales[n] for n in named]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.grid(True, color=FAINT, linewidth=0.6)


def _trade(axes: Axes, here: Sweeps, looks: _Looks) -> list[Label]:
    """Draw precision against recall; what is to stand beside its points."""
    style.plain_axes(axes)
    labels = list[Label]()
    for sweep in here.sweeps:
        rows = {scale: row for scale, row in sweep.points.items() if known(row["recall"]) and known(row["precision"])}
        x, y = [row["recall"] for row in rows.values()], [row["precision"] for row in rows.values()]
        axes.plot(x, y, **looks.of(sweep), zorder=3)
        colour = looks.colour(sweep.sampler)
        labels += [Label(right, up, plain(scale), colour) for right, up, scale in zip(x, y, rows, strict=True)]
        row = sweep.plain
        if row is not None and not guided(row) and known(row["recall"]) and known(row["precision"]):
            look: dict[str, Any] = {"marker": "x", "markersize": 5.5, "markeredgewidth": 1.4, "zorder": 3.5}
            axes.plot([row["recall"]], [row["precision"]], color=colour, linestyle="none", **look)
            labels.append(Label(row["recall"], row["precision"], "", colour))
    axes.margins(0.08)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6))
        axis.grid(True, color=FAINT, linewidth=0.6)
    style.axis_titles(axes, "recall, higher is better", "precision, higher is better", size=SMALL)
    axes.xaxis.label.set_fontsize(SMALL)
    return labels


def _legend(
    figure: Figure,
    looks: _Looks,
    beside: Sequence[Entry],
    notes: Sequence[str],
    found: Sequence[Sweeps],
    summary: Summary,
) -> None:
    """Below the figure: samplers by colour, guidances by line where they are several, and what else is drawn."""
    samplers = [(wrapped(each), Line2D([], [], linewidth=1.1, **looks.of_sampler(each))) for each in looks.samplers]
    mark: dict[str, Any] = {"color": GREY, "marker": "o", "markersize": 4.5}
    kinds = [(wrapped(each, 40), Line2D([], [], **mark, **looks.of_kind(each))) for each in looks.kinds]
    groups: dict[str, Sequence[Entry]] = {"Sampler": samplers}
    groups |= {"Guidance": kinds} if len(kinds) > 1 else {}
    groups |= {"For comparison": beside} if beside else {}
    columns = laid_out(groups)
    figure.set_figheight(figure.get_figheight() + _LINE * (len(columns[0]) + 2))
    drawn = family_legend(figure, columns, list(groups), coloured=False)
    mode = f"Mode: {summary.runs[0].mode}." if summary.table["mode"].nunique() > 1 else None
    lines = [*notes, mode, *dict.fromkeys(each.left_out for each in found), style.warning(summary)]
    style.note_above(drawn, figure, list(filter(None, lines)))
