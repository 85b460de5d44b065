"""The lines of the figures: which rows belong together, how a line looks, and which stand out where there are many."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.typing import LineStyleType

from bench.report.columns import Method, Row, guest, known, method, rows_of
from bench.report.summary import Section, Summary

# Okabe and Ito's palette, told apart by colour-blind readers, without its yellow, too pale for a line, and without
# black, which is the baseline's
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F3C8D", "#8C6D31")
FAMILIES = {
    "ODE, one step": "#0072B2",
    "ODE, multistep": "#D55E00",
    "SDE": "#009E73",
    "Langevin": "#CC79A7",
    "generator": "#7F3C8D",
    "library": "#E69F00",
    "other": "#56B4E9",
}
"""The colours of the families, in the order of the legend."""
# coprime in number with the colours: 56 pairs before one comes again; sizes in points that look alike
MARKERS = (("o", 6.0), ("s", 5.8), ("^", 7.0), ("D", 5.4), ("v", 7.0), ("P", 7.4), ("X", 7.0))
LINES: tuple[LineStyleType, ...] = ("-", "--", ":", "-.", (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))
BEATEN = "#BDBDBD"

FEW = 8
"""Methods that all stand out, each in a colour of its own; where there are more, a family has one colour."""
MOST, ALIKE = 12, 5
"""Methods that stand out where there are more than a few, and those of them in one colour."""
NEAR = 0.1
"""How much worse than the best distance for as many evaluations or fewer is near the front."""

_COLOURED = 3
"""Families that there have to be for families to have the colours; else samplers have them."""


@dataclass(frozen=True)
class Look:
    """How a series is drawn, in all figures alike."""

    colour: str
    marker: str
    size: float
    line: LineStyleType


@dataclass(frozen=True)
class Series:
    """Rows that a line connects, in order of steps.

    Attributes:
        label: what tells it apart from the others.
        family: of its sampler; None where colours are not those of families.
        look: how it is drawn.
        rows: its points.
        beaten: whether it is only a grey line: see `outstanding`.
    """

    label: str
    family: str | None
    look: Look
    rows: list[Row]
    beaten: bool


def outstanding(section: Section) -> set[Method]:
    """The methods that figures show in colour and by name.

    Where there are few, all. Else the best of each family; then, up to `MOST`, and up to `ALIKE` of a family where
    families have the colours, those on a Pareto front (of evaluations or of seconds), and those that at some number of
    evaluations come within `NEAR` of the best distance for as many or fewer. The best are those whose distances exceed
    that one least, by the mean of the logarithm of the ratio.
    """
    rows, fd = section.records, section.rank
    methods = {method(row) for row in rows}
    drawable = [row for row in rows if fd and known(row[fd]) and row[fd] > 0 and known(row["nfe"])]
    if len(methods) <= FEW or fd is None:
        return methods
    excess: dict[Method, list[float]] = {}
    best = math.inf
    for row in sorted(drawable, key=lambda row: (row["nfe"], row[fd])):
        best = min(best, row[fd])
        excess.setdefault(method(row), []).append(math.log(row[fd] / best))
    ranked = sorted(excess, key=lambda each: sum(excess[each]) / len(excess[each]))
    families = {method(row): row["family"] for row in drawable}
    first = {families[each]: each for each in reversed(ranked)}
    front = {method(row) for row in drawable if row["pareto_nfe"] or row["pareto_seconds"]}
    near = [each for each in ranked if min(excess[each]) <= math.log1p(NEAR)]
    winners = [method(each.winner) for each in section.answers if each.winner]
    found = list(dict.fromkeys([*first.values(), *winners, *(each for each in ranked if each in front), *near]))
    if len(first) >= _COLOURED:
        found = [each for n, each in enumerate(found) if [families[m] for m in found[:n]].count(families[each]) < ALIKE]
    return set(found[:MOST])


def several(rows: pd.DataFrame) -> list[str]:
    """What a label must say besides sampler and steps to tell rows apart: the grid if there are several, and so on."""
    names = [name for name in ("grid", "model", "mode") if rows[name].nunique() > 1]
    for name in ("run", "device_name", "batch"):
        if len(rows[["sampler", *names, name]].drop_duplicates()) > len(rows[["sampler", *names]].drop_duplicates()):
            names.append(name)
    return names


def usual_grid(rows: pd.DataFrame) -> str | None:
    """The grid that labels leave out, for brevity, where methods are more than a few: that of most methods."""
    methods = dict.fromkeys(method(row) for row in rows_of(rows))
    counts = Counter(grid for _, grid, *_ in methods)
    return None if len(methods) <= FEW or len(counts) < 2 else counts.most_common(1)[0][0]


def all_series(rows: pd.DataFrame, section: Section, summary: Summary) -> list[Series]:
    """The series of some rows of a section."""
    names, usual = several(rows), usual_grid(rows)
    lines: dict[tuple[str, ...], list[Row]] = {}
    for row in rows_of(rows):
        lines.setdefault(tuple(str(row[name]) for name in ("sampler", *names)), []).append(row)
    shown, by_family = outstanding(section), _family_looks(summary)
    samplers = list(dict.fromkeys(summary.table["sampler"].tolist()))
    found, before = [], Counter[str]()
    for (sampler, *_), members in lines.items():
        row = members[0]
        look = by_family.get(method(row)) or _look(samplers.index(sampler), before[sampler])
        before[sampler] += 1
        family = row["family"] if by_family else None
        members = sorted(members, key=lambda row: int(row["steps"]))
        found.append(Series(_label(row, names, usual), family, look, members, method(row) not in shown))
    return found


def _label(row: Row, names: Sequence[str], usual: str | None) -> str:
    """A line's name; the subject's own model goes without saying, and so does the usual grid."""
    silent = {"model": not guest(row), "grid": row["grid"] == usual}
    return ", ".join([str(row["sampler"]), *(str(row[name]) for name in names if not silent.get(name, False))])


def _look(n: int, alike: int) -> Look:
    """Colour and marker are the n-th sampler's; the line tells its grids and modes apart."""
    return Look(COLOURS[n % len(COLOURS)], *MARKERS[n % len(MARKERS)], LINES[alike % len(LINES)])


def _family_looks(summary: Summary) -> dict[Method, Look]:
    """Colour by family, marker and line by method; none where there are few methods or families.

    Methods that stand out are counted first: what is in colour differs in marker and line.
    """
    families = {method(row): str(row["family"]) for section in summary.sections for row in section.records}
    if len(families) <= FEW or len(set(families.values())) < _COLOURED:
        return {}
    shown = {each for section in summary.sections for each in outstanding(section)}
    looks = {}
    for family in dict.fromkeys(families.values()):
        members = sorted((each for each in families if families[each] == family), key=lambda each: each not in shown)
        for n, each in enumerate(members):
            colour = FAMILIES.get(family, FAMILIES["other"])
            looks[each] = Look(colour, *MARKERS[n % len(MARKERS)], LINES[n % 4])
    return looks
