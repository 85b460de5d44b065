"""Where grids have their levels: those that were fitted beside fixed ones."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.escape import figure_text
from bench.report.figures.style import DPI, FAINT, GREY, INK, SMALL, TEXT, WIDTH, log_ticks, plain_axes, render
from models.common.words import counted

_BLUE = "#0072B2"
_LINES = ((0, (1, 1)), (0, (4, 2)), (0, (6, 2, 1, 2)), "-")
_ACROSS = 2


class Levels(NamedTuple):
    """The noisy levels of a grid: sigma / alpha, descending."""

    name: str
    sigmas: Sequence[float]
    fitted: bool = False


def draw(title: str, panels: Mapping[int, Sequence[Levels]]) -> bytes:
    """A PNG, with a panel for each number of steps."""
    across = min(_ACROSS, len(panels))
    down = -(-len(panels) // across)
    figure = Figure(figsize=(WIDTH if across > 1 else WIDTH / 2 + 1.0, 0.8 + 2.4 * down), dpi=DPI, layout="constrained")
    figure.suptitle(figure_text(title), x=0.01, ha="left", fontsize=TEXT + 1, fontweight="bold", color=INK)
    every = figure.subplots(down, across, squeeze=False, sharey=True).flatten()
    for axes, (steps, panel) in zip(every, panels.items(), strict=False):
        _panel(axes, steps, panel)
    for axes in every[len(panels) :]:
        axes.set_axis_off()
    handles, names = every[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower left", ncols=4, fontsize=SMALL, frameon=False)
    return render(figure, "png")


def _panel(axes: Axes, steps: int, panel: Sequence[Levels]) -> None:
    plain_axes(axes)
    axes.set_yscale("log")
    for n, each in enumerate(panel):
        colour, line = (_BLUE, "-") if each.fitted else (GREY, _LINES[n % len(_LINES)])
        wide, size = (2.0, 5.0) if each.fitted else (1.0, 3.0)
        axes.plot(
            range(len(each.sigmas)),
            each.sigmas,
            "o",
            linestyle=line,
            color=colour,
            linewidth=wide,
            markersize=size,
            label=figure_text(each.name),
        )
    count = max(len(each.sigmas) for each in panel)
    axes.set_title(counted(steps, "step"), loc="left", fontsize=TEXT, color=INK)
    axes.xaxis.set_major_locator(FixedLocator(range(0, count, 1 + count // 12)))
    axes.yaxis.set_major_locator(FixedLocator(log_ticks(*axes.get_ylim())))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(True, color=FAINT, linewidth=0.6)
    axes.set_xlabel("level", fontsize=TEXT, color=INK)
    axes.set_ylabel("sigma / alpha", fontsize=TEXT, color=INK)
