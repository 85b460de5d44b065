"""What was found, in the words and figures that a person needs first; at most 12,000 characters are sure to be seen."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MOST = 11_000
_LOG = 1_500
"""Characters at the end of the log of a stage that did not end by itself."""


def read_findings(path: Path) -> dict[str, Any]:
    """What a stage found; nothing if it wrote nothing that can be read."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def summary(out: Path, stages: tuple[str, ...]) -> str:
    """Of the findings that there are in a folder; where that is too long, of each stage an equal share."""
    parts = []
    for stage in stages:
        found = read_findings(out / f"{stage}.json")
        head = f"== {stage}: {found.get('ended', 'nothing was found')}, {_short(found.get('stage_s', 0.0))} s"
        parts.append("\n".join([head, *_lines(found)]))
    share = None if sum(map(len, parts)) + len(parts) <= MOST else MOST // len(parts) - 1
    return "\n".join(part[:share] for part in parts)


def _lines(found: dict[str, Any]) -> Iterator[str]:
    """What is wrong first."""
    for error in found.get("errors", []):
        yield f"  ERROR in {error['what']}: {error['error']}"
    if found.get("ended", "done") != "done":
        yield "  " + found.get("log", "")[-_LOG:].replace("\n", "\n  ")
    lines = found.get("lines", [])
    for line in lines:
        if line["ok"] is False:
            yield f"  BAD {line['what']}: {_short(line['measured'])} (at most {_short(line['bound'])})"
    if lines:
        good, left = (sum(line["ok"] is ok for line in lines) for ok in (True, None))
        yield f"  {good} of {len(lines) - left} lines hold; {left} mean nothing here"
    for row in found.get("modes", []):
        values = [_short(row[name]) for name in ("ms_per_evaluation", "image_evaluations_per_s", "fraction_of_peak")]
        ratios = f"ours/bare {_short(row['ours_over_bare'])}, diffusers/ours {_short(row['diffusers_over_ours'])}"
        yield f"  {row['mode']} x{row['batch']}: ms, evaluations/s, of peak {', '.join(values)}; {ratios}"
    if (cell := found.get("quality_cell")) is not None:
        yield f"  quality cell / bare evaluations: {_short(cell['over_bare'])}"
    if rows := found.get("overhead", []):
        shown = (
            f"{row['sampler']} {_short(row['us_per_step'])}/{_short(row['diffusers_us_per_step'])}" for row in rows
        )
        yield "  us a step, ours/diffusers: " + ", ".join(shown)
    for name in ("training", "quality", "images_per_s", "images", "times", "seconds_an_evaluation", "left_out"):
        if name in found:
            yield f"  {name}: {found[name]}"
    if rows := found.get("quality_cells", []):
        cells = (f"{row['cell'].split(' on ')[0]} {_short(row.get('nfe'))}: {_short(row.get('fd'))}" for row in rows)
        yield "  sampler, evaluations: distance; " + "; ".join(cells)
    for row in found.get("timed", []):
        yield "  " + ", ".join(f"{name} {_short(value)}" for name, value in row.items() if value is not None)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
