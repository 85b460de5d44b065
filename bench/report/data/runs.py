"""A run folder as the report reads it: its study and its records."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

from bench.model_record import Floors, read_look
from bench.packed import is_file, read_bytes
from bench.record import RunFolder
from bench.report.data.columns import KEYS, UNGUIDED, Row, guest, key_of, rows_of, with_columns
from bench.report.data.text import known, known_text
from models.common.words import counted

_READ = (
    *("id", "sampler", "grid", "steps", "model_sha256", "extractor_sha256", "dtype", "clip", "labels"),
    *("subject_sha256", "mode", "timed_batch", "extractor_layer", "extractor_batch", "family", "value_range"),
    *("guidance", "guidance_model_sha256", "guidance_code_sha256", "grid_code_sha256"),
)
"""Columns that are there whatever the records measured."""

NEEDED = (*KEYS, "id", "status", "error", "note", "seed", "device", "extractor", "reference", "latency_s", "network_s")
"""What rows are made from, measured or not."""

TIMES = (
    *("timing_rounds", "timing_calls", "timed_batch", "first_call_s", "latency_s", "network_s", "device_s"),
    "decode_s",
    *("latency_s_median", "latency_s_q1", "latency_s_q3", "latency_s_ci_low", "latency_s_ci_high"),
    *("throughput_img_per_s", "evaluations_per_s", "gflop_per_evaluation", "arithmetic_fraction"),
    *("peak_mem_mib", "held_mem_mib", "energy_j_per_image", "timing_valid", "timing_note", "timing_watches"),
    *("network_s_median", "overhead_s_median", "eval_ms_median"),
    *("sweep_batches", "sweep_latency_s", "best_batch", "best_throughput_img_per_s", "latency_1_s_median"),
    *("sweep_note", "guidance_gflop_per_evaluation"),
)
"""What a record has of the times of its setting, as `bench.timing.cost` gives them, which imports torch."""

_NAMED = ("sampler", "grid", "steps", "guidance", "mode", "clip", "model_sha256", "subject_sha256")
"""What tells whether a record is the baseline's."""


@dataclass(frozen=True)
class Run:
    """A run folder that was read.

    Attributes:
        name: of the folder; the whole path where two runs share it.
        folder: the records and previews.
        study: the resolved study.
        planned: how many cells are to have records: those of the first look where images grow, and none whose file is
            broken.
        looks: the numbers of images at which settings are compared, where they grow.
        baseline: sampler, grid, steps and guidance of the baseline, in the records' spelling; it is of the main model.
        mode: the study's first, which is the baseline's and which others are compared with.
        clip: the baseline's; None: it clips nothing. Blocks may clip otherwise.
        published: what has been published about its cells, as the manifest has it.
        broken: why the files of some of its cells are no records, by file.
        floors: what its distances are to be seen beside; none in runs that did not measure them.
        warnings: what was found wrong with its models before the first cell.
        pictures: the files of its cells' first images that are not what was written; they are not shown.
        damage: of the file that holds floors and warnings, in words; None: it has none.
        older: whether no record says anything of guidance, as before there was any.
        records: how many there are.
    """

    name: str
    folder: RunFolder
    study: dict[str, Any]
    planned: int
    baseline: tuple[str, str, int, str]
    mode: str
    clip: str | None
    published: list[dict[str, Any]]
    broken: dict[str, str]
    floors: list[Floors] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    pictures: frozenset[Path] = frozenset()
    damage: str | None = None
    looks: list[int] = field(default_factory=list)
    older: bool = False
    records: int = 0

    @property
    def tolerance(self) -> float:
        return float(self.study["tolerance"])

    @property
    def nothing(self) -> str | None:
        """What is said of a run without a record, and what to do; None if it has one."""
        if self.records:
            return None
        of = f"0 of {self.planned + len(self.broken)}"
        broken = f", and {counted(len(self.broken), 'damaged record')}" if self.broken else ""
        return f"no cell of {str(self.folder.path)!r} is measured yet ({of}{broken}); run its study again to go on"

    @property
    def timed(self) -> bool:
        """Whether its settings are timed, after the images of the first look."""
        return bool(self.study["timing"]["repeats"])

    def is_baseline(self, row: Row) -> bool:
        """Whether a record of this run is the baseline's."""
        setting = (row["sampler"], row["grid"], row["steps"], row["guidance"])
        same = row["mode"] == self.mode and (row["clip"] if known_text(row["clip"]) else None) == self.clip
        return setting == self.baseline and same and not guest(row)


def load(path: Path, name: str) -> tuple[Run, pd.DataFrame]:
    """A run and its records, with two columns more: `run`, its name, and whether a record is the `baseline`'s."""
    folder = RunFolder(path)
    manifest = folder.manifest()
    study, cells = manifest["study"], manifest["cells"]
    looks = manifest.get("looks", [])
    recorded = folder.load()
    records = _with_times(_tidy(recorded)) if looks else _tidy(recorded)
    first = rows_of(records[records["id"].isin(cells[: len(study["seeds"])])])
    look, damage = read_look(folder.files)
    clip = first[0]["clip"] if first else _NOT_THERE
    run = Run(
        name,
        folder,
        study,
        planned=sum(cell not in folder.broken for cell in cells[: len(cells) // max(1, len(looks))]),
        baseline=_baseline(study["baseline"], first),
        mode=str(study["modes"][0]),
        clip=clip,
        published=manifest.get("published", []),
        broken={f"{folder.cells / cell}.json": reason for cell, reason in folder.broken.items()},
        floors=look.floors,
        warnings=look.warnings,
        pictures=frozenset(_damaged(folder, records)),
        damage=damage,
        looks=looks,
        older="guidance" not in recorded,
        records=len(records),
    )
    flags = [run.is_baseline(row) for row in rows_of(records[list(_NAMED)])]
    return run, records.assign(run=name, baseline=pd.Series(flags, dtype=bool))


def _damaged(folder: RunFolder, records: pd.DataFrame) -> Iterator[Path]:
    """The pictures that are there and are not what was written."""
    if "preview_sha256" not in records:  # as before there were digests
        return
    for cell, digest in zip(records["id"], records["preview_sha256"], strict=True):
        path = folder.preview(cell)
        if known_text(digest) and is_file(path) and sha256(read_bytes(path)).hexdigest() != digest:
            yield path


_NOT_THERE = "the baseline is not there"
"""As its clip, which no record has then: whatever is alike in all else is another row."""


def _with_times(records: pd.DataFrame) -> pd.DataFrame:
    """Records of several looks, each with the times of its setting, which were taken after the first."""
    rows = rows_of(records)
    timed = {(key_of(row), row["seed"]): row for row in rows if isinstance(row.get("latency_s"), list)}
    filled = [timed.get((key_of(row), row["seed"]), row) for row in rows]
    return records.assign(**{name: [row[name] for row in filled] for name in TIMES if name in records.columns})


def _tidy(records: pd.DataFrame) -> pd.DataFrame:
    """Records with all columns of `_READ`, and their values as what rows are grouped by: lists as text, whole numbers.

    A column that some records lack holds floats.
    """
    found = with_columns(records, _READ)
    names = ("clip", "labels", "value_range", "extractor_layer")
    plain = {name: list(map(_text, found[name])) for name in names}
    counts = ("extractor_batch", "timed_batch")
    whole = {name: [int(each) if known(each) else None for each in found[name]] for name in counts}
    told = {"guidance": [each if known_text(each) else UNGUIDED for each in found["guidance"]]}
    columns = {name: pd.Series(values, found.index, dtype=object) for name, values in (plain | whole | told).items()}
    return found.assign(**columns)


def _text(value: Any) -> Any:
    """A range, or labels, as one word; a clip of false is none."""
    if isinstance(value, list):
        plain = all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in value)
        return str([float(each) for each in value] if plain else value)
    return None if value is False or not known_text(value) else value


def _baseline(words: dict[str, Any], first: list[Row]) -> tuple[str, str, int, str]:
    """The baseline in the records' spelling. The study may spell it otherwise, but its first cells are the baseline's.

    Args:
        words: of the study.
        first: the records of its first cells, one a seed, as far as they are there.
    """
    for row in first:
        if row["steps"] == words["steps"]:
            return str(row["sampler"]), str(row["grid"]), int(row["steps"]), str(row["guidance"])
    return words["sampler"], words["grid"], words["steps"], words.get("guidance") or UNGUIDED
