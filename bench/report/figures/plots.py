"""The figures by name. Importing this imports matplotlib, so nothing does before a figure is asked for."""

from collections.abc import Callable

from matplotlib.figure import Figure

from bench.report.data.summary import Summary
from bench.report.data.sweeps import sweeps
from bench.report.figures.plot_error import error_vs_nfe, shown_measures
from bench.report.figures.plot_guidance import guidance, precision_recall, with_both
from bench.report.figures.plot_images import images
from bench.report.figures.plot_modes import comparable, modes
from bench.report.figures.plot_quality import measured, quality_vs_nfe, quality_vs_seconds
from bench.report.figures.plot_time import time_split
from bench.report.figures.style import render

FIGURES: dict[str, Callable[[Summary], Figure]] = {
    "quality_vs_nfe": quality_vs_nfe,
    "quality_vs_seconds": quality_vs_seconds,
    "error_vs_nfe": error_vs_nfe,
    "guidance": guidance,
    "precision_recall": precision_recall,
    "modes": modes,
    "time_split": time_split,
    "images": images,
}

_NEEDS: dict[str, Callable[[Summary], object]] = {
    # where no cell has a result, they say so
    "quality_vs_nfe": lambda summary: measured(summary) or not summary.sections,
    "quality_vs_seconds": lambda summary: any(section.timed for section in measured(summary)) or not summary.sections,
    "error_vs_nfe": shown_measures,
    "guidance": sweeps,
    "precision_recall": lambda summary: with_both(sweeps(summary)),
    "modes": lambda summary: any(map(comparable, summary.sections)),
    "time_split": lambda summary: any(section.timed for section in summary.sections) or not summary.sections,
}


def worth_drawing(summary: Summary) -> list[str]:
    """The names of the figures that have something to say of what was measured."""
    return [name for name in FIGURES if name not in _NEEDS or _NEEDS[name](summary)]


__all__ = ["FIGURES", "render", "worth_drawing"]
