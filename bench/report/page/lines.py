"""The lines of the page's figure: one a setting along steps, or along the scales of guidances.

They are plotly's traces but for their points, with the looks that all figures have.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bench.escape import plain_line
from bench.report.data.budgets import budgets
from bench.report.data.columns import Row, without_scale
from bench.report.data.distances import of_key
from bench.report.data.section import Section
from bench.report.data.series import LINES, MARKERS, Look, Series, all_series
from bench.report.data.summary import Summary
from bench.report.data.text import known
from bench.report.data.view import View

_SYMBOLS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
}
_DASHES: dict[object, str] = {"-": "solid", "--": "dash", ":": "dot", "-.": "dashdot", (0, (8, 2)): "longdash"}
_FILLS = ("", "-open", "-open-dot", "-dot")
"""What tells kinds of guidance apart in markers, after the names of those."""
_PANELS = 5
"""Budgets that have a panel of their own along scales."""


def identity(row: Row) -> tuple[str, ...]:
    """What tells a row: a cell that two runs have measured is in a row of each."""
    return row["run"], *row["cells"]


def drawn_lines(
    section: Section, summary: Summary, rows: Sequence[Row], places: dict[tuple[str, ...], int]
) -> dict[str, dict[str, Any]]:
    """The lines along steps, as all figures have them; where guidances have scales, those along scales, too."""
    series = all_series(section.rows, section, summary)
    of = [0] * len(rows)
    for n, each in enumerate(series):
        for row in each.rows:
            of[places[identity(row)]] = n
    along_steps = {"by": "steps", "of": of, "part": [0] * len(rows), "entries": [_entry(each) for each in series]}
    if not any(row["guidance_scale"] is not None for row in rows):
        return {"steps": along_steps}
    return {"steps": along_steps, "scale": _along_scales(rows, series, of, _budgets(section, summary))}


def _budgets(section: Section, summary: Summary) -> list[float]:
    """Those of the table of samplers, whichever way that is shown."""
    found = budgets(section, replace(summary, view=View()), of_key(section.rank)) if section.rank else None
    return [] if found is None else found.columns


def _along_scales(
    rows: Sequence[Row], series: Sequence[Series], of: Sequence[int], columns: Sequence[float]
) -> dict[str, Any]:
    """Lines of settings that differ in the scale alone and take as much, a panel for each budget.

    A sampler with one kind of guidance is an entry of the legend: colour and marker are the sampler's, line and filling
    those of the kind, as in the figure of guidance.
    """
    kinds = [_kind(row) for row in rows]
    order = sorted(dict.fromkeys(kinds), key=lambda kind: kind.count("["))
    looks = _sampler_looks(rows, series, of)
    entries, parts, places, part = list[dict[str, Any]](), dict[tuple[Any, ...], int](), dict[str, int](), list[int]()
    found = list[int]()
    under = [bisect_left(columns, row["nfe"]) if known(row["nfe"]) else len(columns) for row in rows]
    for row, kind, n, column in zip(rows, kinds, of, under, strict=True):
        alike = [str(row[name]) for name in ("grid", "model", "clipping", "mode", "run", "device_name", "batch")]
        label = f"{row['sampler']}, {kind}"
        if label not in places:
            places[label] = len(entries)
            trace = _in_kind(_trace(looks[row["sampler"]]), order.index(kind))
            entries.append(_entry(series[n]) | {"label": plain_line(label), "beaten": False, "trace": trace})
        found.append(places[label])
        part.append(parts.setdefault((label, *alike, column), len(parts)))
    panel, panels = _panels(rows, under, columns)
    lines = {"by": "guidance_scale", "of": found, "part": part, "entries": entries}
    return lines | ({"panel": panel, "panels": panels} if len(panels) > 1 else {})


def _kind(row: Row) -> str:
    name = str(row["guidance"])
    return name if row["guidance_scale"] is None else without_scale(name)


def _sampler_looks(rows: Sequence[Row], series: Sequence[Series], of: Sequence[int]) -> dict[str, Look]:
    """How each sampler is drawn: as its first line, with another marker where another sampler has the same."""
    found, used = dict[str, Look](), set[tuple[str, str]]()
    for row, n in zip(rows, of, strict=True):
        if row["sampler"] not in found:
            look = series[n].look
            others = [replace(look, marker=sign, size=size) for sign, size in MARKERS]
            look = next((each for each in (look, *others) if (each.colour, each.marker) not in used), look)
            used.add((look.colour, look.marker))
            found[row["sampler"]] = look
    return found


def _in_kind(trace: dict[str, Any], n: int) -> dict[str, Any]:
    symbol = f"{trace['marker']['symbol']}{_FILLS[n % len(_FILLS)]}"
    dash = _DASHES.get(LINES[n % len(LINES)], "longdashdot")
    return trace | {"marker": trace["marker"] | {"symbol": symbol}, "line": trace["line"] | {"dash": dash}}


def _panels(rows: Sequence[Row], under: Sequence[int], columns: Sequence[float]) -> tuple[list[int], list[str]]:
    """Which panel each row is in, and what stands above them: budgets with several scales, and one for all others."""
    scales = dict[int, set[Any]]()
    for row, column in zip(rows, under, strict=True):
        scales.setdefault(column, set()).add(row["guidance_scale"])
    swept = [n for n in sorted(scales) if n < len(columns) and len(scales[n] - {None}) > 1]
    fullest = sorted(swept, key=lambda n: -under.count(n))[:_PANELS]
    shown = sorted(fullest)
    titles = [f"at most {columns[n]:,.0f} NFE" for n in shown]
    left = any(n not in shown for n in under)
    return [shown.index(n) if n in shown else len(shown) for n in under], titles + ["other budgets"] * left


def _entry(series: Series) -> dict[str, Any]:
    """A line as the legend has it, with plotly's trace but for its points."""
    family = series.family or str(series.rows[0]["family"])
    return {
        "label": plain_line(series.label),
        "family": plain_line(family),
        "beaten": series.beaten,
        "trace": _trace(series.look),
    }


def _trace(look: Look) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "marker": {"symbol": _SYMBOLS.get(look.marker, "circle"), "color": look.colour, "size": look.size + 2},
        "line": {"dash": _DASHES.get(look.line, "longdashdot"), "color": look.colour, "width": 1.5},
    }
