"""What says which line of a figure is which: the legend beside the data, and that of several panels below them."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from bench.escape import figure_text
from bench.report.data.series import FAMILIES, Series, family_order
from bench.report.figures.curves import Curve
from bench.report.figures.style import (
    INK,
    SMALL,
    TINY,
    WIDTH,
    style_of,
    wrapped,
)

Entry = tuple[str, Line2D]

_COLUMNS = 4
"""Of a legend below a figure, at most."""
_BESIDE, _LETTER = 0.56, 0.05
"""Inches of a column beside its labels, and of a letter of these."""


def families(series: Sequence[Series]) -> list[str]:
    """Their families, in the order of the legend; none where colours are not those of families."""
    return family_order(each.family for each in series if each.family is not None)


def legend(axes: Axes, curves: Sequence[Curve], title: str | None) -> None:
    """Beside the data: the samplers that stand out by family, then everything else."""
    pairs = list(zip(*axes.get_legend_handles_labels(), strict=True))
    lines = [pair for pair in pairs if isinstance(pair[0], ErrorbarContainer)]
    family = {wrapped(curve.series.label): curve.series.family for curve in curves}
    shown = families([curve.series for curve in curves if not curve.series.beaten])
    entries = []
    for name in shown:
        members = [pair for pair in lines if family[pair[1]] == name]
        entries += [(_blank(), figure_text(name)), *members] if members else []
    entries = [*(entries or lines), *(pair for pair in pairs if pair not in lines)]
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.02)}
    if (figure := axes.get_figure(root=True)) is not None and style_of(axes) == "paper":
        below = ScaledTranslation(-0.4, -0.38, figure.dpi_scale_trans)
        place |= {"bbox_to_anchor": (0.0, 0.0), "bbox_transform": axes.transAxes + below, "ncols": 2}
        place |= {"columnspacing": 0.7, "handlelength": 1.4, "handletextpad": 0.5, "borderpad": 0.0}
        entries = _without_heading_last(entries, {figure_text(name) for name in shown})
    drawn = axes.legend(
        [handle for handle, _ in entries],
        [label for _, label in entries],
        fontsize=TINY if "ncols" in place else TINY + 0.5 if shown else SMALL,
        labelspacing=0.3 if shown else 0.5,
        frameon=False,
        alignment="left",
        **place,
    )
    _bold_families(drawn, [handle for handle, _ in entries], shown, coloured=True)
    if title is not None:
        drawn.set_title(title, FontProperties(size=TINY))


def _without_heading_last(entries: list[tuple[Any, str]], headings: set[str]) -> list[tuple[Any, str]]:
    """Entries for two columns, of which the first does not end with a heading."""
    found = list(entries)
    while found and found[last := -(-len(found) // 2) - 1][1] in headings:
        found.insert(last, (_blank(), ""))
    return found


def family_legend(figure: Figure, columns: Sequence[Sequence[Entry]], names: Sequence[str], coloured: bool) -> Legend:
    """Below a figure: columns of `laid_out`, the names of families bold and, if they have colours, in theirs."""
    entries = [entry for column in columns for entry in column]
    drawn = figure.legend(
        [handle for _, handle in entries],
        [label for label, _ in entries],
        loc="outside lower left",
        ncols=len(columns),
        fontsize=TINY,
        labelspacing=0.3,
        frameon=False,
        alignment="left",
    )
    _bold_families(drawn, [handle for _, handle in entries], names, coloured)
    return drawn


def _bold_families(drawn: Legend, handles: Sequence[Any], names: Sequence[str], coloured: bool) -> None:
    """The names of families, which have a blank handle."""
    colours = {figure_text(name): FAMILIES.get(name, INK) if coloured else INK for name in names}
    for text, handle in zip(drawn.get_texts(), handles, strict=True):
        if text.get_text() in colours and isinstance(handle, Line2D) and handle.get_linestyle() == "None":
            text.set(color=colours[text.get_text()], fontweight="bold")


def laid_out(groups: Mapping[str, Sequence[Entry]]) -> list[list[Entry]]:
    """The columns, of one length: families one after another, each below its name, which is no column's last entry; as
    many as fit beside one another.
    """
    lists = [[(name, _blank()), *members] for name, members in groups.items()]
    height = max(2, -(-sum(map(len, lists)) // _COLUMNS))
    while (count := len(found := _filled(lists, height))) > _COLUMNS or (count > 1 and _width(found) > WIDTH):
        height += 1
    longest = max(map(len, found))
    return [column + [("", _blank())] * (longest - len(column)) for column in found]


def _width(columns: Sequence[Sequence[Entry]]) -> float:
    """Inches that columns take, about."""
    return sum(_BESIDE + _LETTER * max(len(label) for label, _ in column) for column in columns)


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
