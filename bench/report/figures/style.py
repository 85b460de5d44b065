"""What all figures share: colours, axes that read in plain numbers, title and note. No pyplot, no global state."""

import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from textwrap import fill
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.legend import Legend
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from bench.escape import figure_text, plain_line
from bench.report.data.summary import Summary
from bench.report.data.text import flat
from bench.report.data.view import Style
from bench.report.tables.notes import small_n

HALO = [withStroke(linewidth=2.2, foreground="white")]
"""Keeps words legible that stand on lines."""
INK, FAINT, GREY = "#222222", "#E6E6E6", "#666666"
TEXT, SMALL, TINY = 9.0, 8.0, 7.0
DPI = 160
WIDTH = 7.2
"""Inches: the width of a page's text."""
ABOVE = 1.0
"""Where the title of axes stands, in their heights: no ticks are above, and to look for some takes matplotlib long."""


COLUMN, ACROSS = 3.35, 6.9
"""Inches: the width of a column of a paper, and of both."""
LETTERS = 8.0
"""Points: the size of a paper's figures' letters at most."""
SLIDE = 16 / 9
"""Width by height of a slide."""
READABLE = 6.4
"""Inches: the height of a slide on which the smallest letters can be read."""
_PAPER_DPI, _SLIDE_WIDE = 300, 1920


class Shown(Figure):
    """A figure that notebooks show as its PNG file, without pyplot.

    Attributes:
        style: what it is drawn for.
        said: what would stand around it on a page, and of a paper or a slide stands in the caption, in sentences.
        highest: inches that it may be high as a slide, for letters that can be read.
        letters: of a paper's panels, which the caption calls them by.
    """

    style: Style = "page"
    highest: float = math.inf

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.said: list[str] = []
        self.letters: dict[Axes, str] = {}

    def _repr_png_(self) -> bytes:
        return render(self, "png")


def new_figure(
    summary: Summary, height: float, warned: bool = True, paper: float = COLUMN, highest: float = math.inf
) -> "Shown":
    """A figure of a page's width with the title of the study and, if it is to be warned of few images, the warning.

    A paper's figure has neither, and so many inches of width; a slide's has no warning, and is no higher than asked.
    """
    style = summary.view.style
    figure = Shown(figsize=(paper if style == "paper" else WIDTH, height), dpi=DPI, layout="constrained")
    figure.style, figure.highest = style, highest
    if style != "paper":
        figure.suptitle(title(summary, WIDTH), x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK)
    note = warning(summary) if warned else None
    if note and style == "page":
        figure.supxlabel(figure_text(note), x=0.01, ha="left", fontsize=TINY, color=GREY)
    elif note:
        figure.said.append(note)
    return figure


def style_of(axes: Axes) -> Style:
    """What the figure of some axes is drawn for."""
    figure = axes.get_figure(root=True)
    return figure.style if isinstance(figure, Shown) else "page"


def apart(figure: Figure | None, text: str) -> bool:
    """Whether what would stand around a figure is left to its caption; it is kept for it then."""
    if not isinstance(figure, Shown) or figure.style == "page":
        return False
    figure.said += text.splitlines()
    return True


def note_above(drawn: Legend, figure: Figure, lines: Sequence[str]) -> None:
    """What stands above the legend of a figure, in small letters."""
    if not apart(figure, "\n".join(lines)):
        drawn.set_title(figure_text("\n".join(lines)), FontProperties(size=TINY))
        drawn.get_title().set_color(GREY)


def title(summary: Summary, width: float) -> str:
    """The title of the study for a figure, on lines that fit so many inches."""
    return figure_text(fill(flat(summary.title, 200), int(9.5 * width)))


def warning(summary: Summary) -> str | None:
    """What a selection leaves out, and the small-N note, once for every number of images below the limit."""
    where = "figure" if len(summary.sections) == 1 else "panel"
    left_out = fill(summary.left_out, 130) if summary.left_out else None
    found = [left_out, *(small_n(section, where) for section in summary.sections)]
    return "\n".join(dict.fromkeys(filter(None, found))) or None


def wrapped(label: str, width: int = 26) -> str:
    """A label for a figure, on lines of so many characters: it may break at spaces and beside some signs too."""
    marked = re.sub(r"(?<=[:,])(?=[^\W\d])|(?<=\bmodel=)|(?=\[)|(?<=\w\+)(?=\w)|(?<=[a-z])(?=[A-Z])", _BREAK, label)
    lines = fill(marked, width, break_on_hyphens=False, break_long_words=False)
    return figure_text(lines.replace(_BREAK, "").replace(_BREAK.strip(), ""))


_BREAK = "\N{ZERO WIDTH SPACE} "
"""Where a label may break although it has no space."""


@cache
def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Inches that a line takes in a size in points."""
    font = FontProperties(size=size, weight=weight)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return 1.02 * float(width) / 72  # hinting makes letters a little wider


def plain_axes(axes: Axes) -> None:
    """Axes without a frame, with a light grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(labelsize=SMALL, color=GREY, labelcolor=INK)
    axes.set_axisbelow(True)


def log_axis(axes: Axes, which: Literal["x", "y"], values: Sequence[float]) -> None:
    """A logarithmic axis around some positive values, labelled in plain numbers."""
    margin = max(0.06 * math.log(max(values) / min(values)), 0.05)
    axis = log_scale(axes, which, min(values) * math.exp(-margin), max(values) * math.exp(margin))
    axis.set_minor_locator(LogLocator(subs="auto"))  # without labels, they show that the axis is logarithmic
    axis.set_minor_formatter(NullFormatter())
    axis.set_tick_params(which="minor", color=GREY)


def log_scale(axes: Axes, which: Literal["x", "y"], low: float, high: float) -> Axis:
    """A logarithmic axis between two positive bounds; labelled in plain numbers as far as those are short."""
    axis: Axis = axes.xaxis if which == "x" else axes.yaxis
    axes.set(**{f"{which}scale": "log", f"{which}lim": (low, high)})
    axis.set_major_locator(FixedLocator(log_ticks(low, high)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    axis.grid(True, color=FAINT, linewidth=0.6)
    return axis


def axis_titles(axes: Axes, x: str | None = None, y: str | None = None, size: float = TEXT) -> None:
    """What the axes are, as far as it is given."""
    if x is not None:
        axes.set_xlabel(figure_text(x), fontsize=TEXT, color=INK)
    if y is not None:
        axes.set_ylabel(figure_text(y), fontsize=size, color=INK)


def note_below(axes: Axes, text: str, left: float = 0.0, spacing: float | None = None) -> None:
    """A note below the axes, so many points to the left of them, its lines so far apart."""
    if apart(axes.get_figure(root=True), text):
        return
    place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False}
    style: dict[str, Any] = {"fontsize": TINY, "color": GREY, "va": "top", "linespacing": spacing}
    axes.annotate(figure_text(text), (0, 0), (-left, -34), **place, **style)


def legend_beside(axes: Axes) -> None:
    """A legend right of the axes."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), fontsize=SMALL, frameon=False, alignment="left")


UP, DOWN, RIGHT = r"$\uparrow$", r"$\downarrow$", r"$\rightarrow$"
"""Markers of what lies beyond an axis, which no line has."""
SIGNS = {UP: "\N{UPWARDS ARROW}", DOWN: "\N{DOWNWARDS ARROW}", RIGHT: "\N{RIGHTWARDS ARROW}"}
"""The same in words."""

_DIGITS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9))
"""First digits of the ticks of a decade, from few to many."""


def plain(value: float) -> str:
    """A number without an exponent and without trailing zeros: 0.002, 1.5, 1,000."""
    return f"{value:,.10f}".rstrip("0").rstrip(".")


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two positive bounds, about evenly spaced on a log axis, four or more if possible."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in _DIGITS:
        ticks = [float(f"{digit}e{decade}") for decade in decades for digit in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 4:
            return ticks
    return [float(tick) for tick in MaxNLocator(5).tick_values(low, high) if low <= tick <= high]


def empty(axes: Axes, reason: str) -> None:
    """A panel that says why it is empty."""
    axes.axis("off")
    axes.text(0.5, 0.5, reason, ha="center", va="center", fontsize=TEXT, color=GREY, transform=axes.transAxes)


_OPTIONS: dict[str, dict[str, Any]] = {
    # to compress more takes twice as long, and makes most figures no smaller
    "png": {"metadata": {"Software": None}, "pil_kwargs": {"compress_level": 3}},
    "pdf": {"metadata": {"CreationDate": None}},
}
"""Of a kind of file: without a date the bytes depend on the records only."""


def render(figure: Figure, kind: str) -> bytes:
    """A figure as a file of a kind ("png" or "pdf"), the same bytes for the same figure."""
    style, metadata = _styled(figure)
    if (layout := figure.get_layout_engine()) is not None:
        FigureCanvasAgg(figure)  # which keeps what it has measured of words for the PNG
        layout.execute(figure)
        figure.set_layout_engine(None)  # once for all its files: it takes as long as to draw one
    buffer = io.BytesIO()
    # fonts as TrueType, which journals ask for
    with matplotlib.rc_context({"pdf.fonttype": 42}), _lean_fonts(kind), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # a box stands for it; tables have the letter
        options = _OPTIONS[kind] | {"metadata": _OPTIONS[kind]["metadata"] | metadata.get(kind, {})}
        dpi = {"page": DPI, "paper": _PAPER_DPI, "slide": _SLIDE_WIDE / figure.get_figwidth()}[style]
        figure.savefig(buffer, format=kind, dpi=dpi, facecolor="white", **options)
    return buffer.getvalue()


def _styled(figure: Figure) -> tuple[Style, dict[str, dict[str, str]]]:
    """What a figure is drawn for, and what files of it say of themselves; its letters and shape made fit for that."""
    if not isinstance(figure, Shown) or figure.style == "page":
        return "page", {}
    if figure.style == "paper":
        for text in figure.findobj(Text):
            if isinstance(text, Text):
                text.set_fontsize(min(LETTERS, float(text.get_fontsize())))
    else:
        shape(figure)
    said = plain_line(" ".join(figure.said))
    return figure.style, {"pdf": {"Subject": said}, "png": {"Description": said}}


def shape(figure: Shown) -> None:
    """Give what is laid out for a slide the slide's shape."""
    if figure.style == "slide" and figure.get_layout_engine() is not None:
        width, height = figure.get_size_inches()
        width = max(WIDTH, min(height, figure.highest) * SLIDE)
        figure.set_size_inches(width, width / SLIDE)


@contextmanager
def _lean_fonts(kind: str) -> Iterator[None]:
    """Fonts are embedded with the tables that a PDF reads, as to cut the others down takes longest."""
    if kind != "pdf":
        yield
        return
    from fontTools import subset  # type: ignore[import-untyped]  # a tenth of a second, which a PNG should not wait for

    usual = subset.load_font

    def lean(*arguments: Any) -> Any:
        font = usual(*arguments)
        for table in set(font.keys()) - _READ:
            del font[table]
        return font

    subset.load_font = lean
    try:
        yield
    finally:
        subset.load_font = usual


_READ = {"glyf", "head", "hhea", "hmtx", "loca", "maxp", "cvt ", "fpgm", "prep", "GlyphOrder"}
"""The tables of a TrueType font that PDF asks for (ISO 32000-1, 9.9), and that of fontTools."""
