"""What the page's figure and table are made of: the rows of each protocol by columns, their lines, and the views.

The browser puts any two of the columns on the axes. Text is escaped where it is shown; here it is made one line without
a control character.
"""

from collections.abc import Sequence
from typing import Any

from bench.column_meanings import TABLE, meaning_of
from bench.escape import plain_line
from bench.report.data.columns import CLOCK, Row, guided, has
from bench.report.data.distances import OWN_TRUTH, fd_label, quality_columns
from bench.report.data.rows import PAIRS
from bench.report.data.section import Section
from bench.report.data.summary import Summary
from bench.report.data.sweeps import scale_of
from bench.report.data.text import flat, known
from bench.report.page.lines import drawn_lines, identity
from bench.report.page.pictures import picture_of
from bench.report.tables.table import columns

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
    places = {identity(row): n for n, row in enumerate(rows)}
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
        "lines": drawn_lines(section, summary, rows, places),
        "answers": [
            {
                "tolerance": each.tolerance,
                "ring": each.words,
                "baseline": None if each.baseline is None else places.get(identity(each.baseline)),
                "winner": None if each.winner is None else places.get(identity(each.winner)),
            }
            for each in section.answers
        ],
        "views": _views(section, {each["key"] for each in found if each["numeric"]}),
    }


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
