"""A legend of samplers by family, in columns below a figure: a name stands above its first sampler, never beside it."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from bench.escape import figure_text
from bench.report.data.series import FAMILIES
from bench.report.figures.style import INK, TINY

COLUMNS = 4
"""At most."""

Entry = tuple[str, Line2D]


def laid_out(families: Mapping[str, Sequence[Entry]]) -> list[list[Entry]]:
    """The columns, of one length: families one after another, each below its name, which is no column's last entry."""
    groups = [[(name, _blank()), *members] for name, members in families.items()]
    height = max(2, -(-sum(map(len, groups)) // COLUMNS))
    while len(found := _filled(groups, height)) > COLUMNS:
        height += 1
    longest = max(map(len, found))
    return [column + [("", _blank())] * (longest - len(column)) for column in found]


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


def family_legend(
    figure: Figure, columns: Sequence[Sequence[Entry]], families: Sequence[str], coloured: bool
) -> Legend:
    """Draw it.

    Args:
        figure: that it stands below.
        columns: of `laid_out`.
        families: the names among its labels, which are bold.
        coloured: whether they have the colours of the families.
    """
    labels = [label for column in columns for label, _ in column]
    handles = [handle for column in columns for _, handle in column]
    drawn = figure.legend(
        handles,
        labels,
        loc="outside lower left",
        ncols=len(columns),
        fontsize=TINY,
        labelspacing=0.3,
        frameon=False,
        alignment="left",
    )
    colours = {figure_text(name): FAMILIES.get(name, INK) if coloured else INK for name in families}
    for text, handle in zip(drawn.get_texts(), handles, strict=True):
        if text.get_text() in colours and handle.get_linestyle() == "None":
            text.set(color=colours[text.get_text()], fontweight="bold")
    return drawn
