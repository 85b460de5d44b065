"""The names that the report goes by: what tells rows apart, what can be compared, and how numbers are written."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

Row = dict[str, Any]
Method = tuple[str, str, str, str, str]
Line = tuple[str, str, str, str]

PROTOCOL = (
    *("subject_sha256", "reference_sha256", "extractor_sha256", "extractor_layer", "extractor_batch"),
    *("images", "quantiser", "labels"),
)
"""Rows alike in these have comparable quality; rows are never ranked across them.

The subject is the main model of the study: a row may run on another, as that of a baseline does.
"""

CLOCK = ("device_name", "timed_batch")
"""Rows of a protocol alike in these have comparable times, in whatever mode: that is what a mode is chosen by."""

SETTING = ("model", "sampler", "grid", "steps", "images", "batch", "mode", "clip")
"""What a user chooses."""

CODE = ("sampler_sha256", "code_sha256", "version_torch")
"""What computed a row."""

KEYS = (
    *(*SETTING, *CODE, "model_sha256", "value_range", "device_name"),
    *(name for name in PROTOCOL if name not in SETTING),
)
"""Cells alike in these differ in the seed only, and form one row of the table."""

COMPACT_LAYER, COMPACT_BATCH = "features", 250
"""How the compact extractors of model folders are used, which goes without saying."""

USUAL_MODE = "fp32"
"""The mode that goes without saying."""

SMALL_N = 10_000
"""Below this many images a Frechet distance is biased so much that only rows of one table can be compared."""

BUDGETS = (5, 10, 20, 50, 100)
"""Evaluations an image, in which samplers are compared where there are too many rows to show each."""


def known(value: Any) -> bool:
    """Whether a number was measured: neither None nor NaN nor infinite."""
    return value is not None and value is not pd.NA and math.isfinite(value)


def known_text(value: Any) -> bool:
    """Whether a column that is text, or anything else but a measured number, has a value."""
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """The rows as dictionaries."""
    names = [str(name) for name in frame.columns]
    # by columns, which is many times as fast as by rows; an empty frame without columns has no rows either
    return [dict(zip(names, values, strict=True)) for values in zip(*(frame[n].tolist() for n in frame), strict=True)]


def with_columns(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The frame with those of the named columns that it lacks added, empty."""
    lacking = dict.fromkeys(name for name in names if name not in frame.columns)
    return frame.reindex(columns=[*frame.columns, *lacking])


def significant(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, never in exponent notation: 0.0123, 1.23, 123, 12,345."""
    return f"{value:,.{decimals_for(value, digits)}f}"


def scientific(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, with an exponent if it is small: 1.23e-5, 0.0123, 12.3."""
    if not known(value) or value == 0 or abs(value) >= 1e-3:
        return significant(value, digits)
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def short(sha256: object) -> str:
    """The first digits of a hash, by which people tell them apart."""
    return str(sha256)[:8]


def decimals_for(value: float, digits: int = 3) -> int:
    """Decimal places that show a number with so many significant digits, at most 8."""
    if not known(value) or value == 0:
        return digits - 1
    return min(8, max(0, digits - 1 - math.floor(math.log10(abs(value)))))


def percent(fraction: float) -> str:
    """A fraction in per cent: 0.1 gives '10 %', and 12.345 '1,234 %'."""
    return f"{100 * fraction:.3g} %" if abs(fraction) < 9.995 else f"{100 * fraction:,.0f} %"


def duration(seconds: float) -> str:
    """A time in its two largest units: 36 s, 1 min 36 s, 2 h 5 min, 3 d 4 h."""
    left = round(seconds) if seconds < 3600 else 60 * round(seconds / 60)
    parts = []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        parts += [f"{count} {unit}"] if count else []
    return " ".join(parts[:2]) or "less than 1 s"


def setting(row: Row) -> str:
    """What a row is, in words. Its model is named unless it is the study's own, its mode unless it is the usual, and
    its clip where rows of its model differ in that.
    """
    steps = f"{row['steps']:,} step{'s' if row['steps'] != 1 else ''}"
    model, clip = f" with {row['model']}" if guest(row) else "", row.get("clipping") or ""
    return f"{row['sampler']} on {row['grid']} at {steps}{model}{mode_words(str(row['mode']))}{clip and f', {clip}'}"


def mode_words(mode: str) -> str:
    """A mode as words that follow others; the usual one goes without saying."""
    return "" if mode == USUAL_MODE else f" in {mode}"


def line(row: Row) -> Line:
    """What a line of a figure connects the settings of: a sampler on a grid, with a model, clipped in one way."""
    return str(row["sampler"]), str(row["grid"]), str(row["model_sha256"]), clip_word(row)


def clip_word(row: Row) -> str:
    """How predictions of x_0 are clamped: "clip [-1.0, 1.0]", "dynamic clip [-1.0, 1.0, 0.995]", or "no clip"."""
    if not known_text(row["clip"]):
        return "no clip"
    return f"{'dynamic ' * (row['clip'].count(',') == 2)}clip {row['clip']}"


def clippings(rows: pd.DataFrame) -> list[str]:
    """That of each row, where rows of its model differ in it; else nothing."""
    words = pd.Series([clip_word(row) for row in rows_of(rows[["clip"]])], rows.index, dtype=object)
    several = words.groupby(rows["model_sha256"]).transform("nunique") > 1
    return [word if told else "" for word, told in zip(words, several, strict=True)]


def method(row: Row) -> Method:
    """The line of a row, in its mode."""
    return *line(row), str(row["mode"])


def guest(row: Row) -> bool:
    """Whether a row ran on another model than the subject of its study."""
    return bool(row["model_sha256"] != row["subject_sha256"])


def flat(text: object, limit: int = 300) -> str:
    """Text of any origin on one line, cut after so many characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= limit else f"{line[:limit]} ..."
