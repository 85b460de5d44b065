"""What the picture shows: the cells of each protocol by method and column, with their images."""

import math
from dataclasses import dataclass
from io import BytesIO
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from bench.packed import read_bytes
from bench.report.data.columns import BUDGETS, PROTOCOL, Line, Row, clippings, line, rows_of
from bench.report.data.distances import OWN_TRUTH, fd_label, rank_columns
from bench.report.data.runs import Run
from bench.report.data.series import MOST, family_order, one_mode_each, outstanding
from bench.report.data.summary import Summary
from bench.report.data.text import known, known_text, scientific, steps_words
from bench.report.data.view import Style

Pixels = NDArray[np.uint8]

_SMALLEST, _LARGEST = 36, 64
"""Pixels of the figure that an image is wide: small ones are enlarged by a whole factor, so that they stay sharp."""
ACROSS = 200
"""Pixels of the figure that a block of images may be wide, so that five fit on a page; wider where there is room."""
_APART = 8
"""Pixels of the figure between images of several maps."""
_PLANE, _FRAME = 160, 200
"""Pixels of the figure that a scatter plot is wide and high, and the grey of its frame."""
_ROW = 5
"""Images that stand in one row, whatever room there is."""
_LINES: dict[Style, int] = {"page": 1_000_000, "paper": 8, "slide": 6}
"""Lines that there is room for in a figure; in each of its parts, `MOST` at most."""
_COLUMNS = 6
"""Step counts that have a column each."""


@dataclass(frozen=True)
class Table:
    """The cells of one protocol and run, with the tiles of pictures that there are, by cell id.

    Lines are of a sampler on a grid with a model, then by column: so many steps or, `by_budget`, at most so many
    evaluations. They are in one `mode`, as far as they have it; None if there is no other. The `kind` of the pictures
    is the records' word: "pictures", "maps" or "points"; of the last two a cell has a single tile.
    """

    label: str
    run: Run
    seed: int
    baseline: Row | None
    mode: str | None
    lines: dict[Line, dict[float, Row]]
    by_budget: bool
    left_out: int
    tiles: dict[str, list[Pixels]]
    kind: str
    winners: set[tuple[Line, int]]

    @property
    def columns(self) -> list[float]:
        return sorted({column for line in self.lines.values() for column in line})


def tables(summary: Summary) -> list[Table]:
    """The parts of the picture, each of one protocol and run."""
    cells = summary.cells.assign(clipping=clippings(summary.cells))
    if summary.sections:  # of images that grow, the looks that have one
        cells = cells[cells["images"].isin([section.images for section in summary.sections])]
    groups = cells.groupby(["run", *PROTOCOL], dropna=False, sort=False)
    # of the first seed only, as of 10,000 cells the others are most
    parts = [each[each["seed"] == each["seed"].iloc[0]] for _, each in groups]
    most = max(2, _LINES[summary.view.style] // max(1, len(parts)))
    return [_table(cells, summary, most, len(parts) > 1) for cells in parts]


def _protocol(row: Row) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in PROTOCOL)


def _table(cells: pd.DataFrame, summary: Summary, most: int, named: bool) -> Table:
    run = next(run for run in summary.runs if run.name == cells["run"].iloc[0])
    mode = run.mode if cells["mode"].nunique() > 1 else None
    rows = rows_of(one_mode_each(cells, run.mode))
    baseline = next((row for row in rows if run.is_baseline(row)), None)
    columns = {row["steps"] for row in rows if row is not baseline}
    by_budget = len(columns) > _COLUMNS
    # the baseline would have a column for itself
    placed = [row for row in rows if row is not baseline or (row["steps"] in columns and not by_budget)]
    lines = _lines(placed, by_budget)
    shown = _shown(lines, rows, summary, most)
    seen = [row for cells in shown.values() for row in cells.values()] + ([] if baseline is None else [baseline])
    tiles = {row["id"]: found for row in seen if (found := tiles_of(run, row))}
    answers = [each for section in summary.sections for each in section.answers]
    winners = {
        (line(each.winner), int(each.winner["steps"]))
        for each in answers
        if each.winner and _protocol(each.winner) == _protocol(rows[0])
    }
    label = f"{run.name}: {rows[0]['model']}, {rows[0]['images']:,} images" if named else ""
    left_out = len(lines) - len(shown)
    kind = next((row["preview_kind"] for row in rows if known_text(row.get("preview_kind"))), "pictures")
    return Table(label, run, rows[0]["seed"], baseline, mode, shown, by_budget, left_out, tiles, kind, winners)


def _lines(rows: list[Row], by_budget: bool) -> dict[Line, dict[float, Row]]:
    """Rows by line and column; of several within a budget, that of the most evaluations."""
    lines: dict[Line, dict[float, Row]] = {}
    for row in sorted(rows, key=_evaluations) if by_budget else rows:
        budget = next((budget for budget in BUDGETS if _evaluations(row) <= budget), math.inf)
        lines.setdefault(line(row), {})[budget if by_budget else int(row["steps"])] = row
    return {each: lines[each] for each in dict.fromkeys(map(line, rows))}


def _evaluations(row: Row) -> float:
    """Of a cell that failed, as many as it has steps, if nobody knows better."""
    return next((float(row[name]) for name in ("nfe", "nfe_declared") if known(row.get(name))), float(row["steps"]))


def _shown(
    lines: dict[Line, dict[float, Row]], rows: list[Row], summary: Summary, most: int
) -> dict[Line, dict[float, Row]]:
    """The lines that there is room for: all, or by family those that stand out among the first model's."""
    section = next((each for each in summary.sections if _protocol(each.records[0]) == _protocol(rows[0])), None)
    most = min(most, MOST)
    if len(lines) <= most or section is None:
        return lines
    standing = outstanding(section, most)
    order = family_order(row["family"] for row in rows)
    families = {line(row): order.index(row["family"]) for row in rows}
    found = [each for each in lines if each in standing]
    return {each: lines[each] for each in sorted(found, key=lambda each: families[each])}


def tiles_of(run: Run, row: Row) -> list[Pixels]:
    """A cell's first images, as large as can be seen; none if there is no picture."""
    strip = strip_of(run, row)
    if strip is None:
        return []
    if row.get("preview_kind") == "points":
        return [scatter(strip)]
    tiles = np.split(strip, int(row["preview_count"]), axis=1)
    return [_maps(tiles)] if row.get("preview_kind") == "maps" else [resized(tile) for tile in tiles]


def strip_of(run: Run, row: Row) -> Pixels | None:
    """A cell's first images side by side, or its points; None if there is no picture, or not what was written, as
    `Summary.broken` says.
    """
    if row["status"] != "ok" or not known(row.get("preview_count")):
        return None
    if (path := run.folder.preview(row["id"])) in run.pictures:
        return None
    try:
        with Image.open(BytesIO(read_bytes(path))) as file:
            strip = np.asarray(file if file.mode in ("L", "RGB") else file.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # of Pillow: broken PNGs, SyntaxError
        return None
    count = int(row["preview_count"])
    return None if count < 1 or strip.shape[1] % count else strip


def _maps(tiles: list[Pixels]) -> Pixels:
    """Up to four images of several maps each, wider apart than those, in a square."""
    shown = tiles[: 4 if len(tiles) > 3 else 1]
    framed = [np.pad(resized(tile, ACROSS // 3, ACROSS // 2), _APART // 2, constant_values=255) for tile in shown]
    return np.vstack([np.hstack(framed[n : n + 2]) for n in range(0, len(framed), 2)])


def scatter(points: Pixels) -> Pixels:
    """A scatter plot (H, W) of samples whose first two coordinates are the rows of (2, N), 0 ... 255 over the value
    range, the second upwards; of a single coordinate (1, N), with the number of the sample upwards.
    """
    across = points[0].astype(np.float64)
    up = points[1] if len(points) > 1 else np.linspace(0.0, 255.0, len(across))
    places = [np.rint(each * ((_PLANE - 6) / 255.0)).astype(int) + 2 for each in (across, 255.0 - up)]
    darkness = np.zeros((_PLANE, _PLANE))
    for down, right in product((0, 1), (0, 1)):  # a point is 2 x 2 pixels
        np.add.at(darkness, (places[1] + down, places[0] + right), 1.0)
    canvas = np.rint(255.0 * 0.6**darkness).astype(np.uint8)  # where points lie upon one another it is darker
    canvas[[0, -1]] = canvas[:, [0, -1]] = _FRAME
    return canvas


def block(tiles: list[Pixels], room: int = ACROSS) -> Pixels:
    """Images (H, W) or (H, W, 3) of one size as a block of one or two rows, as many as a width in pixels holds."""
    height, width = tiles[0].shape[:2]
    down = 2 if len(tiles) > _ROW and 2 * (height + 1) <= ACROSS // 2 else 1
    across = max(1, min((room + 2) // (width + 2), len(tiles) // down))
    canvas = np.full((down * (height + 2) - 2, across * (width + 2) - 2, *tiles[0].shape[2:]), 255, dtype=np.uint8)
    for n, tile in enumerate(tiles[: down * across]):
        top, left = n // across * (height + 2), n % across * (width + 2)
        canvas[top : top + height, left : left + width] = tile
    return canvas


def resized(tile: Pixels, smallest: int = _SMALLEST, largest: int = _LARGEST) -> Pixels:
    """An image enlarged by a whole factor, or reduced, to a size that can be seen."""
    width = tile.shape[1]
    if width > largest:
        size = (largest, max(1, round(tile.shape[0] * largest / width)))
        return np.asarray(Image.fromarray(tile).resize(size, Image.Resampling.BOX))
    factor = -(-smallest // width)
    return tile.repeat(factor, axis=0).repeat(factor, axis=1)


def heading(table: Table, column: float) -> str:
    """What stands above a column."""
    if table.by_budget:
        return f"≤ {column:,} NFE" if math.isfinite(column) else f"> {BUDGETS[-1]:,} NFE"
    return steps_words(int(column))


def caption(row: Row) -> str:
    """What stands below a block: evaluations, and the distance that is ranked by."""
    return ", ".join(caption_parts(row))


def caption_parts(row: Row) -> list[str]:
    """The same in its parts, which have a line each where there is little room."""
    if row["status"] != "ok":
        return []
    name = next((name for name in rank_columns(row) if known(row[name])), None)
    evaluations = [f"NFE {row['nfe']:,.4g}"] if known(row["nfe"]) else []
    quality = [] if name is None else [f"{fd_label(name) if name in OWN_TRUTH else 'FD'} {scientific(row[name])}"]
    return evaluations + quality
