"""What guidance does: settings that differ in the scale of one guidance alone, for as many evaluations."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.report.data.budgets import TableLine, budgets
from bench.report.data.columns import Line, Row, guest, guided, has, without_scale
from bench.report.data.distances import Quality, of_key, quality_columns
from bench.report.data.section import Section
from bench.report.data.series import FEW, one_mode_each, outstanding
from bench.report.data.summary import Summary
from bench.report.data.text import known
from bench.report.data.view import View
from models.common.words import counted

FEWEST, MOST = 3, 4
"""Scales that a guidance has to have in some sweep for it to be worth drawing, and budgets of a protocol at most."""

_SHOWN = ("precision", "recall", "class_accuracy", "clip_score")


@dataclass(frozen=True)
class Sweep:
    """A sampler with one guidance at its scales.

    Attributes:
        sampler: with its parameters.
        kind: the guidance without its scale, and grid, model and clip as far as sweeps differ in them.
        line: whose look it has.
        points: the rows by scale, ascending.
        plain: the row without guidance, else that at scale 1, which is the same; None if there is neither.
    """

    sampler: str
    kind: str
    line: Line
    points: dict[float, Row]
    plain: Row | None


@dataclass(frozen=True)
class Sweeps:
    """Those of one protocol that have a budget in common.

    Attributes:
        section: the protocol.
        evaluations: the most that a setting takes an image; of several with fewer, a sampler shows that of most.
        sweeps: in the order of the table.
        left_out: what there is no room for, in a sentence: samplers (see `outstanding`) and budgets; or nothing.
    """

    section: Section
    evaluations: float
    sweeps: list[Sweep]
    left_out: str

    @property
    def qualities(self) -> list[Quality]:
        """What was measured: the distance of the rank, and what guidance trades for what."""
        rows, keys = self.section.rows, (str(self.section.rank), *_SHOWN)
        found = {each.key: each for each in quality_columns(rows.columns) if has(rows, each.key)}
        return [found[key] for key in keys if key in found]


def sweeps(summary: Summary) -> list[Sweeps]:
    """Those in which some guidance has `FEWEST` scales or more, by protocol and budget, in the study's first mode."""
    return [each for section in summary.sections if section.rank for each in _of_section(section, summary)]


def _of_section(section: Section, summary: Summary) -> list[Sweeps]:
    if not any(map(guided, section.records)):
        return []
    alone = replace(section, rows=one_mode_each(section.rows, summary.runs[0].mode))
    table = budgets(alone, replace(summary, view=View()), of_key(str(section.rank)))
    if table is None:
        return []
    names, stand_out = {line.key[:-1] for line in table.lines}, {each[:-1] for each in outstanding(section)}
    shown = names if len(names) <= FEW else names & stand_out
    lines = [line for line in table.lines if line.key[:-1] in shown]
    told = [len({line.key[n] for line in lines}) > 1 for n in range(1, 4)]
    found = dict[float, list[Sweep]]()
    for n, evaluations in enumerate(table.columns):
        here = _sweeps([(line, line.cells[n]) for line in lines if n in line.cells], told)
        if any(len(each.points) >= FEWEST for each in here):
            found[evaluations] = here
    # of many budgets those in which most was swept
    fullest = sorted(found, key=lambda each: -sum(len(sweep.points) for sweep in found[each]))[:MOST]
    said = _left_out(len(names - shown), [each for each in found if each not in fullest])
    return [Sweeps(alone, each, found[each], said) for each in sorted(fullest)]


def _left_out(samplers: int, budgets: Sequence[float]) -> str:
    parts = [f"{counted(samplers, 'other')}, neither their family's best nor near the Pareto front"] if samplers else []
    parts += [f"budgets of {' and '.join(f'{each:,.0f}' for each in budgets)} evaluations"] if budgets else []
    return f"Left out: {'; '.join(parts)}." if parts else ""


def _sweeps(rows: Sequence[tuple[TableLine, Row]], told: Sequence[bool]) -> list[Sweep]:
    plain = {line.key[:-1]: row for line, row in reversed(rows) if not guided(row)}
    found: dict[Line, dict[float, Row]] = {}
    first: dict[Line, TableLine] = {}
    for line, row in rows:
        if guided(row) and (scale := scale_of(row)) is not None:
            key = *line.key[:-1], without_scale(str(row["guidance"]))
            first.setdefault(key, line)
            found.setdefault(key, {}).setdefault(scale, row)
    return [_sweep(first[key], points, plain.get(key[:-1]), told) for key, points in found.items()]


def _sweep(line: TableLine, points: dict[float, Row], plain: Row | None, told: Sequence[bool]) -> Sweep:
    row = next(iter(points.values()))
    names = (row["grid"], row["model"] if guest(row) else "", row["clipping"])
    kind = [without_scale(line.key[-1]), *(str(name) for name, several in zip(names, told, strict=True) if several)]
    reference = points.get(1.0) if plain is None else plain
    return Sweep(line.key[0], ", ".join(filter(None, kind)), line.key, dict(sorted(points.items())), reference)


def scale_of(row: Row) -> float | None:
    """How strongly a row is guided; None if its guidance has no scale."""
    scale = (row.get("guidance_parameters") or {}).get("scale")
    return float(scale) if isinstance(scale, (int, float)) and known(scale) else None
