"""Words beside points, as far as there is room for them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from bench.report.figures.style import HALO, TINY, Shown, shape, text_width


class Label(NamedTuple):
    """A word beside a point in data coordinates."""

    x: float
    y: float
    text: str
    colour: str


_ROOM = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
"""Where a label may stand beside its point, right and up, the best place first."""


def write_labels(figure: Figure, panels: Sequence[tuple[Axes, list[Label]]]) -> None:
    """Write what there is room for: no label lies on another, on a point or on the edge; the ends of lines first."""
    FigureCanvasAgg(figure)
    if isinstance(figure, Shown):
        shape(figure)
    figure.draw_without_rendering()  # the layout says where points are
    dot = figure.dpi / 72
    for axes, labels in panels:
        points = [tuple(axes.transData.transform((each.x, each.y))) for each in labels]
        taken = [Bbox.from_extents(x - 3 * dot, y - 3 * dot, x + 3 * dot, y + 3 * dot) for x, y in points]
        inside = axes.get_window_extent()
        for each, (x, y) in zip(labels, points, strict=True):
            width, height = figure.dpi * text_width(each.text, TINY - 0.5), (TINY - 1.0) * dot
            for right, up in _ROOM if each.text else ():
                middle = x + right * (width / 2 + 4 * dot), y + up * (height / 2 + 4 * dot)
                box = Bbox.from_bounds(middle[0] - width / 2, middle[1] - height / 2, width, height)
                free = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
                if free and not any(box.overlaps(other) for other in taken):
                    taken.append(box)
                    words: dict[str, Any] = {"fontsize": TINY - 0.5, "color": each.colour, "path_effects": HALO}
                    offset = ((middle[0] - x) / dot, (middle[1] - y) / dot)
                    words |= {"ha": "center", "va": "center", "textcoords": "offset points", "zorder": 4}
                    axes.annotate(each.text, (each.x, each.y), offset, **words).set_in_layout(False)
                    break
