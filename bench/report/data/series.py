"""The lines of the figures: which rows belong together, how a line looks, and which stand out where there are many.

Samplers are compared in one mode: what other modes cost and save is the figure of modes.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pandas as pd

from bench.report.data.answer import Answer
from bench.report.data.columns import UNGUIDED, Line, Row, clippings, guest, guided, line, rows_of
from bench.report.data.fronts import with_fronts
from bench.report.data.section import Section
from bench.report.data.summary import Summary
from bench.report.data.text import known

if TYPE_CHECKING:
    from matplotlib.typing import LineStyleType  # half a second, which tables, which name lines too, do not need

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
LINES: "tuple[LineStyleType, ...]" = ("-", "--", ":", "-.", (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))
BEATEN = "#BDBDBD"

FEW = 8
"""Lines that all stand out, each in a colour of its own; where there are more, a family has one colour."""
MOST, ALIKE = 12, 5
"""Lines that stand out where there are more than a few, and those of them in one colour."""
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
    line: "LineStyleType"


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


def answer_mode(answer: Answer, summary: Summary) -> str:
    """The mode of the winner, or the first if there is none."""
    return summary.runs[0].mode if answer.winner is None else str(answer.winner["mode"])


def in_one_mode(rows: pd.DataFrame, mode: str) -> pd.DataFrame:
    """Of rows of the table that differ in the mode only, the one in this mode or else the first; their own fronts."""
    return with_fronts(one_mode_each(rows, mode))


def one_mode_each(rows: pd.DataFrame, mode: str) -> pd.DataFrame:
    """Of rows or cells that differ in the mode only, the one in this mode or else the first."""
    preferred = rows.loc[rows["mode"].ne(mode).sort_values(kind="stable").index]
    names = ["run", "sampler", "grid", "steps", "guidance", "model_sha256", "clip", "batch", "device_name"]
    kept = preferred.drop_duplicates(names)
    return rows.loc[rows.index.isin(kept.index)]


def outstanding(section: Section, most: int = MOST) -> set[Line]:
    """The lines that figures show in colour and by name, at most so many.

    Where there are few, all. Else the best of each family; then, up to `MOST`, and up to `ALIKE` of a family where
    families have the colours, those on a Pareto front (of evaluations or of seconds), and those that at some number of
    evaluations come within `NEAR` of the best distance for as many or fewer. The best are those whose distances exceed
    that one least, by the mean of the logarithm of the ratio.
    """
    rows, fd = section.records, section.rank
    lines = {line(row) for row in rows}
    drawable = [row for row in rows if fd and known(row[fd]) and row[fd] > 0 and known(row["nfe"])]
    if len(lines) <= min(FEW, most) or fd is None:
        return lines
    excess: dict[Line, list[float]] = {}
    best = math.inf
    for row in sorted(drawable, key=lambda row: (row["nfe"], row[fd])):
        best = min(best, row[fd])
        excess.setdefault(line(row), []).append(math.log(row[fd] / best))
    ranked = sorted(excess, key=lambda each: sum(excess[each]) / len(excess[each]))
    families = {line(row): row["family"] for row in drawable}
    first = {families[each]: each for each in reversed(ranked)}
    front = {line(row) for row in drawable if row["pareto_nfe"] or row["pareto_seconds"]}
    near = [each for each in ranked if min(excess[each]) <= math.log1p(NEAR)]
    winners = [line(each.winner) for each in section.answers if each.winner]
    # where there is room for few, the answer comes before all
    found = [*(winners if most < MOST else []), *first.values(), *winners]
    found = list(dict.fromkeys([*found, *(each for each in ranked if each in front), *near]))
    if len(first) >= _COLOURED:
        found = [each for n, each in enumerate(found) if [families[m] for m in found[:n]].count(families[each]) < ALIKE]
    return set(found[:most])


def several(rows: pd.DataFrame) -> list[str]:
    """What a label must say besides sampler and steps to tell rows apart: the grid if there are several, and so on."""
    names = [name for name in ("grid", "guidance", "model", "mode", "clipping") if rows[name].nunique() > 1]
    for name in ("run", "device_name", "batch"):
        if len(rows[["sampler", *names, name]].drop_duplicates()) > len(rows[["sampler", *names]].drop_duplicates()):
            names.append(name)
    return names


def costs_on_axis(costs: Sequence[tuple[float, Row]]) -> list[float]:
    """The costs of some rows that an axis has to hold: not those of a baseline far beyond all others."""
    others = [cost for cost, row in costs if not row["baseline"]]
    found = [cost for cost, _ in costs]
    return others if others and max(found) > 3 * max(others) else found


def usual(rows: pd.DataFrame) -> dict[str, str]:
    """What labels leave out for brevity: the mode of most lines and, where lines are more than a few, their grid."""
    lines = dict.fromkeys((*line(row), str(row["mode"])) for row in rows_of(rows))
    found = {"grid": Counter(grid for _, grid, *_ in lines), "mode": Counter(mode for *_, mode in lines)}
    spared = ["mode"] if len(lines) <= FEW else ["grid", "mode"]
    return {name: found[name].most_common(1)[0][0] for name in spared if len(found[name]) > 1}


def all_series(rows: pd.DataFrame, section: Section, summary: Summary) -> list[Series]:
    """The series of some rows of a section."""
    shown, looks = outstanding(section), all_looks(summary)
    coloured = by_family(summary)
    found, before = [], Counter[Line]()
    for label, members in named_lines(rows):
        row = members[0]
        look, alike = looks[line(row)], before[line(row)]
        before[line(row)] += not all(row["baseline"] for row in members)
        if alike:  # the same in another mode, run, ...
            look = replace(look, line=LINES[(LINES.index(look.line) + alike) % len(LINES)])
        family = row["family"] if coloured else None
        members = sorted(members, key=lambda row: int(row["steps"]))
        found.append(Series(label, family, look, members, line(row) not in shown))
    return found


def named_lines(rows: pd.DataFrame) -> list[tuple[str, list[Row]]]:
    """The rows of each line, in the order of its first, with what it is called in figures and tables alike."""
    rows = rows.assign(clipping=clippings(rows))
    names, silent = several(rows), usual(rows)
    lines: dict[tuple[str, ...], list[Row]] = {}
    for row in rows_of(rows):
        lines.setdefault(tuple(str(row[name]) for name in ("sampler", *names)), []).append(row)
    return [(_label(members[0], names, silent), members) for members in lines.values()]


def _label(row: Row, names: Sequence[str], silent: dict[str, str]) -> str:
    """A line's name; the subject's own model and no guidance go without saying, and so does what is usual."""
    said = {"model": guest(row), "guidance": guided(row)}
    told = [name for name in names if row[name] != silent.get(name) and said.get(name, True)]
    return ", ".join([str(row["sampler"]), *(str(row[name]) for name in told if row[name] != "")])


def all_looks(summary: Summary) -> dict[Line, Look]:
    """How each line is drawn, in all figures alike: colour and marker are the sampler's, and lines tell grids and
    guidances apart.

    Where lines are many and of several families, colour is the family's, and marker and line are those of the line.
    """
    if by_family(summary):
        return _family_looks(summary)
    samplers = list(dict.fromkeys(summary.table["sampler"].tolist()))
    looks: dict[Line, Look] = {}
    before = Counter[str]()
    # no guidance has the line of another that stands out
    shown = {each for section in summary.sections for each in outstanding(section)}
    for each in sorted(_families(summary), key=lambda each: each[-1] != UNGUIDED and each not in shown):
        n, alike = samplers.index(each[0]), before[each[0]]
        before[each[0]] += 1
        looks[each] = Look(COLOURS[n % len(COLOURS)], *MARKERS[n % len(MARKERS)], LINES[alike % len(LINES)])
    return looks


def by_family(summary: Summary) -> bool:
    """Whether families have the colours."""
    families = _families(summary)
    # a sampler has one colour with whatever guidance
    return len({each[:-1] for each in families}) > FEW and len(set(families.values())) >= _COLOURED


def _families(summary: Summary) -> dict[Line, str]:
    return {line(row): str(row["family"]) for section in summary.sections for row in section.records}


def family_order(present: Iterable[str]) -> list[str]:
    """Families in the order of the legend, unknown ones last."""
    found = set(present)
    return [*(name for name in FAMILIES if name in found), *sorted(found - set(FAMILIES))]


def _family_looks(summary: Summary) -> dict[Line, Look]:
    """Colour by family, marker and line by line, counted by their names, so that another model changes no look.

    Those that stand out are counted first: what is in colour differs in marker and line.
    """
    families = _families(summary)
    shown = {each for section in summary.sections for each in outstanding(section)}
    looks = {}
    for family in dict.fromkeys(families.values()):
        members = sorted((each for each in families if families[each] == family), key=lambda each: each not in shown)
        names = [(sampler, grid, *others) for sampler, grid, _, *others in members]
        places = {name: n for n, name in enumerate(dict.fromkeys(names))}
        for each, name in zip(members, names, strict=True):
            n, colour = places[name], FAMILIES.get(family, FAMILIES["other"])
            looks[each] = Look(colour, *MARKERS[n % len(MARKERS)], LINES[n // len(MARKERS) % len(LINES)])
    return looks
