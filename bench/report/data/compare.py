"""Two runs side by side, as far as they can be compared."""

from pathlib import Path

import pandas as pd

from bench.report.data.columns import CLOCK, PROTOCOL, SETTING, Row, rows_of
from bench.report.data.distances import Quality, quality_columns
from bench.report.data.gaps import gap
from bench.report.data.significance import LEVEL, both_at_floor, p_text
from bench.report.data.summary import Summary, summarise
from bench.report.data.text import known, known_text, named, short

_QUALITY = (*PROTOCOL, "model_sha256", "guidance_model_sha256")
"""Of the same name, but other weights, a model is another one."""


def compare(run_a: Path, run_b: Path) -> pd.DataFrame:
    """Rows of two runs joined by setting, in the order of the first run.

    Args:
        run_a: a run folder.
        run_b: another.

    Returns:
        For every setting of either run: the columns of `SETTING`; `latency_s_median_a`, `latency_s_median_b` and
        `latency_ratio` (b over a); each quality column `_a`, `_b`, its `_difference` (b less a), and the `_test` of it:
        "differ" or "not distinguishable" with the p value, in pairs where both ran on the same images, else by Welch's
        t-test, not corrected for many comparisons, or "not tested" where one has no interval; `comparable`, whether
        both can be compared, with `quality_comparable` and `time_comparable` apart, and the `reason` why not. A ratio,
        difference or test that would compare what cannot be compared is missing. Its `attrs` are sentences: "broken" on
        files that are no records, and "apart" on what the runs do not share.

    Raises:
        UsageError: one of them is no run folder.
    """
    summaries = [summarise([run]) for run in (run_a, run_b)]
    first, second = (rows_of(each.table) for each in summaries)
    quality = quality_columns(dict.fromkeys(key for row in first + second for key in row))
    partners: dict[tuple[object, ...], list[Row]] = {}
    for b in second:
        partners.setdefault(_setting(b), []).append(b)
    pairs: list[tuple[Row | None, Row | None]] = []
    for a in first:
        pairs += [(a, b) for b in partners.get(_setting(a), [])] or [(a, None)]
    settings = set(map(_setting, first))
    pairs += [(None, b) for b in second if _setting(b) not in settings]
    measured = ["latency_s_median_a", "latency_s_median_b", "latency_ratio"]
    measured += [f"{each.key}_{end}" for each in quality for end in ("a", "b", "difference", "test")]
    columns = [*SETTING, *measured, "comparable", "quality_comparable", "time_comparable", "reason"]
    frame = pd.DataFrame([_joined(a, b, quality) for a, b in pairs], columns=columns)
    frame.attrs["broken"] = [line for each in summaries for line in each.broken()]
    frame.attrs["apart"] = _unshared(*summaries)
    return frame


_TOLD = {
    **{"model": "model", "images": "images", "reference": "reference", "extractor": "extractor", "seed": "seeds"},
    **{"guidance": "guidance", "sampler": "samplers", "grid": "grids", "steps": "steps", "mode": "modes"},
    **{"device_name": "device"},
}
"""What the cells of two runs may differ in, and what it is called."""


def _unshared(a: Summary, b: Summary) -> list[str]:
    """What no cell of one run shares with any of the other."""
    found = []
    for name, heading in _TOLD.items():
        values = [dict.fromkeys(_called(row, name) for row in rows_of(each.cells)) for each in (a, b)]
        if not set(values[0]) & set(values[1]):
            said = (f"{named(list(each), 5)} in {run}" for each, run in zip(values, "ab", strict=True))
            found.append(f"{heading}: {', '.join(said)}")
    return found


def _called(row: Row, name: str) -> str:
    """What a cell has there; of a file by its hash too."""
    digest, value = _text(row.get(f"{name}_sha256")), _text(row.get(name))
    return "none" if value is None else value if digest is None else f"{value} ({short(digest)})"


def as_tables_show(frame: pd.DataFrame) -> pd.DataFrame:
    """A comparison for reading: columns that have a value, in the units of the tables, which names then say."""
    shown, names = frame.dropna(axis=1, how="all"), dict[str, str]()
    for quality in quality_columns(name[:-2] for name in frame.columns if name.endswith("_a")):
        scaled = [f"{quality.key}_{end}" for end in ("a", "b", "difference")] if quality.scale != 1 else []
        names |= {name: name.replace(quality.key, f"{quality.key}_x{quality.scale:.0f}") for name in scaled}
        shown = shown.assign(**{name: quality.scale * shown[name] for name in scaled if name in shown})
    return shown.rename(columns=names)


def _setting(row: Row) -> tuple[object, ...]:
    return tuple(_text(row[key]) for key in SETTING)


def _joined(a: Row | None, b: Row | None, quality: list[Quality]) -> Row:
    left, right = a or {}, b or {}
    reasons = _reasons(a, b, _QUALITY, "quality"), _reasons(a, b, CLOCK, "time")
    row: Row = {key: (a or b or {})[key] for key in SETTING}
    row |= {"latency_s_median_a": left.get("latency_s_median"), "latency_s_median_b": right.get("latency_s_median")}
    row |= {f"{each.key}_{end}": side.get(each.key) for each in quality for end, side in (("a", left), ("b", right))}
    if not reasons[1] and known(row["latency_s_median_a"]):
        row["latency_ratio"] = row["latency_s_median_b"] / row["latency_s_median_a"]
    for each in quality:
        both = known(row[f"{each.key}_a"]) and known(row[f"{each.key}_b"])
        if not reasons[0] and both and not _apart(left, right, each.within):
            row[f"{each.key}_difference"] = row[f"{each.key}_b"] - row[f"{each.key}_a"]
            row[f"{each.key}_test"] = _test(left, right, each)
    return row | {
        "comparable": not any(reasons),
        "quality_comparable": not reasons[0],
        "time_comparable": not reasons[1],
        "reason": "; ".join(dict.fromkeys(filter(None, reasons))) or None,
    }


def _test(a: Row, b: Row, quality: Quality) -> str:
    if both_at_floor(a, b, quality):
        return "not distinguishable, both at their floors"
    found = gap(a, b, quality)
    if found.p is None:
        return "not tested"
    return f"{'differ' if found.p <= LEVEL else 'not distinguishable'}, {found.test}, {p_text(found.p)}"


def _reasons(a: Row | None, b: Row | None, names: tuple[str, ...], what: str) -> str:
    if a is None or b is None:
        return f"no result in {'a' if a is None else 'b'}"
    different = _apart(a, b, names)
    return f"{what} not comparable: different {', '.join(different)}" if different else ""


def _apart(a: Row, b: Row, names: tuple[str, ...]) -> list[str]:
    """The columns in which two rows differ."""
    return [name for name in names if _text(a.get(name)) != _text(b.get(name))]


def _text(value: object) -> str | None:
    """A value as text, None for every kind of missing."""
    return str(value) if known_text(value) else None
