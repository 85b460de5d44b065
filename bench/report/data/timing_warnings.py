"""Which rows' times are in doubt: what the timing itself found, and networks that ran slower or faster than usual."""

from collections.abc import Iterable, Sequence

import numpy as np

from bench.report.data.columns import Row, flat, known, percent, setting

DRIFT = 0.1
"""How far a row's time an evaluation may be from the median row's before the report says so."""

_NAMED = 5
"""Such rows that are named one by one."""

_REASONS = 3
"""Reasons that are given where rows are not named."""


def invalid(row: Row) -> bool:
    """Whether the timing found that a row's times do not hold up; older records do not say, and pass."""
    valid = row.get("timing_valid")
    return known(valid) and not valid


def reasons(rows: Iterable[Row]) -> str:
    """Why the times of invalid rows do not hold up, in words; of many reasons, where they stand."""
    found = list(dict.fromkeys(flat(row.get("timing_note") or "no reason was recorded") for row in rows))
    return "; ".join(found) if len(found) <= _REASONS else "timing_note in table.csv"


def doubts(clocks: Sequence[Sequence[Row]]) -> list[str]:
    """The rows whose times are in doubt, in sentences.

    Times are those of the machine where an evaluation of the same network in the same mode took much more or less than
    in the median row: samplers call it, and do not change how long it takes. Adaptive samplers are left out: they go
    on evaluating a batch until its last image is done, which takes longer than the mean of its images' evaluations.

    Args:
        clocks: rows with comparable times.
    """
    total = sum(map(len, clocks))
    found = [(row, off) for rows in clocks for row, off in _drifts(rows) if off is not None or invalid(row)]
    if len(found) <= _NAMED:
        return [f"Timing: {setting(row)}: {_why(row, off)}" for row, off in found]
    lines, drifts = [], [abs(off) for _, off in found if off is not None]
    if drifts:
        lines.append(
            f"Timing: in {len(drifts)} of {total} rows an evaluation took over {percent(DRIFT)} more or less "
            f"time than in the median row, up to {percent(max(drifts))}, which the machine did and not the samplers; "
            "do not compare these rows by time (eval_ms_median in table.csv)."
        )
    if wrong := [row for row, _ in found if invalid(row)]:
        lines.append(
            f"Timing: the times of {len(wrong)} of {total} rows do not hold up ({reasons(wrong)}); "
            "do not compare these rows by time."
        )
    return lines


def _drifts(rows: Sequence[Row]) -> list[tuple[Row, float | None]]:
    """Rows with how far their time an evaluation is from their network's median, where that is too far."""
    networks: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        networks.setdefault((row["model_sha256"], row["mode"]), []).append(row)
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
