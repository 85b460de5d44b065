"""The columns that all go by: what tells rows apart, what can be compared, and what a row is called."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from bench.report.data.distances import OWN_TRUTH
from bench.report.data.text import (
    DOUBTFUL,
    NOTHING,
    Column,
    decimals_for,
    flat,
    known,
    known_text,
    marked,
    short,
    significant,
    spread,
    steps_words,
    words,
)
from bench.timing.bootstrap import ENOUGH

Row = dict[str, Any]
Line = tuple[str, str, str, str, str]

PROTOCOL = (
    *("subject_sha256", "reference_sha256", "extractor_sha256", "extractor_layer", "extractor_batch"),
    *("images", "quantiser", "labels"),
)
"""Rows alike in these have comparable quality; rows are never ranked across them.

The subject is the main model of the study: a row may run on another, as that of a baseline does.
"""

CLOCK = ("device_name", "timed_batch")
"""Rows of a protocol alike in these have comparable times, in whatever mode."""

SETTING = ("model", "guidance", "sampler", "grid", "steps", "images", "batch", "mode", "clip")
"""What a user chooses."""

CODE = ("sampler_sha256", "grid_code_sha256", "guidance_code_sha256", "code_sha256", "version_torch")
"""What computed a row."""

KEYS = (
    *(*SETTING, *CODE, "model_sha256", "guidance_model_sha256", "value_range", "device_name"),
    *(name for name in PROTOCOL if name not in SETTING),
)
"""Cells alike in these differ in the seed only, and form one row of the table."""

NEWER_KEYS = ("clip_sha256", "prompts_sha256", "solver_steps")
"""And, where records have them, in these."""

COMPACT_LAYER, COMPACT_BATCH = "features", 250
"""How the compact extractors of model folders are used, which goes without saying."""

USUAL_MODE = "fp32"
"""The mode that goes without saying."""

UNGUIDED = "none"
"""The guidance that goes without saying, and that of records which say nothing of it."""

SMALL_N = 10_000
"""Below this many images a Frechet distance is biased so much that only rows of one table can be compared."""

BUDGETS = (5, 10, 20, 50, 100)
"""Evaluations an image, in which samplers are compared where there are too many rows to show each."""


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """The rows as dictionaries."""
    names = [str(name) for name in frame.columns]
    # by columns, which is many times as fast as by rows; an empty frame without columns has no rows either
    return [dict(zip(names, values, strict=True)) for values in zip(*(frame[n].tolist() for n in frame), strict=True)]


def key_of(row: Row) -> tuple[Any, ...]:
    """What tells the setting of a row or a record, however many images it has.

    Every kind of missing is None, which equals itself.
    """
    values = (row.get(name) for name in (*KEYS, *NEWER_KEYS) if name != "images")
    return tuple(None if value is None or value != value else value for value in values)


def with_columns(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The frame with those of the named columns that it lacks added, empty."""
    lacking = dict.fromkeys(name for name in names if name not in frame.columns)
    return frame.reindex(columns=[*frame.columns, *lacking])


def has(rows: pd.DataFrame, name: str) -> bool:
    """Whether some row has a value in a column."""
    return name in rows.columns and bool(rows[name].notna().any())


def invalid(row: Row) -> bool:
    """Whether the timing found that a row's times do not hold up."""
    valid = row.get("timing_valid")
    return known(valid) and not valid


def reasons(rows: Iterable[Row]) -> str:
    """Why the times of invalid rows do not hold up, in words. Of many, those that differ in numbers are one with
    their range; of many of these the commonest are told, and how many there are besides.
    """
    every = [flat(row.get("timing_note") or "no reason was recorded") for row in rows]
    if len(few := list(dict.fromkeys(every))) < _REASONS:
        return "; ".join(few)
    kinds = dict[str, list[list[str]]]()
    for note in every:
        for reason in note.split("; "):
            kinds.setdefault(_FIGURE.sub("#", reason), []).append([reason, *_FIGURE.findall(reason)])
    common = sorted(kinds.values(), key=len, reverse=True)
    told = [_ranged(each) for each in (common if len(common) <= _REASONS else common[: _REASONS - 1])]
    more = len(common) - len(told)
    return "; ".join([*told, *([f"and {more:,} other reasons"] if more else [])])


_FIGURE = re.compile(r"\d+(?:\.\d+)?")
_REASONS = 4
"""Reasons that are told."""


def _ranged(found: Sequence[Sequence[str]]) -> str:
    """Texts that differ in their numbers as one text, each number with its range; each is followed by its numbers."""
    ranges = iter(
        [sorted(dict.fromkeys(values), key=float) for values in zip(*(each[1:] for each in found), strict=True)]
    )
    return _FIGURE.sub(lambda _: " to ".join((values := next(ranges))[:1] + values[1:][-1:]), found[0][0])


def guidance_column(rows: Sequence[Row]) -> list[Column]:
    """The guidance of each row; no column where none has any."""
    return [words("Guidance", [row["guidance"] for row in rows])] if any(map(guided, rows)) else []


def milliseconds(rows: Sequence[Row]) -> Column:
    """Milliseconds an image, with half the interval of the median where there are rounds enough for one."""
    times = [1000 * row["s_per_image_median"] for row in rows]
    means = [significant(time) if known(time) else NOTHING for time in times]
    halves = [_half(row, time) for row, time in zip(rows, times, strict=True)]
    return marked("ms/image", means, halves, [DOUBTFUL if invalid(row) else "" for row in rows])


def _half(row: Row, time: float) -> str:
    """Half the bootstrap interval of the median, ms an image; nothing where rounds are too few for it."""
    if not known(time) or row["timed_rounds"] < ENOUGH:
        return ""
    half = 500 * (row["latency_s_ci_high"] - row["latency_s_ci_low"]) / row["timed_batch"]
    return spread(half, decimals_for(time))


def guest(row: Row) -> bool:
    """Whether a row ran on another model than the subject of its study."""
    return bool(row["model_sha256"] != row["subject_sha256"])


def guided(row: Row) -> bool:
    """Whether the network's outputs were joined by some guidance."""
    return known_text(row.get("guidance")) and row["guidance"] != UNGUIDED


def without_scale(guidance: str) -> str:
    """What guidances that differ in the scale alone are called."""
    name, _, inside = guidance.removesuffix("]").partition("[")
    others = [each for each in inside.split(",") if each and not each.startswith("scale=")]
    return f"{name}[{','.join(others)}]" if others else name


def network(row: Row) -> tuple[Any, ...]:
    """What rows are alike in whose network evaluations are of one kind and so take as long, on one machine."""
    alike = row["model_sha256"], row["mode"]
    if not guided(row):
        return alike
    a_call = round(row["nfe"] / row["calls"], 1) if row["calls"] else 0.0
    weaker = str(row.get("guidance_model_sha256")), str(row.get("guidance_batches"))
    return *alike, *weaker, str(row["guidance"]).partition("[")[0], a_call


def line(row: Row) -> Line:
    """What a line of a figure connects the settings of: a sampler on a grid, with a model, clipped in one way, with one
    guidance.
    """
    guidance = str(row["guidance"]) if guided(row) else UNGUIDED
    return str(row["sampler"]), str(row["grid"]), str(row["model_sha256"]), clip_word(row), guidance


def setting(row: Row) -> str:
    """What a row is, in words. Its model is named unless it is the study's own, its guidance if it has any, its mode
    unless it is the usual, and its clip where rows of its model differ in that.
    """
    where = f"{row['grid']} at {steps_words(row['steps'])}{with_words(row)}{mode_words(str(row['mode']))}"
    return f"{row['sampler']} on {where}{clip_suffix(row)}"


def with_words(row: Row, model: bool = True) -> str:
    """The model of a row, unless it is the study's own, and its guidance, if it has any, as words that follow others.

    Args:
        row: of the table, or a record.
        model: whether the model is named at all.
    """
    named = model and guest(row)
    parts = [*([str(row["model"])] if named else []), *([str(row["guidance"])] if guided(row) else [])]
    return f" with {' and '.join(parts)}" if parts else ""


def mode_words(mode: str) -> str:
    """A mode as words that follow others; the usual one goes without saying."""
    return "" if mode == USUAL_MODE else f" in {mode}"


def clip_suffix(row: Row) -> str:
    """The clip as words that follow others, where rows of the model differ in it."""
    return f", {row['clipping']}" if row.get("clipping") else ""


def clip_word(row: Row) -> str:
    """How predictions of x_0 are clamped: "clip [-1.0, 1.0]", "dynamic clip [-1.0, 1.0, 0.995]", or "no clip"."""
    if not known_text(row["clip"]):
        return "no clip"
    return f"{'dynamic ' * (row['clip'].count(',') == 2)}clip {row['clip']}"


def clippings(rows: pd.DataFrame) -> list[str]:
    """That of each row, where rows of its model differ in it; else nothing."""
    clips = pd.Series([clip_word(row) for row in rows_of(rows[["clip"]])], rows.index, dtype=object)
    several = clips.groupby(rows["model_sha256"]).transform("nunique") > 1
    return [word if told else "" for word, told in zip(clips, several, strict=True)]


def distinct_models(rows: pd.DataFrame) -> list[str]:
    """The names of the rows' models, with the hash where two have the same name."""
    alike = rows.groupby("model")["model_sha256"].transform("nunique") > 1
    models = zip(rows["model"], rows["model_sha256"], alike, strict=True)
    return [f"{name} ({short(sha256)})" if clash else name for name, sha256, clash in models]


def protocol_label(rows: Sequence[Row], rank: str | None) -> str:
    """The protocol of some rows in words; the subject has a name only if one of them ran on it."""
    row = next((row for row in rows if not guest(row)), rows[0])
    sha256 = short(row["subject_sha256"])
    parts = [f"model {sha256}" if guest(row) else _named_model(row, sha256)]
    if rank in OWN_TRUTH and guest(row):
        parts = [f"{_named_model(row, short(row['model_sha256']))} in the study of model {sha256}"]
    if isinstance(row["extractor_sha256"], str):
        parts.append(f"reference {row['reference']} ({short(row['reference_sha256'])})")
        parts.append(f"extractor {row['extractor']} ({short(row['extractor_sha256'])})")
    if known_text(row["extractor_layer"]) and row["extractor_layer"] != COMPACT_LAYER:
        parts.append(f"layer {row['extractor_layer']}")
    if known(row["extractor_batch"]) and row["extractor_batch"] != COMPACT_BATCH:
        parts.append(f"features in batches of {int(row['extractor_batch']):,}")
    parts.append(f"{row['images']:,} images")
    if rank == "solver_rmse" and known_text(row.get("flow_ends")):
        parts.append(f"flow from sigma / alpha {row['flow_ends']}")
    if isinstance(row["quantiser"], str):
        parts.append(f"quantiser {row['quantiser']}")
    return ", ".join([*parts, *([f"labels {row['labels']}"] if known_text(row["labels"]) else [])])


def _named_model(row: Row, sha256: str) -> str:
    return f"model {row['model'].removesuffix(f' ({sha256})')} ({sha256})"
