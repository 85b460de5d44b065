"""What a reader of a table or figure must know, in sentences."""

from collections.abc import Sequence

import pandas as pd

from bench.report.data.columns import COMPACT_LAYER, SMALL_N, Row, has, invalid, mode_words, reasons
from bench.report.data.distances import Quality
from bench.report.data.gaps import TESTED
from bench.report.data.section import Section
from bench.report.data.significance import JACKKNIFE_BLOCKS, resolution, t_quantile, unresolved
from bench.report.data.text import (
    ALIKE,
    DOUBTFUL,
    NOTHING,
    Column,
    flat,
    known,
    known_text,
    named,
    scientific,
    short,
)
from bench.report.tables.cost_notes import cost_notes
from bench.report.tables.table import columns, measured
from bench.timing.bootstrap import ENOUGH

_NAMED = 5
"""Methods that a note names."""


def notes(section: Section, table: Sequence[Column] | None = None) -> list[str]:
    """What a reader of a section's table must know; the warning first.

    Args:
        section: the rows.
        table: its columns, where they are there already.
    """
    rows, quality = section.records, measured(section)
    shown = columns(section) if table is None else table
    lines = [
        small_n(section, "table"),
        f"Protocol: {section.label}.",
        _time_note(section),
        *_timing_notes(rows),
        interval_note(section.rows, rows, quality, any(any(column.tested) for column in shown)),
        _alike_note(section.rows, quality, {column.heading: column for column in shown}),
        *cost_notes(rows),
        *_floors_notes(section),
        *_quality_notes(section.rows, quality),
        *_provenance(rows),
    ]
    return [line for line in lines if line]


def small_n(section: Section, where: str) -> str | None:
    """The warning that every table and figure of distances from few images carries."""
    if section.images >= SMALL_N or section.rank in (None, "solver_rmse"):
        return None
    distance = "Law FD" if section.rank == "law_fd" else "FD"
    return f"Small N: {section.images:,} images a row; {distance} is biased upwards, compare rows of this {where} only."


def _time_note(section: Section) -> str:
    clocks, rounds = "; ".join(clock for clock, _ in section.clocks()), section.rows["timed_rounds"]
    if not section.timed:
        return f"Nothing was timed; run on {clocks.replace(', not timed', '')}."
    few = f", in rows of {ENOUGH} rounds or more" if (rounds < ENOUGH).any() else ""
    interval = f" ±: half its 95 % bootstrap interval{few}." if (rounds >= ENOUGH).any() else ""
    return f"Time: median of whole calls, {clocks}.{interval} Overhead: share of it outside the network."


def _timing_notes(rows: list[Row]) -> list[str]:
    """What the mark of a time means, what was not timed, and which calls were not captured although asked for."""
    lines = []
    if wrong := [row for row in rows if invalid(row)]:
        lines.append(f"{DOUBTFUL}: times that do not hold up ({reasons(wrong)}).")
    waiting = sum(not row["timed_calls"] for row in rows)
    if 0 < waiting < len(rows):
        lines.append(f"Not timed: {waiting} of {len(rows)} rows; run the study again to go on.")
    failed = [row for row in rows if row.get("graph") is True and row.get("captured") is False]
    if eager := list(dict.fromkeys(f"{row['sampler']} on {row['grid']}{mode_words(row['mode'])}" for row in failed)):
        lines.append(f"Graph asked for, but run eagerly as it could not be captured: {named(eager, _NAMED)}.")
    return lines


def interval_note(frame: pd.DataFrame, rows: list[Row], quality: list[Quality], tested: bool) -> str | None:
    """What the intervals of some rows are, and which rows have none; None if none has one, but some are tested."""
    shown = [each for each in quality if has(frame, each.ci)]
    seeds = sorted(set(frame["seeds"].tolist()))
    agree = _agreement_note(rows, quality)
    if not shown:
        alone = "" if tested else ", and no row is tested against another"
        return f"One seed a row: no intervals{alone}." if seeds == [1] else agree
    parts = []
    if several := [count for count in seeds if count > 1]:
        errors = " or ".join(f"{t_quantile(count - 1):.2f}" for count in several)
        counts = " or ".join(str(count) for count in several)
        parts.append(f"of the mean over {counts} seeds (Student's t, {errors} standard errors)")
    single = frame[frame["seeds"] == 1]
    if any(has(single, each.ci) for each in shown):
        errors = f"{t_quantile(JACKKNIFE_BLOCKS - 1):.2f} jackknife standard errors of its images"
        own = [each for each in shown if each.jackknife and has(single, each.ci)]
        which = dict.fromkeys(each.words for each in own)
        parts.append(f"{'in rows of' if parts else 'of'} one seed, of {' and '.join(which)} only, {errors}")
    line = f"±: half the 95 % interval {'; '.join(parts)}."
    unsure = {"kid_std", "inception_score_std"} & {each.std for each in quality}
    if any(has(single, name) for name in unsure):
        line += (
            " One seed's KID and IS have none: their deviation over subsets or splits is no standard error of the mean."
        )
    return " ".join(filter(None, [line, agree]))


def _agreement_note(rows: list[Row], quality: list[Quality]) -> str | None:
    """Why some rows of several seeds have no interval."""
    several = [row for row in rows if row["seeds"] > 1]
    names = [each.name for each in quality if any(_agree(row, each) for row in several)]
    said = "seeds of one value, or but for one image, have no interval and are not tested."
    return f"{', '.join(names)}: {said}" if names else None


def _agree(row: Row, quality: Quality) -> bool:
    std = row.get(quality.std)
    return known(std) and unresolved(float(row[quality.std]), row["seeds"], resolution(row, quality))


def _alike_note(frame: pd.DataFrame, quality: list[Quality], shown: dict[str, Column]) -> str:
    """What the mark means, and in which columns it could not be given, or not to all rows."""
    parts = []
    if any(ALIKE in cell for column in shown.values() for cell in column.brief):
        floors = ", or both are at their floors" if any(each.floor for each in quality) else ""
        parts.append(f"{ALIKE}: cannot be told from the best ({TESTED}{floors}).")
    some, none, bare = list[str](), list[str](), list[str]()
    for each in quality:
        column = shown[each.heading]
        cells = zip(column.brief, column.best, column.tested, strict=True)
        if any(not best and not tested and cell != NOTHING for cell, best, tested in cells):
            kind = some if any(column.tested) else none if has(frame, each.ci) else bare
            kind.append(each.name)
    if none:
        parts.append(f"{', '.join(none)}: the best row has no interval, so that no other is tested against it.")
    if some:
        parts.append(f"{', '.join(some)}: rows without an interval are not tested.")
    if bare and any(any(column.tested) for column in shown.values()):  # else all are bare, as the intervals' note says
        parts.append(f"{', '.join(bare)}: no row is tested against another.")
    return " ".join(parts)


def what_it_means(section: Section, frame: pd.DataFrame, quality: Quality) -> list[str]:
    """What a quality of some rows of a section needs to be read, and what it is to be seen beside."""
    return [*(_floors_notes(section) if quality.key == section.rank else []), *_quality_notes(frame, [quality])]


def _floors_notes(section: Section) -> list[str]:
    """What the distances are to be seen beside; nothing of runs that did not measure it."""
    floors = section.floors
    if floors is None:
        return []
    real = ""
    if floors.real is not None and floors.real_images is not None:
        real = f", two halves of the reference ({floors.real_images:,} images each) {scientific(floors.real)}"
    return [f"FD to be seen beside: pure noise has {scientific(floors.noise)}{real}."]


_MEANT = {
    "class_accuracy": "Class accuracy: the share of images that the extractor takes for the class asked for{real}.",
    "clip_score": "CLIP score: 100 max(cos, 0) of the embeddings of an image and of its prompt{clip}, the mean.",
    "solver_rmse": "Solver RMSE: to a tight solution of the probability flow{over}{floor}.",
    "solver_rmse_median": "Median RMSE: that of the median image, whatever few images do that end in another mode.",
    "psnr": "PSNR: in dB, of images to those of a tight solution of the probability flow{over}{own}.",
    "law_fd": "Law FD: in pixels, to the exact mean and covariance{floor}.",
    "law_nearest_rmse": "Nearest RMSE: a pixel, to the nearest point of the data, which are all that the law has.",
    "law_occupancy": "Occupancy: how unevenly the points of the data are reached, chi-squared{floor}.",
}
_ALIKE_IN = {
    "kid_subset_size": "subset size",
    "model_sha256": "model",
    "solver_images": "number of images",
    "flow_ends": "ends of the flow",
    "clip_sha256": "CLIP",
    "prompts_sha256": "prompts",
}
_FLOORS = {
    "law_fd": "as many exact samples have {}",
    "law_occupancy": "exact samples are within {} of 0",
    "solver_rmse": "below {}, the error of that solution itself, nothing can be told",
}
_INFINITE = (
    "FD∞: extrapolated to infinitely many images, which takes away nearly all of the bias that few have; the standard "
    "error of one seed's is that of FD joined by the distance between a line and a parabola. Near 0 it may be negative."
)


def _quality_notes(frame: pd.DataFrame, quality: list[Quality]) -> list[str]:
    """What single columns need to be read."""
    lines = [_INFINITE] if any(each.key.endswith("_inf") for each in quality) else []
    for each in quality:
        apart = [name for name in each.within if name in frame.columns and frame[name].nunique() > 1]
        if apart:
            words = " and ".join(_ALIKE_IN.get(n, n) for n in apart)
            lines.append(f"{each.name}: ranked among rows of the same {words} only.")
    counts = [f"{int(each):,}" for each in _distinct(frame, "solver_images")]
    over = f", over {' or '.join(counts)} images" if counts else ""
    accuracies = " or ".join(f"{each:.3f}" for each in _distinct(frame, "class_accuracy_real"))
    clips = [f"{flat(name)} ({short(sha256)})" for name, sha256 in _clips(frame)]
    clip = f" by {' or '.join(clips)}" if clips else ""
    errors = frame["solver_rmse_reference"].dropna() if "solver_rmse_reference" in frame.columns else ()
    own = f"; that solution's own error is an RMSE of {scientific(float(max(errors)))}" if len(errors) else ""
    real = f", {accuracies} of real images that it was not trained on" if accuracies else ""
    found = {each.key: each for each in quality}
    lines += [
        text.format(over=over, real=real, clip=clip, own=own, floor=_floor(frame, found[key]))
        for key, text in _MEANT.items()
        if key in found
    ]
    return lines


def _clips(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """The CLIPs of some rows, and their hashes."""
    names = ("clip_model", "clip_sha256")
    if any(name not in frame.columns for name in names):
        return []
    return list(dict.fromkeys(frame[list(names)].dropna().itertuples(index=False, name=None)))


def _floor(frame: pd.DataFrame, quality: Quality) -> str:
    """The largest floor of some rows, in words."""
    if quality.key not in _FLOORS or not has(frame, str(quality.floor)):
        return ""
    return f"; {_FLOORS[quality.key].format(scientific(quality.floors * float(frame[quality.floor].max())))}"


def _provenance(rows: list[Row]) -> list[str]:
    """Where things come from, as far as it is not what goes without saying."""
    lines = list[tuple[int, str]]()
    for row in rows:
        source, reference = row.get("model_source"), row.get("reference")
        kept, count = row.get("reference_features"), row.get("reference_count")
        if isinstance(source, str) and source != row["model"].partition(" (")[0]:
            lines.append((0, f"Checkpoint: {row['model']} from {source}."))
        own = known_text(row["extractor_layer"]) and row["extractor_layer"] != COMPACT_LAYER
        if own and row.get("extractor_official") is False:
            weights = f"weights {short(row['extractor_sha256'])}, which are not the official ones."
            lines.append((1, f"Extractor {row['extractor']}: {weights}"))
        if known_text(row.get("value_range")) and row["value_range"] != "[-1.0, 1.0]":
            lines.append((2, f"Value range of the network's images: {row['value_range']}."))
        if known_text(reference) and not known(count):
            lines.append((3, f"Reference {reference}: it does not say how many images it is made from, nor how."))
        if known(kept) and known(count) and kept < count:
            part = f"the features of {kept:,.0f} of its {count:,.0f} images."
            lines.append((4, f"Reference {reference}: KID, precision and recall use {part}"))
    return [line for _, line in sorted(dict.fromkeys(lines), key=lambda each: each[0])]


def _distinct(frame: pd.DataFrame, name: str) -> list[float]:
    return list(dict.fromkeys(frame[name].dropna().tolist())) if name in frame.columns else []
