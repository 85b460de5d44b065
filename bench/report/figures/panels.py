"""What stands above the panels of a figure: what each shows or, in a paper, a letter, of which the caption says it."""

from collections.abc import Sequence
from string import ascii_lowercase
from textwrap import fill

from matplotlib.axes import Axes

from bench.escape import figure_text
from bench.report.data.section import Section
from bench.report.figures.style import ABOVE, GREY, INK, TINY, WIDTH, Shown


def lettered(axes: Axes, sentences: Sequence[str], alone: bool) -> str | None:
    """The letter of a panel of a paper, such as (a), where it is not alone; its caption says the sentences of it.

    None where a title stands there, as on pages and slides.
    """
    figure = axes.get_figure(root=True)
    if not isinstance(figure, Shown) or figure.style != "paper":
        return None
    if axes not in figure.letters:
        figure.letters[axes] = with_letter(figure, sentences, None if alone else len(figure.letters))
    return figure.letters[axes]


def with_letter(figure: Shown, sentences: Sequence[str], n: int | None) -> str:
    """The letter of the n-th part of a paper's figure; its caption says these sentences of it."""
    letter = "" if n is None else f"({_letter(n)})"
    said = [f"{each.strip().rstrip('.')}." for each in sentences if each.strip()]
    first = " ".join(filter(None, (letter, *said[:1])))
    figure.said += [line for line in (first, *said[1:]) if line and line not in figure.said]
    return letter


def _letter(n: int) -> str:
    """a ... z, then aa, ab ..."""
    first = _letter(n // 26 - 1) if n >= 26 else ""
    return f"{first}{ascii_lowercase[n % 26]}"


def panel_title(axes: Axes, section: Section, clock: str | None, width: int = 116, raised: bool = False) -> None:
    """What a panel shows, in lines of so many characters: the protocol, and what times were measured on."""
    figure = axes.get_figure(root=True)
    alone = figure is not None and len(figure.axes) == 1
    pad = 19.0 if raised else 6.0  # above marks on the axes
    sentences = [f"Protocol: {section.label}", *(clock or "").splitlines()]
    if (letter := lettered(axes, sentences, alone)) is not None:
        if letter:
            axes.set_title(letter, loc="left", fontsize=TINY, color=INK, pad=pad, y=ABOVE)
        return
    if isinstance(figure, Shown) and figure.style == "slide":
        if alone:
            said = [f"{each.rstrip('.')}." for each in sentences]
            figure.said += [line for line in said if line not in figure.said]
            return
        width = int(width * figure.get_figwidth() / WIDTH)
    text = section.label if clock is None else f"{section.label}\n{clock}"
    lines = "\n".join(fill(line, width) for line in text.splitlines())
    axes.set_title(figure_text(lines), loc="left", fontsize=TINY, color=GREY, pad=pad, y=ABOVE)
