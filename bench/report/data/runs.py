"""A run folder as the report reads it: its study, and its records with what older ones lack."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from bench.model_record import Floors, read_look
from bench.record import RunFolder
from bench.report.data.columns import (
    COMPACT_BATCH,
    COMPACT_LAYER,
    USUAL_MODE,
    Row,
    guest,
    known,
    known_text,
    rows_of,
    with_columns,
)

_NAMED = ("sampler", "grid", "steps", "mode", "clip", "model_sha256", "subject_sha256")
"""What tells whether a record is the baseline's."""


@dataclass(frozen=True)
class Run:
    """A run folder that was read.

    Attributes:
        name: of the folder; the whole path where two runs share it.
        folder: the records and previews.
        study: the resolved study.
        planned: how many cells it has.
        baseline: sampler, grid and steps of the baseline, in the records' spelling; it runs on the main model.
        mode: the study's first, which is the baseline's and which others are compared with.
        clip: the baseline's; None: it clips nothing. Blocks may clip otherwise.
        published: what has been published about its cells, as the manifest has it.
        broken: why the files of some of its cells are no records, by file.
        floors: what its distances are to be seen beside; none in runs that did not measure them.
        warnings: what was found wrong with its models before the first cell.
        damage: of the file that holds floors and warnings, in words; None: it has none.
    """

    name: str
    folder: RunFolder
    study: dict[str, Any]
    planned: int
    baseline: tuple[str, str, int]
    mode: str
    clip: str | None
    published: list[dict[str, Any]]
    broken: dict[str, str]
    floors: list[Floors] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    damage: str | None = None

    @property
    def tolerance(self) -> float:
        return float(self.study["tolerance"])

    def is_baseline(self, row: Row) -> bool:
        """Whether a record of this run is the baseline's."""
        setting = (row["sampler"], row["grid"], row["steps"])
        same = row["mode"] == self.mode and (row["clip"] if known_text(row["clip"]) else None) == self.clip
        return setting == self.baseline and same and not guest(row)


def load(path: Path, name: str) -> tuple[Run, pd.DataFrame]:
    """A run and its records, with two columns more: `run`, its name, and whether a record is the `baseline`'s."""
    folder = RunFolder(path)
    manifest = folder.manifest()
    study, cells = manifest["study"], manifest["cells"]
    records = _completed(folder.load())
    first = rows_of(records[records["id"].isin(cells[: len(study["seeds"])])])
    baseline = _baseline(study["baseline"], first)
    clip = next((row["clip"] for row in first), _NOT_THERE)
    broken = {f"{folder.cells / cell}.json": reason for cell, reason in folder.broken.items()}
    look, damage = read_look(path)
    known = (manifest.get("published", []), broken, look.floors, look.warnings, damage)
    run = Run(name, folder, study, len(cells), baseline, _first_mode(study), clip if known_text(clip) else None, *known)
    flags = [run.is_baseline(row) for row in rows_of(records[list(_NAMED)])]
    return run, records.assign(run=name, baseline=pd.Series(flags, dtype=bool))


_NOT_THERE = "the baseline is not there"
"""As its clip, which no record has then: whatever is alike in all else is another row."""

_OLD: dict[str, Any] = {"family": "other", "value_range": str([-1.0, 1.0])}
"""What records say since they say it, and what held before: samplers had no families, networks one value range."""

_OLD_EXTRACTOR: Row = {"extractor_layer": COMPACT_LAYER, "extractor_batch": COMPACT_BATCH}
"""How extractors were used before records said it: there were only compact ones."""


def _completed(records: pd.DataFrame) -> pd.DataFrame:
    """Records with what older ones lack: then a study had one model, and a model no labels."""
    records = with_columns(records, ("id", "sampler", "grid", "steps", "model_sha256", "extractor_sha256", "dtype"))
    added = ("clip", "labels", "subject_sha256", "mode", "timed_batch", *_OLD_EXTRACTOR, *_OLD)
    old = with_columns(records, added)
    # `astype` of some columns would part all of them, and each that is added then has a warning
    old = old.assign(**{name: old[name].astype(object) for name in added})
    extractors = [_extractor(row) for row in rows_of(old[["extractor_sha256", *_OLD_EXTRACTOR]])]
    old = old.assign(
        subject_sha256=old["subject_sha256"].where(old["subject_sha256"].notna(), old["model_sha256"]),
        # a mode was no more than a precision
        mode=old["mode"].where(old["mode"].notna(), old["dtype"]),
        timed_batch=pd.Series([_timed_batch(row) for row in rows_of(_times(old))], old.index, dtype=object),
        **{name: pd.Series([each[name] for each in extractors], old.index, dtype=object) for name in _OLD_EXTRACTOR},
        # what is a list cannot be grouped by
        **{name: old[name].map(_text).astype(object) for name in ("clip", "labels", "value_range")},
    )
    return old.assign(**{name: old[name].where(old[name].notna(), value) for name, value in _OLD.items()})


def _times(records: pd.DataFrame) -> pd.DataFrame:
    return with_columns(records, ("images", "batch", "latency_s"))[["images", "batch", "latency_s", "timed_batch"]]


def _timed_batch(row: Row) -> int | None:
    """How many images a timed call made, None if none was timed; once always a batch, or all images if fewer."""
    if not isinstance(row["latency_s"], list) or not row["latency_s"]:
        return None
    return int(row["timed_batch"] if known(row["timed_batch"]) else min(row["batch"], row["images"]))


def _extractor(row: Row) -> Row:
    if not isinstance(row["extractor_sha256"], str):
        return dict.fromkeys(_OLD_EXTRACTOR)
    said: Row = {name: row[name] for name in _OLD_EXTRACTOR if known_text(row[name])}
    found = _OLD_EXTRACTOR | said
    # a column that some records lack holds floats
    return found | {"extractor_batch": int(found["extractor_batch"])}


def _text(value: Any) -> Any:
    """A range, or labels, as one word; a clip of false is none."""
    if isinstance(value, list):
        return str([float(each) for each in value]) if all(map(_is_number, value)) else str(value)
    return None if value is False or value != value else value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _baseline(words: dict[str, Any], first: list[Row]) -> tuple[str, str, int]:
    """The baseline in the records' spelling. The study may spell it otherwise, but its first cells are the baseline's.

    Args:
        words: of the study.
        first: the records of its first cells, one a seed, as far as they are there.
    """
    for row in first:
        if row["steps"] == words["steps"]:
            return str(row["sampler"]), str(row["grid"]), int(row["steps"])
    return words["sampler"], words["grid"], words["steps"]


def _first_mode(study: dict[str, Any]) -> str:
    """The mode of a study's baseline; older ones had one precision and no other mode."""
    return str(study["modes"][0]) if study.get("modes") else str(study.get("precision", USUAL_MODE))
