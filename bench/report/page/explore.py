"""What the page's figure and table are made of: the rows of each protocol by columns, their lines, and the views.

The browser puts any two of the columns on the axes, so that lines are plotly's traces but for their points. Text is
escaped where it is shown; here it is made one line without a control character.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bench.column_meanings import TABLE, meaning_of
from bench.escape import plain_line
from bench.report.data.budgets import budgets
from bench.report.data.columns import CLOCK, Row, guided, has, without_scale
from bench.report.data.distances import OWN_TRUTH, fd_label, of_key, quality_columns
from bench.report.data.rows import PAIRS
from bench.report.data.section import Section
from bench.report.data.series import LINES, MARKERS, Look, Series, all_series
from bench.report.data.summary import Summary
from bench.report.data.sweeps import scale_of
from bench.report.data.text import flat, known
from bench.report.data.view import View
from bench.report.page.pictures import picture_of
from bench.report.tables.table import columns

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
_LABELS = {
    **{
        "sampler": "Sampler",
        "family": "Family",
        "model": "Model",
        "guidance": "Guidance",
        "grid": "Grid",
        "run": "Run",
    },
    **{
        "guidance_scale": "Scale",
        "steps": "Steps",
        "nfe": "NFE",
        "calls": "Calls",
        "fit_nfe": "Fit NFE",
        "mode": "Mode",
        "seeds": "Seeds",
    },
    **{"clipping": "Clip", "device_name": "Device", "ms_per_image": "ms/image", "overhead_fraction": "Overhead"},
}
_ALWAYS = ("sampler", "family", "model", "guidance", "grid", "mode", "steps", "nfe", "calls")
"""Columns that are there although all rows may be alike in them."""
_BESIDE = ("sampler", "grid", "steps", "nfe")
"""Those that are shown then."""
_AXES = {
    "nfe": "network evaluations an image (NFE)",
    "ms_per_image": "milliseconds an image",
    "guidance_scale": "guidance scale",
}
_OWN = {
    "guidance_scale": "How strongly outputs are guided.",
    "ms_per_image": "Milliseconds an image at the median call.",
}
"""What the columns mean that only the page has."""
_COSTS = (
    *("steps", "nfe", "calls", "fit_nfe", "ms_per_image", "latency_s_median", "network_s_median", "overhead_s_median"),
    *("peak_mem_mib", "held_mem_mib", "energy_j_per_image", "eval_ms_median"),
)
"""Of which less is better: the front of what is drawn is of these."""
_TIMES = ("ms_per_image", "latency_s_median", "network_s_median", "overhead_s_median", "eval_ms_median")
"""Comparable on one device with one batch only."""
_ERRORS = {"solver_rmse": "Solver error against evaluations", "law_fd": "Law error against evaluations"}
_FITS = {"psnr": "PSNR against evaluations", "clip_score": "CLIP score against evaluations"}
"""Of which more is better."""


def explored(summary: Summary) -> list[dict[str, Any]]:
    """The sections, each with its columns, values, lines, answers and views, for JSON."""
    return [_section(section, summary) for section in summary.sections]


def _section(section: Section, summary: Summary) -> dict[str, Any]:
    rows = [{**row, **_derived(row)} for row in section.records]
    found = _columns(section, rows)
    places = {_identity(row): n for n, row in enumerate(rows)}
    clocks = [" at a timed batch of ".join(str(row[name]) for name in CLOCK) for row in rows]
    distinct = list(dict.fromkeys(clocks))
    return {
        "label": plain_line(section.label),
        "rank": section.rank,
        "columns": found,
        "values": {each["key"]: _values(rows, each["key"]) for each in found},
        "texts": _texts(section),
        "ids": [picture_of(row, summary) for row in rows],
        "clock": [distinct.index(each) for each in clocks],
        "lines": _lines(section, summary, rows, places),
        "answers": [
            {
                "tolerance": each.tolerance,
                "ring": each.words,
                "baseline": None if each.baseline is None else places.get(_identity(each.baseline)),
                "winner": None if each.winner is None else places.get(_identity(each.winner)),
            }
            for each in section.answers
        ],
        "views": _views(section, {each["key"] for each in found if each["numeric"]}),
    }


def _identity(row: Row) -> tuple[str, ...]:
    """What tells a row: a cell that two runs have measured is in a row of each."""
    return row["run"], *row["cells"]


def _derived(row: Row) -> Row:
    """The columns that only the page has."""
    time = row["s_per_image_median"]
    return {
        "ms_per_image": 1000 * time if known(time) else None,
        "guidance_scale": scale_of(row) if guided(row) else None,
    }


def _columns(section: Section, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What can be shown, drawn and sorted by: what differs between rows, and what they are known by."""
    qualities = {each.key: each for each in quality_columns(section.rows.columns) if has(section.rows, each.key)}
    others = [str(name) for name in section.rows.columns if not str(name).endswith("_sha256") and name != PAIRS]
    names = dict.fromkeys([*_LABELS, *qualities, *others])
    found = []
    for name in names:
        values = _values(rows, name)
        present = [value for value in values if value is not None]
        if not present or any(isinstance(row.get(name), (list, dict)) for row in rows):
            continue
        alike = len({str(value) for value in values}) < 2
        if alike and name not in (*_ALWAYS, *qualities):
            continue
        meaning = _meaning(name)
        quality = qualities.get(name)
        found.append(
            {
                "key": plain_line(name),
                "label": plain_line(quality.heading if quality else _LABELS.get(name, name)),
                "axis": plain_line(f"{quality.name}, {_GOOD[quality.better]}" if quality else _AXES.get(name, name)),
                "meaning": plain_line(meaning),
                "numeric": all(isinstance(value, (int, float)) for value in present),
                "shown": name in qualities or (name in _LABELS and (not alike or name in _BESIDE)),
                "better": quality.better if quality else "min" if name in _COSTS else None,
                "cost": name in _COSTS,
                "time": name in _TIMES,
                "ci": quality.ci if quality else None,
            }
        )
    return found


_GOOD = {"min": "lower is better", "max": "higher is better"}


def _meaning(name: str) -> str:
    known_one = meaning_of(name, TABLE)
    return _OWN.get(name, "" if known_one is None else known_one.meaning)


def _values(rows: Sequence[Row], name: str) -> list[Any]:
    return [_value(row.get(name)) for row in rows]


def _value(value: Any) -> Any:
    """A number of eight digits, a line of text, or None."""
    if isinstance(value, (list, dict)) or value is None or value != value:
        return None
    if isinstance(value, (bool, str)) or not hasattr(value, "__float__"):
        return plain_line(flat(value)) if not isinstance(value, bool) else ("yes" if value else "no")
    if not known(value):
        return None
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else float(f"{float(value):.8g}")


def _texts(section: Section) -> dict[str, list[str]]:
    """The cells as tables have them, of columns that tables write with an interval, a mark or a unit."""
    shown = {each.heading: each.cells for each in columns(section)}
    keys = {each.heading: each.key for each in quality_columns(section.rows.columns)}
    keys |= {"ms/image": "ms_per_image", "Overhead": "overhead_fraction"}
    return {key: list(map(plain_line, shown[heading])) for heading, key in keys.items() if heading in shown}


def _lines(
    section: Section, summary: Summary, rows: Sequence[Row], places: dict[tuple[str, ...], int]
) -> dict[str, dict[str, Any]]:
    """The lines along steps, as all figures have them; where guidances have scales, those along scales, too."""
    series = all_series(section.rows, section, summary)
    of = [0] * len(rows)
    for n, each in enumerate(series):
        for row in each.rows:
            of[places[_identity(row)]] = n
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


def _views(section: Section, numeric: set[str]) -> list[dict[str, Any]]:
    """The figures to begin with, of those whose columns were measured."""
    rank = section.rank
    name = fd_label(rank) if rank else ""
    joined = "scale" if "guidance_scale" in numeric else "steps"
    wanted = [
        (f"{name} against evaluations", "nfe", rank, (True, True), "steps") if rank not in OWN_TRUTH else None,
        *((title, "nfe", error, (True, True), "steps") for error, title in _ERRORS.items()),
        *((title, "nfe", fit, (True, False), "steps") for fit, title in _FITS.items()),
        (f"{name} against time", "ms_per_image", rank, (True, True), "steps"),
        (f"{name} against guidance scale", "guidance_scale", rank, (_far_apart(section), True), joined),
        ("Precision against recall", "recall", "precision", (False, False), joined),
    ]
    found = [
        {"name": title, "x": x, "y": y, "xlog": logs[0], "ylog": logs[1], "join": join}
        for title, x, y, logs, join in filter(None, wanted)
        if x in numeric and y in numeric
    ]
    return found or [{"name": "Evaluations", "x": "steps", "y": "nfe", "xlog": True, "ylog": True, "join": "steps"}]


def _far_apart(section: Section) -> bool:
    """Whether the axis of scales is logarithmic, as it is in the figure of guidance."""
    scales = [scale for row in section.records if guided(row) and (scale := scale_of(row)) is not None]
    return bool(scales) and min(scales) > 0 and max(scales) >= 5 * min(scales)
