"""The figures by name. Importing this imports matplotlib, so nothing does before a figure is asked for."""

from collections.abc import Callable

from matplotlib.figure import Figure

from bench.report.plot_images import images
from bench.report.plot_quality import quality_vs_nfe, quality_vs_seconds
from bench.report.plot_time import time_split
from bench.report.style import render
from bench.report.summary import Summary

FIGURES: dict[str, Callable[[Summary], Figure]] = {
    "quality_vs_nfe": quality_vs_nfe,
    "quality_vs_seconds": quality_vs_seconds,
    "time_split": time_split,
    "images": images,
}

__all__ = ["FIGURES", "render"]
