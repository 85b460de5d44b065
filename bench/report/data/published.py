"""What has been published beside what was measured: whether a paper's values were reproduced; its table."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd

from bench.report.data.columns import Row, guidance_column, rows_of
from bench.report.data.distances import fd_columns, of_key
from bench.report.data.runs import Run
from bench.report.data.text import NOTHING, Column, flat, known, known_text, numbers, percent, words

TITLE = "Published against measured"

_NOTE = (
    "Difference: of the measured from the published value. ±: half the 95 % interval of the measured one. A verdict is "
    "only given where column and number of images are those of the source."
)

Verdict = Literal["within", "outside", "not comparable", "failed", "not measured"]

_COUNTED: dict[Verdict, str] = {
    "within": "within tolerance",
    "outside": "outside",
    "not comparable": "not comparable",
    "failed": "failed",
    "not measured": "not measured yet",
}


@dataclass(frozen=True)
class Comparison:
    """A published value and the row of the table that is to reproduce it.

    Attributes:
        run: whose study states the value.
        source: where it stands.
        sampler, grid, steps, model, clip, mode, guidance, nfe, seeds: of the row; None as far as no record says it.
        column: the column that is to equal the value.
        published: the value.
        published_images: that it was computed from.
        tolerance: relative to the value.
        measured: the mean of the row; None unless it is comparable.
        ci: half the width of its 95 % confidence interval; None if it has none.
        images: that the row was computed from.
        verdict: only "within" and "outside" say anything about the value.
        reason: why there is no such verdict; else None.
        open_points: where the protocol is not known, or not the source's, as the study says.
    """

    run: str
    source: str
    sampler: str | None
    grid: str | None
    steps: int | None
    model: str | None
    clip: str | None
    mode: str | None
    guidance: str | None
    nfe: float | None
    seeds: int | None
    column: str
    published: float
    published_images: int
    tolerance: float
    measured: float | None
    ci: float | None
    images: int | None
    verdict: Verdict
    reason: str | None
    open_points: tuple[str, ...]

    @property
    def difference(self) -> float | None:
        """Of the measured value from the published one, as a fraction of the latter; None if that is 0."""
        if self.measured is None or self.published == 0:
            return None
        return (self.measured - self.published) / abs(self.published)

    @property
    def words(self) -> str:
        """The verdict as text."""
        if self.verdict in ("within", "outside"):
            return f"{self.verdict} {percent(self.tolerance)}"
        return f"{_COUNTED[self.verdict]}{f': {self.reason}' if self.reason else ''}"


def compare_published(
    run: Run, cells: pd.DataFrame, table: pd.DataFrame, shown: Collection[str] | None = None
) -> list[Comparison]:
    """The published values of a run's manifest with the rows that hold its cells, each value once.

    The cells of several seeds are one row, and have one published value; another model, mode or guidance, or x_0
    clamped or not, is another row.

    Args:
        run: with the entries of its manifest: cell, column, value, tolerance, images, source, open points if there are
            any; and, for cells that are not recorded yet, sampler, grid and steps where the manifest says them.
        cells: all records.
        table: the aggregated rows.
        shown: the cells whose values are asked for; None: all.
    """
    asked = [entry for entry in run.published if shown is None or entry["cell"] in shown]
    if not asked:
        return []
    named = cells["id"].isin([entry["cell"] for entry in asked])
    records = {row["id"]: row for row in rows_of(cells[named & (cells["run"] == run.name)])}
    holders = {cell: row for row in rows_of(table) for cell in row["cells"] if run.name in row["run"].split(" + ")}
    found: dict[tuple[Any, ...], Comparison] = {}
    for entry in asked:
        record, row = records.get(entry["cell"]), holders.get(entry["cell"])
        made = _comparison(run, entry, record, row)
        words = (made.sampler, made.grid, made.steps) if made.sampler else entry["cell"]
        recorded = row or record
        # by the model's hash, as two may have one name
        where = None if recorded is None else (recorded["model_sha256"], made.clip, made.mode, made.guidance)
        key = (words, made.column, made.published, made.source, where)
        # a seed that failed does not hide the row of the others
        if key not in found or found[key].nfe is None:
            found[key] = made
    # nor does one that is still to come, of which the manifest says neither model nor clip
    there = {key[:-1] for key in found if key[-1] is not None}
    return [made for key, made in found.items() if key[-1] is not None or key[:-1] not in there]


def _comparison(run: Run, entry: dict[str, Any], record: Row | None, row: Row | None) -> Comparison:
    verdict, reason = _verdict(entry, record, row)
    known_by, measured = row or record or entry, row or {}
    compared = measured if verdict in ("within", "outside") else {}
    return Comparison(
        run=run.name,
        source=str(entry["source"]),
        sampler=known_by.get("sampler"),
        grid=known_by.get("grid"),
        steps=None if known_by.get("steps") is None else int(known_by["steps"]),
        model=known_by.get("model"),
        clip=str(known_by["clip"]) if known_text(known_by.get("clip")) else None,
        mode=known_by.get("mode"),
        guidance=known_by.get("guidance"),
        nfe=_number(measured, "nfe"),
        seeds=measured.get("seeds"),
        column=entry["column"],
        published=float(entry["value"]),
        published_images=int(entry["images"]),
        tolerance=float(entry["tolerance"]),
        measured=_number(compared, entry["column"]),
        ci=_number(compared, of_key(entry["column"]).ci),
        images=measured.get("images"),
        verdict=verdict,
        reason=reason,
        open_points=tuple(dict.fromkeys([*run.study.get("open_points", ()), *entry.get("open_points", ())])),
    )


def _verdict(entry: dict[str, Any], record: Row | None, row: Row | None) -> tuple[Verdict, str | None]:
    """Whether the row reproduces the value; no verdict on what was measured otherwise."""
    if row is None:
        return ("not measured", None) if record is None else ("failed", flat(record["error"], 120))
    column, reasons = entry["column"], list[str]()
    if row["images"] != entry["images"]:
        reasons.append(f"{row['images']:,} images instead of {entry['images']:,}")
    measured = _number(row, column)
    if measured is None:
        others = [name for name in fd_columns(row) if known(row[name])]
        reasons.append(f"{others[0]} instead of {column}" if others else f"{column} was not measured")
    if reasons or measured is None:
        return "not comparable", ", ".join(reasons)
    gap, allowed = abs(measured - entry["value"]), entry["tolerance"] * abs(entry["value"])
    # a published value is a decimal: one exactly at the edge is within, whatever its binary neighbour
    return ("within" if gap <= allowed * (1 + 1e-9) else "outside"), None


def _number(row: Row, column: str) -> float | None:
    """What a row has in a column, whatever a study names; None if that is no number."""
    value = row.get(column)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and known(value) else None


def published_columns(found: Sequence[Comparison]) -> list[Column]:
    """The table, in the order of the study."""
    decimals = max((_decimals(each.published) for each in found), default=0)
    measured = [NOTHING if each.measured is None else f"{each.measured:,.{decimals}f}" for each in found]
    halves = [f" ± {each.ci:,.{decimals}f}" if known(each.ci) else "" for each in found]
    changes = [NOTHING if each.difference is None else f"{100 * each.difference:+.1f} %" for each in found]
    modes = words("Mode", [each.mode for each in found])
    verdicts = words("Verdict", [each.words for each in found])
    return [
        words("Source", [each.source for each in found]),
        words("Sampler", [each.sampler for each in found]),
        words("Grid", [each.grid for each in found]),
        *guidance_column([vars(each) for each in found]),
        *([modes] if len(set(modes.cells)) > 1 else []),
        numbers("Steps", [NOTHING if each.steps is None else f"{each.steps:,}" for each in found]),
        numbers("NFE", [NOTHING if each.nfe is None else f"{each.nfe:,.6g}" for each in found]),
        words("Metric", [each.column for each in found]),
        numbers("Published", [f"{each.published:,.{decimals}f}" for each in found]),
        numbers("Measured", [mean + half for mean, half in zip(measured, halves, strict=True)], measured),
        numbers("Difference", changes),
        replace(verdicts, best=[each.verdict == "within" for each in found]),
    ]


def _decimals(value: float) -> int:
    """Decimals that a published number is written with, at most 4: that many, a source rarely has more."""
    return min(4, len(f"{value:.10f}".rstrip("0").partition(".")[2]))


def published_notes(found: Sequence[Comparison]) -> list[str]:
    """The sentences under the table: what became of the values, and what is open about the protocols."""
    counts = Counter(each.verdict for each in found)
    others = [verdict for verdict in _COUNTED if verdict != "within" and counts[verdict]]
    parts = [f"{counts['within']} of {len(found)} within tolerance", *(f"{counts[v]} {_COUNTED[v]}" for v in others)]
    return [f"Published values: {', '.join(parts)}.", _NOTE, *_open_points(found)]


def _open_points(found: Sequence[Comparison]) -> list[str]:
    """A sentence for each open point, with the sources that it is about unless it is about all."""
    about: dict[str, list[str]] = {}
    for each in found:
        for point in each.open_points:
            about.setdefault(flat(point, 1000), []).append(each.source)
    lines = []
    for point, sources in about.items():
        named = "" if len(sources) == len(found) else f" ({'; '.join(dict.fromkeys(sources))})"
        lines.append(f"Open{named}: {point}")
    return lines


def frame(found: Sequence[Comparison]) -> pd.DataFrame:
    """All that is known of each published value, a row each."""
    rows = [vars(each) | {"open_points": "; ".join(each.open_points), "difference": each.difference} for each in found]
    names = [*Comparison.__dataclass_fields__, "difference"]
    return pd.DataFrame(rows, columns=names).astype({"steps": "Int64", "seeds": "Int64", "images": "Int64"})
