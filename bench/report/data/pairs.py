"""Every row of a run beside every other: how far apart their distances are, and which of them are told apart."""

from itertools import combinations
from pathlib import Path

import pandas as pd

from bench.report.data.columns import Row, setting
from bench.report.data.distances import fd_label, of_key
from bench.report.data.gaps import Gap, gap, holm
from bench.report.data.section import Section
from bench.report.data.significance import LEVEL, both_at_floor, half_width
from bench.report.data.summary import summarise
from bench.report.data.text import ALIKE, NOTHING, decimals_for, known, scientific, spread

_TELL_APART = (
    *("run", "device_name", "batch", "version_torch", "sampler_sha256", "grid_code_sha256", "code_sha256"),
    *("guidance_model_sha256", "guidance_code_sha256"),
)
"""What rows of one setting may differ in."""

COLUMNS = ("protocol", "quality", "a", "b", "difference", "ci", "p", "p_holm", "test", "differ")


def pairs(run: Path) -> pd.DataFrame:
    """All pairs of rows that are ranked with one another, the best first.

    Returns:
        `COLUMNS`: the protocol; the distance; rows a and b, in words; a less b; half its 95 % interval; p, alone and by
        Holm's procedure for all pairs of the protocol; the test; and whether they differ at 5 %. What cannot be tested
        is missing. Its `attrs["broken"]` are sentences on files that are no records.

    Raises:
        UsageError: it is no run folder.
    """
    summary = summarise([run])
    found = [line for section in summary.sections for line in _pairs(section)]
    frame = pd.DataFrame(found, columns=list(COLUMNS))
    frame.attrs["broken"] = summary.broken()
    return frame


def _pairs(section: Section) -> list[Row]:
    if section.rank is None:
        return []
    quality = of_key(section.rank)
    rows = sorted((row for row in section.records if known(row[quality.key])), key=lambda row: float(row[quality.key]))
    lines, beside = list[Row](), list(combinations(rows, 2))
    gaps = [Gap(0.0, None, paired=True) if both_at_floor(a, b, quality) else gap(a, b, quality) for a, b in beside]
    names = {id(row): name for row, name in zip(rows, _names(rows), strict=True)}
    for (a, b), each, corrected in zip(beside, gaps, holm([each.p for each in gaps]), strict=True):
        line: Row = {"protocol": section.label, "quality": quality.key, "a": names[id(a)], "b": names[id(b)]}
        line |= {"difference": each.value, "ci": half_width(each.error), "p": each.p, "p_holm": corrected}
        if corrected is not None:
            line |= {"test": each.test, "differ": corrected <= LEVEL}
        lines.append(line)
    return lines


def _names(rows: list[Row]) -> list[str]:
    """Each row in words; where others have the same, with what it differs in and its number."""
    words = [setting(row) for row in rows]
    names = list[str]()
    for number, (row, name) in enumerate(zip(rows, words, strict=True), 1):
        alike = [each for each, other in zip(rows, words, strict=True) if other == name]
        apart = [key for key in _TELL_APART if len({str(each.get(key)) for each in alike}) > 1]
        told = [*(str(row.get(key))[:40] for key in apart), f"row {number}"]
        names.append(name if len(alike) == 1 else f"{name} ({', '.join(told)})")
    return names


def matrices(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The pairs of each protocol as a square, with a heading: what a row is beyond a column, and its 95 % interval."""
    return [
        (f"{fd_label(str(quality))}: {label}", _matrix(part))
        for (label, quality), part in frame.groupby(["protocol", "quality"], sort=False)
    ]


def _matrix(frame: pd.DataFrame) -> pd.DataFrame:
    names = list(dict.fromkeys([*frame["a"], *frame["b"]]))
    cells = {(name, name): NOTHING for name in names}
    for a, b, value, half, differ in frame[["a", "b", "difference", "ci", "differ"]].itertuples(index=False):
        mark = f" {ALIKE}" if differ is False else ""
        decimals = decimals_for(value, 2)
        for one, other, sign in ((a, b, 1), (b, a, -1)):
            small = 0 < abs(value) < 1e-3
            size = scientific(abs(value)) if small else f"{abs(value):,.{decimals}f}"
            width = "" if not known(half) else f" ± {scientific(half, 2) if small else spread(half, decimals)}"
            cells[one, other] = f"{'+' if sign * value >= 0 else '-'}{size}{width}{mark}"
    numbers = [str(n) for n in range(1, len(names) + 1)]
    rows = [
        [number, name, *(cells[name, other] for other in names)] for number, name in zip(numbers, names, strict=True)
    ]
    return pd.DataFrame(rows, columns=["", "Row less column", *numbers])
