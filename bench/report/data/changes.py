"""What two runs that are compared differ in: by quality and by time, which settings became better or worse."""

from dataclasses import dataclass
from typing import get_args

import pandas as pd

from bench.report.data.columns import Row, rows_of
from bench.report.data.compare import Verdict
from bench.report.data.distances import Quality, quality_columns
from bench.report.data.significance import p_text
from bench.report.data.text import NOTHING, decimals_for, known, scientific, significant

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True)
class Aspect:
    """What is compared of the settings that both runs have: a quality, or the time.

    Attributes:
        quality: which; None: time.
        rows: all of a comparison.
    """

    quality: Quality | None
    rows: list[Row]

    @property
    def name(self) -> str:
        """What it is called, with an arrow to its good end."""
        return "ms/image ↓" if self.quality is None else self.quality.heading

    @property
    def _key(self) -> str:
        return "latency" if self.quality is None else self.quality.key

    def verdict(self, row: Row) -> Verdict | None:
        """Of a setting; None where it is not compared."""
        found = row[f"{self._key}_verdict"]
        return next((each for each in VERDICTS if each == found), None)

    def having(self, verdict: Verdict | None) -> list[Row]:
        """The settings of a verdict, those that changed most first."""
        return sorted((row for row in self.rows if self.verdict(row) == verdict), key=lambda row: -self._size(row))

    def _size(self, row: Row) -> float:
        """How large a change is, as a share."""
        if self.quality is None:
            ratio = row["latency_ratio"]
            return max(ratio, 1 / ratio) if known(ratio) and ratio > 0 else 0.0
        before, change = row[f"{self._key}_a"], row[f"{self._key}_difference"]
        return abs(change / before) if known(change) and before else 0.0

    def values(self, row: Row) -> str:
        """Of both runs: 2.31 → 2.10; a dash for what is not there."""
        key = "s_per_image_median" if self.quality is None else self.quality.key
        return " → ".join(self._value(row[f"{key}_{end}"], self._decimals(row)) for end in "ab")

    def _decimals(self, row: Row) -> int:
        """Those of the quality or, if it has none of its own, as many as show the change."""
        if self.quality is None or self.quality.decimals is not None:
            return 0 if self.quality is None else self.quality.decimals or 0
        ends = [abs(row[f"{self._key}_{end}"]) for end in ("a", "b", "difference") if known(row[f"{self._key}_{end}"])]
        needed = [decimals_for(self.quality.scale * each, 1 + (n < 2)) for n, each in enumerate(ends) if each]
        return min(4, max([2, *needed]))

    def _value(self, value: object, decimals: int) -> str:
        if not isinstance(value, (int, float)) or not known(value):
            return NOTHING
        if self.quality is None:
            return significant(1000 * value)
        if self.quality.scientific:
            return scientific(value)
        return f"{self.quality.scale * value:,.{decimals}f}"

    def change(self, row: Row) -> str:
        """By how much, with its 95 % interval: -0.21 ± 0.05, or 0.93× (0.91 to 0.96); a dash where it is not known."""
        if self.quality is None:
            ratio, *ends = (row[f"latency_{name}"] for name in ("ratio", "ratio_ci_low", "ratio_ci_high"))
            interval = f" ({significant(ends[0])} to {significant(ends[1])})" if all(map(known, ends)) else ""
            return f"{significant(ratio)}×{interval}" if known(ratio) else NOTHING
        value, ci = row[f"{self._key}_difference"], row[f"{self._key}_difference_ci"]
        width = self.quality.half(ci)
        return f"{self.quality.signed(value, ci)}{width and f' ± {width}'}" if known(value) else NOTHING

    def sentence(self, row: Row) -> str:
        """What became of a setting."""
        p = None if self.quality is None else row[f"{self._key}_difference_p_holm"]
        return f"{row['setting']}: {self.values(row)}, {self.change(row)}{f', {p_text(p)}' if known(p) else ''}"


def aspects(frame: pd.DataFrame) -> list[Aspect]:
    """What there is a verdict of: the quality that rows are ranked by, the time, then the other qualities."""
    rows = rows_of(frame)
    names = [str(name).removesuffix("_verdict") for name in frame.columns if str(name).endswith("_verdict")]
    first, *others = [*quality_columns(names), None]
    found = [Aspect(each, rows) for each in dict.fromkeys((first, None, *others))]
    return [each for each in found if any(each.verdict(row) for row in rows)]
