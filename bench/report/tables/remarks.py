"""What a reader must know about single cells and rows: broken, failed and missing ones, notes, and times in doubt.

Times are those of the machine where an evaluation of the same network in the same mode took much more or less than in
the median row: samplers call it, and do not change how long it takes. Adaptive samplers are left out: they go on
evaluating a batch until its last image is done, which takes longer than the mean of its images' evaluations.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from bench.report.data.columns import (
    Row,
    clip_suffix,
    clippings,
    guest,
    invalid,
    line,
    mode_words,
    network,
    reasons,
    rows_of,
    setting,
    with_words,
)
from bench.report.data.section import Section
from bench.report.data.summary import Summary
from bench.report.data.text import flat, known, percent, steps_words
from models.common.words import counted

DRIFT = 0.1
"""How far a row's time an evaluation may be from the median row's before the report says so."""

DRIFTING = "\N{SECTION SIGN}"
"""The mark of a time that is off by what the machine did."""

_NAMED = 5
"""Rows with times in doubt that are named one by one."""


@lru_cache(maxsize=2)
def remarks(summary: Summary, alone: bool = False) -> list[str]:
    """All of it, in sentences, which renderings of a summary share.

    Args:
        summary: what it is about.
        alone: whether a reader has the tables and nothing else, so that a mark says what others find in table.csv.
    """
    named = len(summary.runs) > 1
    lines = summary.broken()
    lines += [f"{flat(text)}." for text in dict.fromkeys(text for run in summary.runs for text in run.warnings)]
    lines += [f"Failed: {_cells([row], named)}: {flat(row['error'])}" for row in summary.failed]
    if summary.missing > 0:
        lines.append(f"Not measured yet: {counted(summary.missing, 'cell')}; run the study again to go on.")
    found = summary.decisions
    if found is not None and not found.decided and found.done < len(found.looks):
        lines.append(
            f"Images grow to {found.looks[-1]:,}; this run has come to {found.images:,}: run the study again to go on."
        )
    noted: dict[tuple[str, ...], list[Row]] = {}
    cells = summary.cells.assign(clipping=clippings(summary.cells))
    for row in rows_of(cells[cells["note"].notna()]):
        noted.setdefault((row["run"], *line(row), row["mode"], row["note"]), []).append(row)
    lines += [f"Note: {_cells(rows, named)}: {flat(rows[0]['note'])}" for rows in noted.values()]
    return lines + [each for section in summary.sections for each in timing_warnings(section, alone)]


def _cells(rows: list[Row], named: bool) -> str:
    """Cells of one method: of which run, if that is to be named, and where there is one, of which steps and seed."""
    row = rows[0]
    run, model = f"{row['run']}: " if named else "", f"{row['model']}: " if guest(row) else ""
    where = f"{row['grid']}{with_words(row, model=False)}{mode_words(row['mode'])}"
    method = f"{run}{model}{row['sampler']} on {where}{clip_suffix(row)}"
    if len(rows) > 1:
        return f"{method}, {len(rows)} cells"
    return f"{method}, {steps_words(row['steps'])}, seed {row['seed']}"


def timing_warnings(section: Section, alone: bool = False) -> list[str]:
    """The rows whose times are in doubt; of many their number, and `alone` the mark of those of `drifting`."""
    total, found = len(section.rows), _doubtful(section)
    if len(found) <= _NAMED:
        return [f"Timing: {setting(row)}: {_why(row, off)}" for row, off in found]
    lines, drifts = [], [abs(off) for _, off in found if off is not None]
    if drifts:
        where = f"marked {DRIFTING}" if alone else "eval_ms_median in table.csv"
        lines.append(
            f"Timing: in {len(drifts)} of {total} rows an evaluation took over {percent(DRIFT)} more or less "
            f"time than in the median row, up to {percent(max(drifts))}, which the machine did and not the samplers; "
            f"do not compare these rows by time ({where})."
        )
    if wrong := [row for row, _ in found if invalid(row)]:
        lines.append(
            f"Timing: the times of {len(wrong)} of {total} rows do not hold up ({reasons(wrong)}); "
            "do not compare these rows by time."
        )
    return lines


def drifting(section: Section) -> list[bool]:
    """Of each row, whether the machine took much more or less time for it, and that is not said of it by name."""
    found = _doubtful(section)
    gone = [row["cells"] for row, off in found if off is not None] if len(found) > _NAMED else []
    return [row["cells"] in gone for row in section.records]


def _doubtful(section: Section) -> list[tuple[Row, float | None]]:
    """The rows whose times are in doubt, with how far they are from their network's median where that is too far."""
    clocks = [rows_of(rows) for _, rows in section.clocks()]
    return [(row, off) for rows in clocks for row, off in _drifts(rows) if off is not None or invalid(row)]


def _drifts(rows: Sequence[Row]) -> list[tuple[Row, float | None]]:
    """Rows with how far their time an evaluation is from their network's median, where that is too far."""
    networks: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        networks.setdefault(network(row), []).append(row)
    found: list[tuple[Row, float | None]] = []
    for members in networks.values():
        times = [row["eval_ms_median"] if known(row.get("nfe_declared")) else np.nan for row in members]
        usual = float(np.median([time for time in times if known(time)] or [np.nan]))
        gaps = [time / usual - 1 for time in times]
        found += [(row, gap if abs(gap) > DRIFT else None) for row, gap in zip(members, gaps, strict=True)]
    return found


def _why(row: Row, off: float | None) -> str:
    drift = "" if off is None else f"an evaluation took {percent(abs(off))} {'more' if off > 0 else 'less'} time than"
    if not invalid(row):
        return f"{drift} in the median row, which the machine did and not the sampler; its times are off by that."
    return f"its times do not hold up ({reasons([row])}{f'; {drift} in the median row' if drift else ''})."
