"""What was found, in the words and figures that a person needs first; at most 12,000 characters are sure to be seen."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MOST = 11_000
_LOG = 1_500
"""Characters at the end of the log of a stage that failed."""


def summary(out: Path, stages: tuple[str, ...]) -> str:
    """Of the findings that there are in a folder; cut at its beginning where it is too long."""
    parts = []
    for stage in stages:
        path = out / f"{stage}.json"
        found = json.loads(path.read_text()) if path.exists() else {"ended": "nothing was found"}
        parts.append("\n".join([f"== {stage}: {found.get('ended')}, {found.get('stage_s', 0):.0f} s", *_lines(found)]))
    return "\n".join(parts)[-MOST:]


def _lines(found: dict[str, Any]) -> Iterator[str]:
    for line in found.get("lines", []):
        if line["ok"] is None:
            yield f"  --  {line['what']}: {line['note']}"
        else:
            said = "ok  " if line["ok"] else "BAD "
            yield f"  {said}{line['what']}: {line['measured']:.3g} (at most {line['bound']:.3g})"
    for row in found.get("modes", []):
        of_peak = "" if row["fraction_of_peak"] is None else f", {row['fraction_of_peak']:.1%} of peak"
        yield (
            f"  {row['mode']} x{row['batch']}: {row['ms_per_evaluation']:.3g} ms, "
            f"{row['image_evaluations_per_s']:.0f} images x evaluations/s{of_peak}; ours/bare "
            f"{row['ours_over_bare']:.3f}, diffusers/ours {row['diffusers_over_ours']:.2f}"
        )
    if (cell := found.get("quality_cell")) is not None:
        yield f"  quality cell / bare evaluations: {cell['over_bare']:.3f}"
    if rows := found.get("overhead", []):
        shown = (f"{row['sampler']} {row['us_per_step']:.0f}/{row['diffusers_us_per_step']:.0f}" for row in rows)
        yield "  us a step, ours/diffusers: " + ", ".join(shown)
    for name in ("training", "quality", "images_per_s", "images", "times", "seconds_an_evaluation", "left_out"):
        if name in found:
            yield f"  {name}: {found[name]}"
    for row in [*found.get("quality_cells", []), *found.get("timed", [])]:
        yield "  " + ", ".join(f"{name} {_short(value)}" for name, value in row.items())
    for error in found.get("errors", []):
        yield f"  ERROR in {error['what']}: {error['error']}"
    if found.get("ended") != "done":
        yield "  " + found.get("log", "")[-_LOG:].replace("\n", "\n  ")


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
