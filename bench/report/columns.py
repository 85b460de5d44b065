"""The names that the report goes by: what tells rows apart, what quality is, and which way each figure is better."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

Row = dict[str, Any]
Method = tuple[str, str, str]

PROTOCOL = ("subject_sha256", "reference_sha256", "extractor_sha256", "images", "quantiser")
"""Rows alike in these have comparable quality; rows are never ranked across them.

The subject is the main model of the study: a row may run on another, as that of a baseline does.
"""

CLOCK = ("device_name", "dtype", "batch")
"""Rows of a protocol alike in these have comparable times."""

SETTING = ("model", "sampler", "grid", "steps", "images", "batch", "dtype", "clip")
"""What a user chooses."""

CODE = ("sampler_sha256", "code_sha256", "version_torch")
"""What computed a row."""

KEYS = (
    *(*SETTING, *CODE, "subject_sha256", "model_sha256", "reference_sha256", "extractor_sha256"),
    *("quantiser", "device_name"),
)
"""Cells alike in these differ in the seed only, and form one row of the table."""

SMALL_N = 10_000
"""Below this many images a Frechet distance is biased so much that only rows of one table can be compared."""

BUDGETS = (5, 10, 20, 50, 100)
"""Evaluations an image, in which samplers are compared where there are too many rows to show each."""


@dataclass(frozen=True)
class Quality:
    """A quality column.

    Attributes:
        key: its name in the records.
        heading: in tables.
        better: which end is good.
        std: name of its standard deviation, in the records (within a cell, where there is one) and in the table.
        scale: the table shows the value times this.
        decimals: in tables; None for as many as the smallest value needs.
    """

    key: str
    heading: str
    better: Literal["min", "max"]
    std: str
    scale: float = 1.0
    decimals: int | None = None


_OTHERS = (
    Quality("kid_mean", "KID ×10³ ↓", "min", "kid_std", scale=1e3, decimals=2),
    Quality("inception_score", "IS ↑", "max", "inception_score_std", decimals=2),
    Quality("precision", "Precision ↑", "max", "precision_std", decimals=3),
    Quality("recall", "Recall ↑", "max", "recall_std", decimals=3),
)


def fd_columns(columns: Iterable[object]) -> list[str]:
    """The Frechet distances among some columns: `fid`, and fd_<extractor> for any other extractor."""
    names = [str(column) for column in columns]
    return [n for n in names if n == "fid" or (n.startswith("fd_") and not n.endswith("_std"))]


def fd_label(key: str) -> str:
    """How a Frechet distance is called: FID, or FD with its extractor."""
    return "FID" if key == "fid" else f"FD ({key.removeprefix('fd_')})"


def quality_columns(columns: Iterable[object]) -> list[Quality]:
    """The quality columns among some columns, in the order of the table."""
    names = [str(column) for column in columns]
    distances = [Quality(key, f"{fd_label(key)} ↓", "min", f"{key}_std") for key in fd_columns(names)]
    return [*distances, *(quality for quality in _OTHERS if quality.key in names)]


def known(value: Any) -> bool:
    """Whether a number was measured: neither None nor NaN nor infinite."""
    return value is not None and not pd.isna(value) and math.isfinite(value)


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """The rows as dictionaries."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def with_columns(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The frame with those of the named columns that it lacks added, empty."""
    return frame.reindex(columns=[*frame.columns, *(name for name in names if name not in frame.columns)])


def significant(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, never in exponent notation: 0.0123, 1.23, 123, 12,345."""
    return f"{value:,.{decimals_for(value, digits)}f}"


def decimals_for(value: float, digits: int = 3) -> int:
    """Decimal places that show a number with so many significant digits, at most 8."""
    if not known(value) or value == 0:
        return digits - 1
    return min(8, max(0, digits - 1 - math.floor(math.log10(abs(value)))))


def percent(fraction: float) -> str:
    """A fraction in per cent: 0.1 gives '10 %'."""
    return f"{100 * fraction:.3g} %"


def setting(row: Row) -> str:
    """What a row is, in words; its model is named unless it is the study's own."""
    model = f" with {row['model']}" if guest(row) else ""
    return f"{row['sampler']} on {row['grid']} at {row['steps']:,} step{'s' if row['steps'] != 1 else ''}{model}"


def method(row: Row) -> Method:
    """What a line of a figure connects the settings of: a sampler on a grid, with a model."""
    return str(row["sampler"]), str(row["grid"]), str(row["model_sha256"])


def guest(row: Row) -> bool:
    """Whether a row ran on another model than the subject of its study."""
    return bool(row["model_sha256"] != row["subject_sha256"])


def flat(text: object, limit: int = 300) -> str:
    """Text of any origin on one line, cut after so many characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= limit else f"{line[:limit]} ..."
