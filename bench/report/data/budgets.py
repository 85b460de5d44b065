"""Which setting stands where in the table that papers print: a line for each sampler, a column for each budget."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pandas as pd

from bench.report.data.columns import PROTOCOL, Line, Row, guest, line
from bench.report.data.distances import OWN_TRUTH, Quality
from bench.report.data.section import Section
from bench.report.data.series import family_order, named_lines
from bench.report.data.summary import Summary
from bench.report.data.text import known, known_text

NEAR = 0.85
"""What share of a number of evaluations another has to be to stand under it, if no sampler was run with both."""


@dataclass
class TableLine:
    """A sampler on a grid, with a model, in a mode, ...: whatever tells lines apart.

    Attributes:
        label: what it is called, as in the figures.
        key: which line of a figure it is.
        family: of its sampler.
        model: None for the study's own.
        baseline: the row of the baseline, if it is in this line.
        cells: the row that stands in a column, by the number of the column.
        failed: the numbers of the columns whose setting failed, and -1 for what failed and has no column.
    """

    label: str
    key: Line
    family: str
    model: str | None
    baseline: Row | None
    cells: dict[int, Row] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Budgets:
    """The table.

    Attributes:
        by: what the columns are of: "nfe" (evaluations an image), "steps" or "seconds" (an image).
        columns: the budgets, ascending.
        lines: the baseline's first, then by model and family.
        left_out: rows that have a value, but no place: others of their line and budget have it.
    """

    by: str
    columns: list[float]
    lines: list[TableLine]
    left_out: int


def budgets(section: Section, summary: Summary, quality: Quality) -> Budgets | None:
    """The table of a section; None if it has no value of that quality."""
    by, rows = summary.view.columns, section.records
    failed = [row | {"failed": True} for row in summary.failed if _belongs(row, section)]
    placed = [row for row in rows if known(row.get(quality.key)) and known(row.get(_COST[by]))]
    if not placed:
        return None
    found = _columns(by, placed, failed, _planned(summary, placed))
    frame = pd.DataFrame.from_records([*placed, *failed])
    lines = [_line(label, members, by, found, quality) for label, members in named_lines(frame)]
    shown = sum(len(line.cells) for line in lines)
    return Budgets(by, found, _ordered(lines), len(placed) - shown if by != "seconds" else 0)


_COST = {"nfe": "nfe", "steps": "steps", "seconds": "s_per_image_median"}


def _belongs(row: Row, section: Section) -> bool:
    """Whether a cell that failed would be in a section."""
    ran = any(row["run"] in str(run).split(" + ") for run in section.rows["run"].unique())
    return ran and row["images"] == section.images and _alike(row, section.records[0], section)


def _alike(a: Row, b: Row, section: Section) -> bool:
    own = ["model_sha256"] if section.rank in OWN_TRUTH else []
    names = [name for name in (*PROTOCOL, *own) if name != "images"]
    # a cell that failed may not say what it would have been measured with
    pairs = [(a.get(name), b.get(name)) for name in names]
    return all(str(one) == str(other) for one, other in pairs if known_text(one) and known_text(other))


def _planned(summary: Summary, rows: Sequence[Row]) -> set[int]:
    """The budgets of evaluations that the studies of some rows name."""
    names = {name for row in rows for name in str(row["run"]).split(" + ")}
    blocks = [block for run in summary.runs if run.name in names for block in run.study.get("block") or ()]
    return {int(count) for block in blocks for count in block.get("evaluations") or ()}


def _columns(by: str, rows: Sequence[Row], failed: Sequence[Row], planned: set[int]) -> list[float]:
    if by == "steps":
        return sorted({float(row["steps"]) for row in (*rows, *failed)})
    costs = [float(row[_COST[by]]) for row in rows]
    if by == "seconds":
        return _filled(_one_two_five(min(costs), max(costs)), costs)
    declared = [float(row["nfe_declared"]) for row in failed if known(row.get("nfe_declared"))]
    beyond = [row for row in rows if row["nfe"] > max(planned, default=0)]
    more = [count for count in declared if count > max(planned, default=0)]
    found = _filled(sorted({*map(float, planned), *_merged(beyond), *more}), [*costs, *declared])
    return sorted({*found, *_crowded(rows, found)})


def _crowded(rows: Sequence[Row], columns: Sequence[float]) -> list[float]:
    """The evaluations of rows in whose column another of their line stands, which is nearer to its budget."""
    most: dict[tuple[object, ...], float] = {}
    places = [(*_key(row), bisect_left(columns, row["nfe"])) for row in rows]
    for row, place in zip(rows, places, strict=True):
        most[place] = max(row["nfe"], most.get(place, 0.0))
    return [float(math.ceil(row["nfe"])) for row, place in zip(rows, places, strict=True) if row["nfe"] < most[place]]


def _key(row: Row) -> tuple[str, ...]:
    return tuple(str(row.get(name)) for name in ("sampler", "grid", "guidance", "model_sha256", "mode", "clip", "run"))


def _merged(rows: Sequence[Row]) -> list[float]:
    """Numbers of evaluations that all rows have a column by: `NEAR` ones share one if no sampler was run with both."""
    lines: dict[float, set[tuple[str, ...]]] = {}
    for row in rows:
        lines.setdefault(float(row["nfe"]), set()).add(_key(row))
    found, under = list[float](), set[tuple[str, ...]]()
    for count in sorted(lines, reverse=True):
        if found and count >= NEAR * found[-1] and not lines[count] & under:
            under |= lines[count]
        else:
            found.append(float(math.ceil(count)))
            under = lines[count]
    return found


def _one_two_five(least: float, most: float) -> list[float]:
    """The numbers 1, 2 and 5 times powers of ten, up to the first that holds the most."""
    first = math.floor(math.log10(least))
    found = [
        float(f"{digit}e{power}") for power in range(first, math.ceil(math.log10(most)) + 1) for digit in (1, 2, 5)
    ]
    return found[bisect_left(found, least) : bisect_left(found, most) + 1]


def _filled(columns: Sequence[float], costs: Iterable[float]) -> list[float]:
    """Those of the columns that something is in."""
    found = list(costs)
    return [high for low, high in pairwise((-math.inf, *columns)) if any(low < cost <= high for cost in found)]


def _line(label: str, members: Sequence[Row], by: str, columns: Sequence[float], quality: Quality) -> TableLine:
    rows = [row for row in members if row.get("failed") is not True]
    first, baseline = members[0], next((row for row in rows if row["baseline"] is True), None)
    found = TableLine(label, line(first), str(first["family"]), str(first["model"]) if guest(first) else None, baseline)
    for row in sorted(rows, key=lambda row: float(row[_COST[by]])):
        least = bisect_left(columns, float(row[_COST[by]]))
        if by != "seconds":
            found.cells[least] = row  # of several the one of most evaluations
            continue
        for n in range(least, len(columns)):
            if n not in found.cells or quality.order(row) < quality.order(found.cells[n]):
                found.cells[n] = row
    for row in members:
        if row.get("failed") is True:
            count = row.get({"nfe": "nfe_declared", "steps": "steps"}.get(by, ""))
            at = bisect_left(columns, float(count)) if count is not None and known(count) else -1
            found.failed.add(at if at < len(columns) else -1)
    found.failed -= found.cells.keys()
    return found


def _ordered(lines: Sequence[TableLine]) -> list[TableLine]:
    families = family_order(line.family for line in lines)
    models = list(dict.fromkeys([None, *(line.model for line in lines)]))
    return sorted(
        lines, key=lambda line: (line.baseline is None, models.index(line.model), families.index(line.family))
    )


def room_order(found: Budgets) -> list[int]:
    """The numbers of the columns in the order in which they are left out where there is no room for all.

    First those that have less than half as many values as the fullest; then the one nearest to the budget before it, of
    equally near ones the dearer. The baseline's own stays.
    """
    filled = [sum(n in line.cells for line in found.lines) for n in range(len(found.columns))]
    baseline = [line for line in found.lines if line.baseline is not None]
    kept = {n for line in baseline for n, row in line.cells.items() if row is line.baseline}
    left, order = list(range(len(found.columns))), list[int]()
    while len(left) > 1 and (free := [n for n in left if n not in kept]):
        before = dict(zip(left[1:], left, strict=False))
        gaps = {n: found.columns[n] / found.columns[before[n]] if n in before else math.inf for n in free}
        order.append(min(free, key=lambda n: (2 * filled[n] >= max(filled), gaps[n], -n)))
        left.remove(order[-1])
    return order
