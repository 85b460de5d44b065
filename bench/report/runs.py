"""A run folder as the report reads it: its study, and its records with what older ones lack."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.record import RunFolder
from bench.report.columns import Row, guest, rows_of, with_columns


@dataclass(frozen=True)
class Run:
    """A run folder that was read.

    Attributes:
        name: of the folder; the whole path where two runs share it.
        folder: the records and previews.
        study: the resolved study.
        planned: how many cells it has.
        baseline: sampler, grid and steps of the baseline, in the records' spelling; it runs on the main model.
    """

    name: str
    folder: RunFolder
    study: dict[str, Any]
    planned: int
    baseline: tuple[str, str, int]

    @property
    def tolerance(self) -> float:
        return float(self.study["tolerance"])

    def is_baseline(self, row: Row) -> bool:
        """Whether a record of this run is the baseline's."""
        return (row["sampler"], row["grid"], row["steps"]) == self.baseline and not guest(row)


def load(path: Path, name: str) -> tuple[Run, pd.DataFrame]:
    """A run and its records, with two columns more: `run`, its name, and whether a record is the `baseline`'s."""
    folder = RunFolder(path)
    manifest = folder.manifest()
    study, cells = manifest["study"], manifest["cells"]
    records = _completed(folder.load())
    run = Run(name, folder, study, len(cells), _baseline(study["baseline"], cells, rows_of(records)))
    flags = [run.is_baseline(row) for row in rows_of(records)]
    return run, records.assign(run=name, baseline=pd.Series(flags, dtype=bool))


def _completed(records: pd.DataFrame) -> pd.DataFrame:
    """Records with what older ones lack: then a study had one model, and samplers had no families."""
    records = with_columns(records, ("id", "sampler", "grid", "steps", "clip", "model_sha256"))
    old = with_columns(records, ("family", "subject_sha256")).astype({"family": object, "subject_sha256": object})
    return old.assign(
        # a range is a list, which cannot be grouped by
        clip=records["clip"].map(lambda clip: str(clip) if isinstance(clip, list) else None).astype(object),
        family=old["family"].where(old["family"].notna(), "other"),
        subject_sha256=old["subject_sha256"].where(old["subject_sha256"].notna(), old["model_sha256"]),
    )


def _baseline(words: dict[str, Any], cells: list[str], records: list[Row]) -> tuple[str, str, int]:
    """The baseline in the records' spelling. The study may spell it otherwise, but its first cell is the baseline's."""
    first = next((row for row in records if cells and row["id"] == cells[0]), None)
    if first is not None and first["steps"] == words["steps"]:
        return str(first["sampler"]), str(first["grid"]), int(first["steps"])
    return words["sampler"], words["grid"], words["steps"]
