"""The figures by name. Importing this imports matplotlib, so nothing does before a figure is asked for."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection

from matplotlib.figure import Figure

from bench.report.data.summary import Summary
from bench.report.data.sweeps import sweeps
from bench.report.figures.captions import chosen_axes
from bench.report.figures.plot_chosen import chosen
from bench.report.figures.plot_error import error_vs_nfe, shown_measures
from bench.report.figures.plot_guidance import guidance, precision_recall, with_both
from bench.report.figures.plot_images import images
from bench.report.figures.plot_modes import comparable, modes
from bench.report.figures.plot_quality import measured, quality_vs_nfe, quality_vs_seconds
from bench.report.figures.plot_time import time_split
from bench.report.figures.style import Shown, render
from models.common.errors import UsageError
from models.plugins.registry import unknown

FIGURES: dict[str, Callable[[Summary], Figure]] = {
    "quality_vs_nfe": quality_vs_nfe,
    "quality_vs_seconds": quality_vs_seconds,
    "error_vs_nfe": error_vs_nfe,
    "guidance": guidance,
    "precision_recall": precision_recall,
    "modes": modes,
    "time_split": time_split,
    "images": images,
    "chosen": chosen,
}

_NEEDS: dict[str, tuple[Callable[[Summary], object], str]] = {
    # where no cell has a result, they say so
    "quality_vs_nfe": (
        lambda summary: measured(summary) or not summary.sections,
        "no Frechet distance to a reference was measured",
    ),
    "quality_vs_seconds": (
        lambda summary: any(section.timed for section in measured(summary)) or not summary.sections,
        "no row has both a Frechet distance to a reference and a time",
    ),
    "error_vs_nfe": (shown_measures, "no error was measured where the truth is known"),
    "guidance": (sweeps, "no guidance has several scales for as many evaluations"),
    "precision_recall": (
        lambda summary: with_both(sweeps(summary)),
        "no guidance has several scales for as many evaluations, with precision and recall",
    ),
    "modes": (
        lambda summary: any(map(comparable, summary.sections)),
        "no timed rows differ in the mode only",
    ),
    "chosen": (chosen_axes, "no axes were asked for"),
    "time_split": (
        lambda summary: any(section.timed for section in summary.sections) or not summary.sections,
        "nothing was timed",
    ),
}
"""What figures are drawn of, and what is to be said without it."""


def worth_drawing(summary: Summary) -> list[str]:
    """The names of the figures that have something to say of what was measured."""
    return [name for name in FIGURES if name not in _NEEDS or _NEEDS[name][0](summary)]


def draw(summary: Summary, name: str) -> Figure:
    """The figure of a name; UsageError if there is none, or if it has nothing to say of what was measured."""
    if name not in FIGURES:
        raise unknown("figure", name, FIGURES)
    worth = worth_drawing(summary)
    if name not in worth:
        raise UsageError(f"nothing to draw in the figure {name!r}: {_NEEDS[name][1]}. There is: {', '.join(worth)}.")
    return FIGURES[name](summary)


Drawn = dict[tuple[str, str], bytes]
"""Files of figures, by name and kind."""
SAID = "said"
"""The kind that is what a caption has to say, in lines."""


def drawing(summary: Summary, kinds: Sequence[str]) -> Callable[[], Drawn]:
    """Begin to draw the figures worth it as files of some kinds, every second one in a process beside this one.

    Returns:
        What draws the others, and gives all of them.
    """
    if "pdf" in kinds:
        import matplotlib.backends.backend_pdf  # noqa: F401  # which else both processes would import

    names = worth_drawing(summary)
    others = beside(lambda: _draw(summary, names[::2], kinds))

    def finish() -> Drawn:
        drawn = _draw(summary, names[1::2], kinds) | others()
        return {(name, kind): drawn[name, kind] for kind in (*kinds, SAID) for name in names if (name, kind) in drawn}

    return finish


def _draw(summary: Summary, names: Sequence[str], kinds: Sequence[str]) -> Drawn:
    figures = {name: FIGURES[name](summary) for name in names}
    files = {(name, kind): render(figure, kind) for name, figure in figures.items() for kind in kinds}
    said = {(name, SAID): "\n".join(each.said) for name, each in figures.items() if isinstance(each, Shown)}
    return files | {place: text.encode() for place, text in said.items() if text}


def beside(make: Callable[[], Drawn]) -> Callable[[], Drawn]:
    """Begin to make files in a process beside this one, which knows what this one does; what gives them.

    They are made here, and when they are asked for, where that process cannot begin or ends before it is done, where
    there is one processor, and where a fork is not safe: on other systems than Linux, beside torch, whose threads and
    devices do not survive it, and beside threads of whoever asks, as a notebook has, which may hold what it needs.
    """
    if sys.platform != "linux" or "torch" in sys.modules or len(os.sched_getaffinity(0)) < 2 or _beside_threads():
        return make
    context = get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(theirs, make), daemon=True)
    try:
        process.start()
    except OSError:  # too many processes, or too little memory
        return make
    theirs.close()  # so that its end is seen

    def take() -> Drawn:
        try:
            found: Drawn = ours.recv()
        except (EOFError, OSError):
            return make()
        process.join()
        return found

    return take


def _beside_threads() -> bool:
    """Whether other threads run than that which draws progress."""
    others = set(threading.enumerate()) - {threading.current_thread()}
    return any(type(each).__module__ != "rich.live" for each in others)


def _send(pipe: "Connection[Drawn, None]", make: Callable[[], Drawn]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever waits for this ends it
    sys.stderr = sys.__stderr__  # and not what shows progress, which another thread may be writing to
    with suppress(Exception):  # it comes again where it can be told
        pipe.send(make())


__all__ = ["FIGURES", "beside", "draw", "drawing", "render", "worth_drawing"]
