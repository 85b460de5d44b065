"""How numbers are written, and tables as columns of text, which every rendering shows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import pandas as pd

from models.common.words import counted

NOTHING = "–"  # noqa: RUF001  (an en dash, which readers take for "no value")

ALIKE = "†"
"""Marks what cannot be told from the best."""

DOUBTFUL = "‡"
"""Marks a time that does not hold up."""


@dataclass(frozen=True)
class Column:
    """A column as plain text, top to bottom.

    Attributes:
        heading: unique in its table.
        cells: what files show.
        brief: the same without intervals, for the terminal.
        best: which cells hold the best value.
        number: whether it is aligned to the right.
        tested: which cells were tested against the best value.
    """

    heading: str
    cells: list[str]
    brief: list[str]
    best: list[bool]
    number: bool = True
    tested: Sequence[bool] = ()

    @property
    def name(self) -> str:
        """The heading without the arrow that says which end is good."""
        return self.heading.rstrip(" ↓↑")


def words(heading: str, cells: Sequence[object], brief: Sequence[str] | None = None) -> Column:
    """A column of words; None is a dash."""
    texts = [NOTHING if cell is None else str(cell) for cell in cells]
    return Column(heading, texts, texts if brief is None else list(brief), [False] * len(texts), number=False)


def numbers(heading: str, cells: Sequence[str], brief: Sequence[str] | None = None) -> Column:
    """A column of numbers, none of them best."""
    return Column(heading, list(cells), list(cells if brief is None else brief), [False] * len(cells))


def marked(
    heading: str,
    means: Sequence[str],
    halves: Sequence[str],
    marks: Sequence[str],
    best: Sequence[bool] | None = None,
    tested: Sequence[bool] = (),
) -> Column:
    """A column of means, each with half its interval (none if empty) and a mark (none if empty)."""
    whole = [
        f"{mean}{half and f' ± {half}'}{mark and f' {mark}'}"
        for mean, half, mark in zip(means, halves, marks, strict=True)
    ]
    brief = [mean + mark for mean, mark in zip(means, marks, strict=True)]
    return Column(heading, whole, brief, [False] * len(brief) if best is None else list(best), tested=tested)


def known(value: Any) -> TypeGuard[float]:
    """Whether a number was measured: neither None nor NaN nor infinite."""
    return value is not None and value is not pd.NA and math.isfinite(value)


def known_text(value: Any) -> bool:
    """Whether a column that is text, or anything else but a measured number, has a value."""
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def significant(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, never in exponent notation: 0.0123, 1.23, 123, 12,345."""
    return f"{value:,.{decimals_for(value, digits)}f}"


def scientific(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, with an exponent if it is small: 1.23e-5, 0.0123, 12.3."""
    if not known(value) or value == 0 or abs(value) >= 1e-3:
        return significant(value, digits)
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def decimals_for(value: float, digits: int = 3) -> int:
    """Decimal places that show a number with so many significant digits, at most 8."""
    if not known(value) or value == 0:
        return digits - 1
    return min(8, max(0, digits - 1 - math.floor(math.log10(abs(value)))))


def spread(value: float, decimals: int) -> str:
    """Half an interval to the decimals of its mean, or to its own first digit: 0.0003 is not 0.000."""
    return f"{value:,.{max(decimals, decimals_for(value, 1)) if value else decimals}f}"


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


def steps_words(steps: int) -> str:
    """A number of steps: "1 step", "1,000 steps"."""
    return counted(steps, "step")


def named(names: Sequence[str], most: int) -> str:
    """The first names, and how many more there are."""
    return f"{', '.join(names[:most])}{f' and {len(names) - most} more' if len(names) > most else ''}"


def short(sha256: object) -> str:
    """The first digits of a hash, by which people tell them apart."""
    return str(sha256)[:8]


def flat(text: object, limit: int = 300) -> str:
    """Text of any origin on one line, cut after so many characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= limit else f"{line[:limit]} ..."
