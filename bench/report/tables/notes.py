"""What a reader of a table or figure must know, in sentences."""

from typing import Any

import pandas as pd

from bench.report.data.columns import COMPACT_LAYER, SMALL_N, Row, known, known_text, mode_words, scientific, short
from bench.report.data.distances import Quality
from bench.report.data.gaps import TESTED
from bench.report.data.significance import JACKKNIFE_BLOCKS, resolution, t_quantile, unresolved
from bench.report.data.summary import Section
from bench.report.data.timing_warnings import invalid, reasons
from bench.report.tables.display import ALIKE, DOUBTFUL, columns, measured
from bench.timing.bootstrap import ENOUGH

_INFINITE = (
    "FD∞: extrapolated to infinitely many images, which takes away nearly all of the bias that few have; the standard "
    "error of one seed's is that of FD joined by the distance between a line and a parabola. Near 0 it may be negative."
)
_USUAL_RANGE = str([-1.0, 1.0])


def notes(section: Section, where: str = "table") -> list[str]:
    """What a reader of a section's table must know; the warning first."""
    lines = [
        small_n(section, where),
        f"Protocol: {section.label}.",
        _time_note(section),
        *_timing_notes(section.records),
        interval_note(section),
        _alike_note(section),
        *floors_notes(section),
        *_quality_notes(section),
        *_provenance(section.records),
    ]
    return [line for line in lines if line is not None]


def _time_note(section: Section) -> str:
    clocks = "; ".join(clock for clock, _ in section.clocks())
    if not section.timed:
        return f"Nothing was timed; run on {clocks.replace(', not timed', '')}."
    interval = _time_interval(section.rows)
    return f"Time: median of whole calls, {clocks}.{interval} Overhead: share of it outside the network."


def _time_interval(rows: pd.DataFrame) -> str:
    """What the intervals of times are; nothing where no row has rounds enough for one."""
    if not (rows["timed_rounds"] >= ENOUGH).any():
        return ""
    few = f", in rows of {ENOUGH} rounds or more" if (rows["timed_rounds"] < ENOUGH).any() else ""
    return f" ±: half its 95 % bootstrap interval{few}."


_NAMED = 5
"""Methods that a note names."""


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
        more = f" and {len(eager) - _NAMED} more" if len(eager) > _NAMED else ""
        lines.append(
            f"Graph asked for, but run eagerly as it could not be captured: {', '.join(eager[:_NAMED])}{more}."
        )
    return lines


def small_n(section: Section, where: str) -> str | None:
    """The warning that every table and figure of distances from few images carries."""
    if section.images >= SMALL_N or section.rank == "solver_rmse":
        return None
    distance = "Law FD" if section.rank == "law_fd" else "FD"
    return f"Small N: {section.images:,} images a row; {distance} is biased upwards, compare rows of this {where} only."


def interval_note(section: Section) -> str | None:
    """What the intervals of some rows are, and which rows have none; None if none has one."""
    rows = section.rows
    shown = [quality for quality in measured(section) if _has(rows, quality.ci)]
    seeds = sorted(set(rows["seeds"].tolist()))
    agree = _agreement_note(section)
    if not shown:
        return "One seed a row: no intervals, and no row is tested against another." if seeds == [1] else agree
    parts = []
    if seeds[-1] > 1:
        several = [count for count in seeds if count > 1]
        errors = " or ".join(f"{t_quantile(count - 1):.2f}" for count in several)
        counts = " or ".join(str(count) for count in several)
        parts.append(f"of the mean over {counts} seeds (Student's t, {errors} standard errors)")
    single = rows[rows["seeds"] == 1]
    if any(_has(single, quality.ci) for quality in shown):
        errors = f"{t_quantile(JACKKNIFE_BLOCKS - 1):.2f} jackknife standard errors of its images"
        parts.append(f"{'in rows of' if parts else 'of'} one seed, of FD only, {errors}")
    spreads = f"±: half the 95 % interval {'; '.join(parts)}.{_spreads_note(single)}"
    return " ".join(filter(None, [spreads, agree]))


def _agreement_note(section: Section) -> str | None:
    """Why some rows of several seeds have no interval."""
    rows = [row for row in section.records if row["seeds"] > 1]
    names = [
        _name(quality)
        for quality in measured(section)
        if any(
            known(row.get(quality.std)) and unresolved(row[quality.std], row["seeds"], resolution(row, quality))
            for row in rows
        )
    ]
    return (
        f"{', '.join(names)}: seeds of one value, or but for one image, have no interval and are not tested."
        if names
        else None
    )


def _spreads_note(single: pd.DataFrame) -> str:
    """Why a single seed's other deviations, which the records have, give no interval."""
    if not any(_has(single, name) for name in ("kid_std", "inception_score_std")):
        return ""
    return (
        " One seed's KID and IS have none: the deviation over subsets or splits, in table.csv, is no standard error "
        "of the mean."
    )


def _has(rows: pd.DataFrame, name: str) -> bool:
    return name in rows.columns and bool(rows[name].notna().any())


def _alike_note(section: Section) -> str | None:
    """What the mark means, and in which columns it could not be given."""
    rows, shown = section.records, {column.heading: column for column in columns(section)}
    untested = [
        _name(quality)
        for quality in measured(section)
        if _has(section.rows, quality.ci)
        and any(
            best and not known(row[quality.ci]) for row, best in zip(rows, shown[quality.heading].best, strict=True)
        )
    ]
    parts = []
    if any(ALIKE in cell for column in shown.values() for cell in column.brief):
        floors = ", or both are at their floors" if any(quality.floor for quality in measured(section)) else ""
        parts.append(f"{ALIKE}: cannot be told from the best ({TESTED}{floors}).")
    if untested:
        parts.append(f"{', '.join(untested)}: the best row has no interval, so that no other is tested against it.")
    return " ".join(parts) or None


def _quality_notes(section: Section) -> list[str]:
    """What single columns need to be read."""
    rows, lines = section.rows, []
    shown = {quality.key: quality for quality in measured(section)}
    if any(key.endswith("_inf") for key in shown):
        lines.append(_INFINITE)
    for quality in shown.values():
        apart = [name for name in quality.within if name in rows.columns and rows[name].nunique() > 1]
        if apart:
            words = " and ".join({"kid_subset_size": "subset size", "model_sha256": "model"}.get(n, n) for n in apart)
            lines.append(f"{_name(quality)}: ranked among rows of the same {words} only.")
    if "solver_rmse" in shown:
        floor = _floor(rows, shown["solver_rmse"])
        lines.append(f"Solver RMSE: to a tight solution of the probability flow{_over(rows)}{floor}.")
    if "solver_rmse_median" in shown:
        lines.append("Median RMSE: that of the median image, whatever few images do that end in another mode.")
    if "law_fd" in shown:
        lines.append(f"Law FD: in pixels, to the exact mean and covariance{_floor(rows, shown['law_fd'])}.")
    if "law_nearest_rmse" in shown:
        lines.append("Nearest RMSE: a pixel, to the nearest point of the data, which are all that the law has.")
    if "law_occupancy" in shown:
        floor = _floor(rows, shown["law_occupancy"])
        lines.append(f"Occupancy: how unevenly the points of the data are reached, chi-squared{floor}.")
    return lines


def floors_notes(section: Section) -> list[str]:
    """What the distances are to be seen beside; nothing of runs that did not measure it."""
    floors = section.floors
    if floors is None:
        return []
    noise = f"pure noise has {scientific(floors.noise)}"
    if floors.real is None or floors.real_images is None:
        return [f"FD to be seen beside: {noise}."]
    real = f"two halves of the reference ({floors.real_images:,} images each) {scientific(floors.real)}"
    return [f"FD to be seen beside: {noise}, {real}."]


def _name(quality: Quality) -> str:
    return quality.heading.rstrip(" ↓↑")


def _over(rows: pd.DataFrame) -> str:
    counts = [f"{int(each):,}" for each in _distinct(rows, "solver_images")]
    return f", over {' or '.join(counts)} images" if counts else ""


def _floor(rows: pd.DataFrame, quality: Quality) -> str:
    """The largest floor of some rows, in words."""
    name = quality.floor or ""
    if not _has(rows, name):
        return ""
    return f"; {_FLOORS[quality.key].format(scientific(quality.floors * float(rows[name].max())))}"


_FLOORS = {
    "law_fd": "as many exact samples have {}",
    "law_occupancy": "exact samples are within {} of 0",
    "solver_rmse": "below {}, the error of that solution itself, nothing can be told",
}


def _provenance(rows: list[Row]) -> list[str]:
    """Where things come from, as far as it is not what goes without saying."""
    frame = pd.DataFrame.from_records(rows)
    lines = []
    models = {row["model"]: row["model_source"] for row in rows if _unusual_source(row)}
    lines += [f"Checkpoint: {model} from {source}." for model, source in models.items()]
    lines += [
        f"Extractor {name}: weights {weights}, which are not the official ones." for name, weights in _changed(rows)
    ]
    ranges = [each for each in _distinct(frame, "value_range") if each != _USUAL_RANGE]
    lines += [f"Value range of the network's images: {each}." for each in ranges]
    unknown = {
        row["reference"] for row in rows if known_text(row.get("reference")) and not known(row["reference_count"])
    }
    lines += [
        f"Reference {each}: it does not say how many images it is made from, nor how." for each in sorted(unknown)
    ]
    parts = dict.fromkeys(
        (row["reference"], row["reference_features"], row["reference_count"]) for row in _of_part(rows)
    )
    lines += [
        f"Reference {name}: KID, precision and recall use the features of {kept:,.0f} of its {count:,.0f} images."
        for name, kept, count in parts
    ]
    return lines


def _of_part(rows: list[Row]) -> list[Row]:
    """Those whose reference keeps the features of a part of its images."""
    both = [row for row in rows if known(row.get("reference_features")) and known(row.get("reference_count"))]
    return [row for row in both if row["reference_features"] < row["reference_count"]]


def _changed(rows: list[Row]) -> list[tuple[str, str]]:
    """Extractors of the library with weights of the user's, and the hashes of those."""
    used = [row for row in rows if known_text(row["extractor_layer"]) and row["extractor_layer"] != COMPACT_LAYER]
    own = [
        (str(row["extractor"]), short(row["extractor_sha256"]))
        for row in used
        if row.get("extractor_official") is False
    ]
    return list(dict.fromkeys(own))


def _unusual_source(row: Row) -> bool:
    source = row.get("model_source")
    return isinstance(source, str) and source != row["model"].partition(" (")[0]


def _distinct(frame: pd.DataFrame, name: str) -> list[Any]:
    return list(dict.fromkeys(frame[name].dropna().tolist())) if name in frame.columns else []
