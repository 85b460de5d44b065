"""The table and the figure of `growth.py`: seconds and memory, with the line that each follows."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from growth import BATCH, IMAGES, STEPS, Point
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.data.text import significant
from bench.report.figures.style import DPI, GREY, INK, SMALL, TEXT, TINY, WIDTH, log_axis, plain_axes, render

COLOURS = {"run": "#0072B2", "plan": "#009E73", "report": "#D55E00"}
HEADINGS = {
    "images": ("images", f"{STEPS} steps, batch {BATCH}"),
    "steps": ("steps", f"{IMAGES:,} images, batch {BATCH}"),
    "batch": ("images at a time", f"{IMAGES:,} images, {STEPS} steps"),
    "cells": ("cells", "planning and reporting, nothing run"),
}
UNITS = {"images": "image", "steps": "step", "batch": "image of a batch", "cells": "cell"}


class Line(NamedTuple):
    """start + slope * value."""

    start: float
    slope: float


def fit(values: Sequence[float], found: Sequence[float]) -> Line:
    """The line of least squares of the relative deviations: a point counts alike, however large it is."""
    x, y = np.asarray(values, dtype=float), np.asarray(found, dtype=float)
    slope, start = np.polyfit(x, y, 1, w=1 / y)
    return Line(float(start), float(slope))


def series(points: Sequence[Point]) -> dict[tuple[str, str], list[Point]]:
    """Points by axis and command, ascending."""
    keys = dict.fromkeys((point.axis, point.what) for point in points)
    chosen = {key: [point for point in points if (point.axis, point.what) == key] for key in keys}
    return {key: sorted(found, key=lambda point: point.value) for key, found in chosen.items()}


def table(points: Sequence[Point]) -> str:
    """Markdown: every point, and the slopes."""
    lines = ["| command | of | | seconds | processor seconds | peak MiB |", "|:--|:--|--:|--:|--:|--:|"]
    lines += [
        f"| {point.what} | {point.axis} | {point.value:,} | {point.seconds:.2f} | {point.processor_s:.2f} | "
        f"{point.peak_mib:,.0f} |"
        for found in series(points).values()
        for point in found
    ]
    said = [sentence for key, found in series(points).items() if (sentence := _slopes(key[1], found))]
    return "\n".join([*lines, "", *said])


def _slopes(what: str, found: Sequence[Point]) -> str | None:
    """What one more costs, of three points or more."""
    if len(found) < 3:
        return None
    axis, values = found[0].axis, [point.value for point in found]
    held = _line(values, [point.peak_mib for point in found], "MiB", 1024.0, "KiB", UNITS[axis])
    if axis == "batch":  # larger batches are faster up to some size: no line
        return f"- {what}, {axis}: at most {held}."
    took = _line(values, [point.seconds for point in found], "s", 1e3, "ms", UNITS[axis])
    return f"- {what}, {axis}: {took}; at most {held}."


def _line(values: Sequence[float], found: Sequence[float], unit: str, fine: float, fine_unit: str, of: str) -> str:
    """The line that points follow, in words; none where they differ by less than 2 % from one end to the other."""
    start, slope = fit(values, found)
    if abs(slope) * (max(values) - min(values)) < 0.02 * max(found):
        return f"{significant(max(found))} {unit}, whatever the number"
    return f"{significant(start)} {unit} and {significant(fine * slope)} {fine_unit} a further {of}"


def draw(points: Sequence[Point], folder: Path) -> None:
    """growth.png and growth.pdf."""
    axes_of = list(dict.fromkeys(point.axis for point in points))
    figure = Figure(figsize=(WIDTH, 4.6), dpi=DPI, layout="constrained")
    figure.suptitle("How cost grows", x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK)
    note = "a whole command, from its start to its exit; lines: start + slope x value, by least squares"
    figure.supxlabel(note, x=0.01, ha="left", fontsize=TINY, color=GREY)
    grid = figure.subplots(2, len(axes_of), squeeze=False, sharex="col")
    for column, axis in enumerate(axes_of):
        chosen = {what: found for (other, what), found in series(points).items() if other == axis}
        heading, fixed = HEADINGS[axis]
        grid[0, column].set_title(fixed.replace(", ", ",\n", 1), loc="left", fontsize=TINY, color=GREY)
        _panel(grid[0, column], chosen, "seconds", line=axis != "batch")
        _panel(grid[1, column], chosen, "peak_mib", line=True)
        grid[1, column].set_xlabel(heading, fontsize=TEXT, color=INK)
    grid[0, 0].set_ylabel("seconds", fontsize=TEXT, color=INK)
    grid[1, 0].set_ylabel("peak memory, MiB", fontsize=TEXT, color=INK)
    for kind in ("png", "pdf"):
        (folder / f"growth.{kind}").write_bytes(render(figure, kind))


def _panel(axes: Axes, chosen: dict[str, list[Point]], column: str, *, line: bool) -> None:
    plain_axes(axes)
    every = [point for found in chosen.values() for point in found]
    log_axis(axes, "x", [point.value for point in every])
    log_axis(axes, "y", [getattr(point, column) for point in every])
    if len(chosen) == 1 and min(axes.get_ylim()) > 0:  # memory that hardly grows should look so
        _widen(axes)
    for what, found in chosen.items():
        x, y = [point.value for point in found], [getattr(point, column) for point in found]
        axes.plot(x, y, "o", markersize=4, color=COLOURS[what], label=what)
        if line and len(found) > 2:
            start, slope = fit(x, y)
            dense = np.geomspace(min(x), max(x), 100)
            axes.plot(dense, start + slope * dense, linewidth=1, color=COLOURS[what])
        elif not line:
            axes.plot(x, y, linewidth=0.8, linestyle=":", color=COLOURS[what])
    if len(chosen) > 1:
        axes.legend(fontsize=SMALL, frameon=False, handletextpad=0.1)
    ticks = [tick for tick in axes.get_xticks() if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]]
    axes.set_xticks(ticks, [_short(tick) for tick in ticks])


def _widen(axes: Axes) -> None:
    """At least a factor of four from bottom to top."""
    low, high = axes.get_ylim()
    if high / low < 4:
        factor = (4 * low / high) ** 0.5
        log_axis(axes, "y", [low / factor, high * factor])


def _short(value: float) -> str:
    """1,000 as 1k, so that labels of narrow panels do not touch."""
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"
