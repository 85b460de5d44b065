"""Two runs side by side, as far as they can be compared, and which settings the second does better or worse."""

from pathlib import Path
from typing import Literal

import pandas as pd

from bench.report.data.columns import CLOCK, PROTOCOL, SETTING, Row, invalid, reasons, rows_of, setting
from bench.report.data.distances import Quality, quality_columns
from bench.report.data.gaps import Gap, gap, holm
from bench.report.data.modes import Cells, time_ratio
from bench.report.data.rows import times
from bench.report.data.significance import LEVEL, both_at_floor, half_width, p_text
from bench.report.data.summary import Summary, summarise
from bench.report.data.text import known, known_text, named, short
from bench.timing.bootstrap import ENOUGH

_QUALITY = (*PROTOCOL, "model_sha256", "guidance_model_sha256")
"""Of the same name, but other weights, a model is another one."""

Verdict = Literal["better", "worse", "same", "not told", "not tested"]
"""Of run b beside run a: `same` to the last digit; `not told` from chance; `not tested` for want of an interval."""


def compare(run_a: Path, run_b: Path) -> pd.DataFrame:
    """Rows of two runs joined by setting, in the order of the first run.

    Args:
        run_a: a run folder.
        run_b: another.

    Returns:
        For every setting of either run: the columns of `SETTING`; `setting`, in words; `latency_s_median_a`, `_b` and
        `s_per_image_median_a`, `_b`; `latency_ratio` (b over a) with the ends of its 95 % interval,
        `latency_ratio_ci_low` and `_high`, the `latency_verdict`, and the `latency_note` why it is not tested; each
        quality column `_a`, `_b`, its `_difference` (b less a), half the 95 % interval of that, its p value alone and
        by Holm's procedure for all settings, the `_verdict`, and the `_test` in words: "differ" or "not
        distinguishable" with the p value alone, in pairs where both ran on the same images, else by Welch's t-test, or
        "not tested" where one has no interval; `comparable`, whether both can be compared, with `quality_comparable`
        and `time_comparable` apart, and the `reason` why not. A ratio, difference, test or verdict
        that would compare what cannot be compared is missing. Its `attrs` are sentences: "broken" on files that are no
        records, "apart" on what the runs do not share, and "differ" on what measured them; and "runs", their names.

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
    measured = [f"{name}_{end}" for name in _TIMES for end in "ab"] + [f"latency_{end}" for end in _RATIO]
    measured += [f"{each.key}_{end}" for each in quality for end in ("a", "b", *_DIFFERENCE)]
    columns = [*SETTING, "setting", *measured, "comparable", "quality_comparable", "time_comparable", "reason"]
    cells = [Cells(each.cells, ()) for each in summaries]
    rows = [_joined(a, b, quality) | _times(a, b, cells) for a, b in pairs]
    for each in quality:
        _decide(rows, each)
    _tell_apart(rows)
    frame = pd.DataFrame(rows, columns=columns)
    frame.attrs["broken"] = [line for each in summaries for line in each.broken()]
    frame.attrs["apart"] = _unshared(*summaries)
    frame.attrs["differ"] = _measured_by(*summaries)
    names = [each.runs[0].name for each in summaries]
    frame.attrs["runs"] = names if names[0] != names[1] else [str(run_a), str(run_b)]
    return frame


_TIMES = ("latency_s_median", "s_per_image_median")
_RATIO = ("ratio", "ratio_ci_low", "ratio_ci_high", "verdict", "note")
_DIFFERENCE = ("difference", "difference_ci", "difference_p", "difference_p_holm", "verdict", "test")
"""Columns of what times and what qualities differ by."""

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
            said = (f"{named(list(each), 5) or 'none'} in {run}" for each, run in zip(values, "ab", strict=True))
            found.append(f"{heading}: {', '.join(said)}")
    return found


_MEASURED = ("code_sha256", "version_torch", "device_name", "threads", "python", "platform", "git_commit")
"""What two runs were measured by."""


def _measured_by(a: Summary, b: Summary) -> list[str]:
    """What measured one run otherwise than the other."""
    found, rows = [], [rows_of(each.cells) for each in (a, b)]
    for name in _MEASURED:
        values = [dict.fromkeys(_text(row.get(name)) or "unknown" for row in each) for each in rows]
        if values[0].keys() != values[1].keys() and all(values):
            hashes = name in ("code_sha256", "git_commit")
            plain = ([short(value) if hashes else value for value in each] for each in values)
            said = (f"{named(each, 3)} in {run}" for each, run in zip(plain, "ab", strict=True))
            found.append(f"{name}: {', '.join(said)}")
    code = [{(row["sampler"], row["sampler_sha256"]) for row in each} for each in rows]
    both = {sampler for sampler, _ in code[0]} & {sampler for sampler, _ in code[1]}
    changed = sorted({sampler for sampler, _ in code[0] ^ code[1]} & both)
    return [*found, *([f"sampler_sha256: of {named(changed, 10)}"] if changed else [])]


def _called(row: Row, name: str) -> str:
    """What a cell has there; of a file by its hash too."""
    digest, value = _text(row.get(f"{name}_sha256")), _text(row.get(name))
    return "none" if value is None else value if digest is None else f"{value} ({short(digest)})"


def _tell_apart(rows: list[Row]) -> None:
    """Where several rows are the same in words, add to those what they differ in, or their number."""
    alike: dict[str, list[Row]] = {}
    for row in rows:
        alike.setdefault(row["setting"], []).append(row)
    for words, each in alike.items():
        names = [name for name in SETTING if len({_text(row[name]) for row in each}) > 1]
        for n, row in enumerate(each if len(each) > 1 else (), 1):
            told = ", ".join(f"{name} {_text(row[name]) or 'none'}" for name in names) or f"row {n}"
            row["setting"] = f"{words} ({told})"


def _setting(row: Row) -> tuple[object, ...]:
    return tuple(_text(row[key]) for key in SETTING)


def _joined(a: Row | None, b: Row | None, quality: list[Quality]) -> Row:
    left, right = a or {}, b or {}
    apart = _reasons(a, b, _QUALITY, "quality"), _reasons(a, b, CLOCK, "time")
    there = a or b or {}
    row: Row = {key: there[key] for key in SETTING} | {"setting": setting(there)}
    row |= {f"{each.key}_{end}": side.get(each.key) for each in quality for end, side in (("a", left), ("b", right))}
    for each in quality:
        both = known(row[f"{each.key}_a"]) and known(row[f"{each.key}_b"])
        if not apart[0] and both and not _apart(left, right, each.within):
            row |= _gap(left, right, each)
    return row | {
        "comparable": not any(apart),
        "quality_comparable": not apart[0],
        "time_comparable": not apart[1],
        "reason": "; ".join(dict.fromkeys(filter(None, apart))) or None,
    }


def _times(a: Row | None, b: Row | None, cells: list[Cells]) -> Row:
    """Times, their ratio, and what that says: nothing of times that do not hold up."""
    row: Row = {
        f"{name}_{end}": None if side is None else side.get(name)
        for name in _TIMES
        for side, end in ((a, "a"), (b, "b"))
    }
    timed = known(row["latency_s_median_a"]) and known(row["latency_s_median_b"])
    if a is None or b is None or not timed or _reasons(a, b, CLOCK, "time"):
        return row
    ratio, low, high = time_ratio(*(times(each.of(side)) for each, side in zip(cells, (a, b), strict=True)))
    row |= {"latency_ratio": ratio, "latency_ratio_ci_low": low, "latency_ratio_ci_high": high}
    doubts = [
        *(f"times of {end} do not hold up: {reasons([side])}" for side, end in ((a, "a"), (b, "b")) if invalid(side)),
        *([] if known(low) else [f"less than {ENOUGH} rounds of timing"]),
    ]
    verdict: Verdict = "not tested" if doubts else "better" if high < 1 else "worse" if low > 1 else "not told"
    return row | {"latency_verdict": verdict, "latency_note": "; ".join(doubts) or None}


def _gap(a: Row, b: Row, quality: Quality) -> Row:
    """What b is beyond a, with its test."""
    floor = both_at_floor(a, b, quality)
    found = gap(b, a, quality)
    row: Row = {"difference": found.value, "difference_ci": half_width(found.error)}
    row |= {"difference_p": 1.0 if floor else found.p, "test": _test(found, floor)}
    return {f"{quality.key}_{end}": value for end, value in row.items()}


def _decide(rows: list[Row], quality: Quality) -> None:
    """Add the p values for all settings, and the verdicts, where there is a difference.

    What is equal to the last digit was not tested, and is not one of those among which something may differ by chance.
    """
    key = f"{quality.key}_difference"
    compared = [row for row in rows if key in row]
    tested = [row[f"{key}_p"] if row[key] else None for row in compared]
    for row, p in zip(compared, holm(tested), strict=True):
        row |= {f"{key}_p_holm": p, f"{quality.key}_verdict": _verdict(row[key], p, quality)}


def _verdict(difference: float, p: float | None, quality: Quality) -> Verdict:
    if difference == 0:
        return "same"
    if p is None:
        return "not tested"
    if p > LEVEL:
        return "not told"
    return "better" if (difference < 0) == (quality.better == "min") else "worse"


def _test(found: Gap, floor: bool) -> str:
    if floor:
        return "not distinguishable, both at their floors"
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
