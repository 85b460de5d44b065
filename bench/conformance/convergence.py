"""The picture of a solver's order: its error against steps, beside the slope that it declares. Needs matplotlib.

`python -m bench.conformance.convergence FILE` draws all samplers that declare an order, a panel for each order.
"""

import math
import sys
from pathlib import Path
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.conformance import laws
from bench.escape import figure_text
from bench.report.figures.style import DPI, FAINT, GREY, INK, SMALL, TEXT, log_ticks, plain_axes, render
from models.common.writing import write_bytes
from models.plugins.foreign import INTERRUPTIONS, told
from samplers import SAMPLERS, Sampler

_BLUE = "#0072B2"


class NothingToDraw(Exception):
    """There is no convergence to draw; the message says why."""


def draw(name: str, sampler: Sampler, path: Path) -> laws.Convergence:
    """Write the convergence plot of a sampler to a .png or .pdf file and return what it shows.

    Raises:
        NothingToDraw: it declares no order, raises, or its errors have no place on a logarithmic axis.
    """
    try:
        if sampler.order is None:
            raise NothingToDraw(f"{name} declares no order, as it does not solve the probability-flow ODE")
        found = laws.convergence(sampler)
    except (NothingToDraw, *INTERRUPTIONS):
        raise
    except BaseException as error:  # whatever a stranger's sampler raises
        raise NothingToDraw(f"{name} raised {told(error)}") from error
    if not all(math.isfinite(error) and error > 0.0 for error in found.errors):
        raise NothingToDraw(f"the errors of {name} are not positive numbers: {list(found.errors)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, render(_figure(name, sampler.order, found), path.suffix[1:]))
    return found


def _figure(name: str, order: int, found: laws.Convergence) -> Figure:
    figure = Figure(figsize=(5.2, 3.9), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    title = figure_text(fill(name, 52, break_on_hyphens=False))
    axes.set_title(title, loc="left", fontsize=TEXT + 1, fontweight="bold", color=INK)
    axes.set_xscale("log")
    axes.set_yscale("log")
    # through the last point, where the order shows first
    slope = [found.errors[-1] * (count / found.steps[-1]) ** -order for count in found.steps]
    axes.plot(found.steps, slope, "--", color=GREY, linewidth=1.0, label=f"declared: order {order}")
    axes.plot(found.steps, found.errors, "-o", color=_BLUE, markeredgecolor="white", label="measured, with its orders")
    for i, halved in enumerate(found.orders):
        middle = math.sqrt(found.steps[i] * found.steps[i + 1]), math.sqrt(found.errors[i] * found.errors[i + 1])
        axes.annotate(
            f"{halved:.2f}", middle, (6, 4), textcoords="offset points", fontsize=SMALL, color=_BLUE, ha="left"
        )
    _axes(axes, found)
    axes.legend(fontsize=SMALL, frameon=False, loc="lower left")
    return figure


def _axes(axes: Axes, found: laws.Convergence) -> None:
    """Ticks at the steps and at round errors, in plain numbers; once the data have set the limits."""
    plain_axes(axes)
    axes.xaxis.set_major_locator(FixedLocator(list(found.steps)))
    axes.yaxis.set_major_locator(FixedLocator(log_ticks(*axes.get_ylim())))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(True, color=FAINT, linewidth=0.6)
    axes.set_xlabel("steps", fontsize=TEXT, color=INK)
    axes.set_ylabel("RMS distance to the exact solution", fontsize=TEXT, color=INK)


def overview(path: Path) -> None:
    """Write one figure of every sampler of the tree that declares an order at its defaults."""
    made = {name: SAMPLERS.make(name) for name in SAMPLERS.names()}
    orders = sorted({sampler.order for sampler in made.values() if sampler.order is not None})
    figure = Figure(figsize=(3.4 * len(orders), 3.9), dpi=DPI, layout="constrained")
    for axes, order in zip(figure.subplots(1, len(orders), sharey=True, squeeze=False)[0], orders, strict=True):
        found = {name: laws.convergence(sampler) for name, sampler in made.items() if sampler.order == order}
        axes.set_xscale("log")
        axes.set_yscale("log")
        worst = max(found.values(), key=lambda each: each.errors[-1])
        slope = [2.0 * worst.errors[-1] * (count / worst.steps[-1]) ** -order for count in worst.steps]
        axes.plot(worst.steps, slope, "--", color=GREY, linewidth=1.0, label=f"slope {order}")
        for (name, each), marker in zip(found.items(), "osD^vP*X<>", strict=False):
            label = f"{name}: {each.orders[-1]:.2f}"
            axes.plot(each.steps, each.errors, marker=marker, markersize=4, linewidth=1.0, label=label)
        axes.set_title(f"declared: order {order}", loc="left", fontsize=TEXT, fontweight="bold", color=INK)
        _axes(axes, worst)
        axes.legend(
            fontsize=SMALL, frameon=False, loc="lower left", title="slope of the last doubling", title_fontsize=SMALL
        )
        if axes is not figure.axes[0]:
            axes.set_ylabel("")
    for axes in figure.axes:
        axes.yaxis.set_major_locator(FixedLocator(log_ticks(*axes.get_ylim())))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, render(figure, path.suffix[1:]))


if __name__ == "__main__":
    overview(Path(sys.argv[1]))
