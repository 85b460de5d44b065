"""Two runs side by side, as far as they can be compared."""

from pathlib import Path

import pandas as pd

from bench.report.columns import PROTOCOL, SETTING, Row, known, quality_columns, rows_of
from bench.report.summary import summarise

_QUALITY = (*PROTOCOL, "model_sha256")
"""Of the same name, but other weights, a model is another one."""

_CLOCK = ("device_name",)
"""Dtype and batch are alike already in what is joined."""


def compare(run_a: Path, run_b: Path) -> pd.DataFrame:
    """Rows of two runs joined by setting, in the order of the first run.

    Args:
        run_a: a run folder.
        run_b: another.

    Returns:
        For every setting of either run: the columns of `SETTING`; `latency_s_median_a`, `latency_s_median_b` and
        `latency_ratio` (b over a); each quality column `_a`, `_b` and its `_difference` (b less a); `comparable`,
        whether both can be compared, with `quality_comparable` and `time_comparable` apart, and the `reason` why not.
        A ratio or difference that would compare what cannot be compared is missing.

    Raises:
        UsageError: one of them is no run folder.
    """
    first, second = rows_of(summarise([run_a]).table), rows_of(summarise([run_b]).table)
    quality = [each.key for each in quality_columns(dict.fromkeys(key for row in first + second for key in row))]
    pairs: list[tuple[Row | None, Row | None]] = []
    for a in first:
        partners = [b for b in second if _setting(b) == _setting(a)]
        pairs += [(a, b) for b in partners] or [(a, None)]
    settings = [_setting(a) for a in first]
    pairs += [(None, b) for b in second if _setting(b) not in settings]
    columns = [*SETTING, *_measured_columns(quality), "comparable", "quality_comparable", "time_comparable", "reason"]
    return pd.DataFrame([_joined(a, b, quality) for a, b in pairs], columns=columns)


def _measured_columns(quality: list[str]) -> list[str]:
    names = ["latency_s_median_a", "latency_s_median_b", "latency_ratio"]
    return names + [f"{key}_{end}" for key in quality for end in ("a", "b", "difference")]


def _setting(row: Row) -> tuple[object, ...]:
    return tuple(row[key] for key in SETTING)


def _joined(a: Row | None, b: Row | None, quality: list[str]) -> Row:
    left, right = a or {}, b or {}
    reasons = _reasons(a, b, _QUALITY, "quality"), _reasons(a, b, _CLOCK, "time")
    row: Row = {key: (a or b or {})[key] for key in SETTING}
    row |= {"latency_s_median_a": left.get("latency_s_median"), "latency_s_median_b": right.get("latency_s_median")}
    row |= {f"{key}_a": left.get(key) for key in quality} | {f"{key}_b": right.get(key) for key in quality}
    if not reasons[1] and known(row["latency_s_median_a"]):
        row["latency_ratio"] = row["latency_s_median_b"] / row["latency_s_median_a"]
    for key in quality:
        if not reasons[0] and known(row[f"{key}_a"]) and known(row[f"{key}_b"]):
            row[f"{key}_difference"] = row[f"{key}_b"] - row[f"{key}_a"]
    return row | {
        "comparable": not any(reasons),
        "quality_comparable": not reasons[0],
        "time_comparable": not reasons[1],
        "reason": "; ".join(dict.fromkeys(filter(None, reasons))) or None,
    }


def _reasons(a: Row | None, b: Row | None, names: tuple[str, ...], what: str) -> str:
    if a is None or b is None:
        return f"no result in {'a' if a is None else 'b'}"
    different = [name for name in names if _text(a[name]) != _text(b[name])]
    return f"{what} not comparable: different {', '.join(different)}" if different else ""


def _text(value: object) -> str | None:
    """A value as text, None for every kind of missing."""
    return None if value is None or value != value else str(value)
