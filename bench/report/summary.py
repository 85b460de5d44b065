"""Reads runs and works out what all outputs say: the table, its protocols, the answers and the failures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from bench.report.aggregate import aggregate, protocols
from bench.report.answer import Answer, answer
from bench.report.columns import (
    CLOCK,
    COMPACT_BATCH,
    COMPACT_LAYER,
    KEYS,
    Row,
    flat,
    guest,
    known,
    known_text,
    method,
    percent,
    rows_of,
    setting,
    short,
    with_columns,
)
from bench.report.published import Comparison, compare_published
from bench.report.quality import OWN_TRUTH, fd_columns, fd_label
from bench.report.runs import Run, load
from models.errors import UsageError

DRIFT = 0.1
"""How far a row's time an evaluation may be from the median row's before the report says so."""

_NAMED_DRIFTS = 20
"""Such rows that are named one by one."""

_NEEDED = (*KEYS, "id", "status", "error", "note", "seed", "device", "extractor", "reference", "latency_s", "network_s")


@dataclass(frozen=True)
class Section:
    """The rows of one protocol, which alone are ranked with one another.

    Attributes:
        label: the protocol, readable and unambiguous.
        rows: of the aggregated table.
        rank: name of the distance that they are ranked by; None if there is none.
        answers: one for each device, precision and batch, in the order of `clocks`.
    """

    label: str
    rows: pd.DataFrame
    rank: str | None
    answers: list[Answer]

    @property
    def fd(self) -> str | None:
        """Name of their Frechet distance to a reference; None if it was not measured."""
        return self.rank if self.rank in fd_columns(self.rows.columns) else None

    @property
    def images(self) -> int:
        return int(self.rows["images"].iloc[0])

    def clocks(self) -> list[tuple[str, pd.DataFrame]]:
        """Rows with comparable times, and what they were measured on."""
        groups = self.rows.groupby(list(CLOCK), dropna=False, sort=False)
        return [(f"{device}, {dtype}, batch {batch}", rows) for (device, dtype, batch), rows in groups]

    def drifts(self) -> list[str]:
        """Rows whose network ran much slower or faster than that of the others: the machine did, not the sampler."""
        lines, most = [], 0.0
        alike = [rows for _, each in self.clocks() for _, rows in each.groupby("model_sha256", sort=False)]
        for rows in alike:
            usual = rows["eval_ms_median"].median()
            for row in rows_of(rows[(rows["eval_ms_median"] / usual - 1).abs() > DRIFT]):
                off = row["eval_ms_median"] / usual - 1
                most = max(most, abs(off))
                lines.append(
                    f"Timing: {setting(row)}: an evaluation took {percent(abs(off))} {'more' if off > 0 else 'less'} "
                    "time than in the median row, which the machine did and not the sampler; its times are off by that."
                )
        if len(lines) <= _NAMED_DRIFTS:
            return lines
        return [
            f"Timing: in {len(lines)} of {len(self.rows)} rows an evaluation took over {percent(DRIFT)} more or less "
            f"time than in the median row, up to {percent(most)}, which the machine did and not the samplers; do not "
            "compare these rows by time (eval_ms_median in table.csv)."
        ]


@dataclass(frozen=True)
class Summary:
    """All that the outputs are made from.

    Attributes:
        runs: in the order given.
        cells: the records, with the name of their run.
        table: the aggregated rows of all protocols.
        sections: the table by protocol.
        failed: records of the cells that failed.
        published: what has been published about the runs' cells, and what was measured.
    """

    runs: list[Run]
    cells: pd.DataFrame
    table: pd.DataFrame
    sections: list[Section]
    failed: list[Row]
    published: list[Comparison]

    @property
    def title(self) -> str:
        return " + ".join(dict.fromkeys(str(run.study["title"]) for run in self.runs))

    @property
    def answers(self) -> list[Answer]:
        """The answers of all sections, each saying what it holds for where there are several; never none."""
        if self.sections:
            several = len(self.sections) > 1
            pairs = [(section, each) for section in self.sections for each in section.answers]
            return [_scoped(each, section.label) if several else each for section, each in pairs]
        missing = sum(run.planned for run in self.runs) - len(self.cells)
        sentence = f"No answer: no cell has a result ({len(self.failed)} failed, {missing} not measured yet)."
        return [Answer(sentence, None, None, None, self.runs[0].tolerance)]

    def remarks(self) -> list[str]:
        """What a reader must know about single cells: failures, missing cells, and notes of the records."""
        named = len(self.runs) > 1
        lines = [f"Failed: {_cell(row, named)}: {flat(row['error'])}" for row in self.failed]
        missing = sum(run.planned for run in self.runs) - len(self.cells)
        if missing > 0:
            lines.append(f"Not measured yet: {missing} cells; run the study again to go on.")
        noted: dict[tuple[str, ...], list[Row]] = {}
        for row in rows_of(self.cells[self.cells["note"].notna()]):
            noted.setdefault((row["run"], *method(row), row["note"]), []).append(row)
        lines += [f"Note: {_cells(rows, named)}: {flat(rows[0]['note'])}" for rows in noted.values()]
        return lines + [line for section in self.sections for line in section.drifts()]


def summarise(runs: Sequence[Path]) -> Summary:
    """Read runs and work out the table, the answers and the failures.

    Raises:
        UsageError: no run, the same run twice, or a folder that is no run folder.
    """
    if not runs:
        raise UsageError("no run was given; expected one or more run folders, such as results/quick")
    paths = [Path(run) for run in runs]
    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError(f"a run was given twice: {', '.join(map(str, paths))}; give each run once")
    names = [path.resolve().name for path in paths]
    loaded = [
        load(path, name if names.count(name) == 1 else str(path)) for path, name in zip(paths, names, strict=True)
    ]
    cells = with_columns(pd.concat([records for _, records in loaded], ignore_index=True), _NEEDED)
    table = aggregate(cells)
    found = [run for run, _ in loaded]
    failed = rows_of(cells[cells["status"] == "failed"])
    sections = [_section(rows, rank, found, failed) for rows, rank in protocols(table)]
    published = [line for run in found for line in compare_published(run, cells, table)]
    return Summary(found, cells.drop(columns="baseline"), table, sections, failed, published)


def _section(rows: pd.DataFrame, rank: str | None, runs: list[Run], failed: list[Row]) -> Section:
    unmeasured = [name for name in fd_columns(rows.columns) if name != rank]
    derived = ("", "_std", "_ci", "_inf", "_inf_std", "_inf_ci")
    rows = rows.drop(columns=[f"{name}{end}" for name in unmeasured for end in derived], errors="ignore")
    rows = rows.assign(model=_distinct_models(rows))
    section = Section(_label(rows, rank), rows, rank, [])
    answers = []
    for _, group in section.clocks():
        found = rows_of(group)
        run = next(run for run in runs if f"{found[0]['run']} + ".startswith(f"{run.name} + "))
        answers.append(answer(found, rank, run.tolerance, _gap(run, failed, found, rank)))
    if len(answers) > 1:
        answers = [_scoped(each, clock) for each, (clock, _) in zip(answers, section.clocks(), strict=True)]
    return replace(section, answers=answers)


def _distinct_models(rows: pd.DataFrame) -> list[str]:
    """The names of the rows' models, with the hash where two have the same name."""
    alike = rows.groupby("model")["model_sha256"].transform("nunique") > 1
    return [
        f"{name} ({short(sha256)})" if clash else name
        for name, sha256, clash in zip(rows["model"], rows["model_sha256"], alike, strict=True)
    ]


def _label(rows: pd.DataFrame, rank: str | None) -> str:
    """The protocol of some rows; the subject has a name only if one of them ran on it."""
    row = next((row for row in rows_of(rows) if not guest(row)), rows_of(rows)[0])
    sha256 = short(row["subject_sha256"])
    parts = [f"model {sha256}" if guest(row) else _named(row, sha256)]
    if rank in OWN_TRUTH and guest(row):
        parts = [f"{_named(row, short(row['model_sha256']))} in the study of model {sha256}"]
    if isinstance(row["extractor_sha256"], str):
        parts.append(f"reference {row['reference']} ({short(row['reference_sha256'])})")
        parts.append(f"extractor {row['extractor']} ({short(row['extractor_sha256'])})")
    if row["extractor_layer"] not in (None, COMPACT_LAYER):
        parts.append(f"layer {row['extractor_layer']}")
    if known(row["extractor_batch"]) and row["extractor_batch"] != COMPACT_BATCH:
        parts.append(f"features in batches of {row['extractor_batch']:,}")
    parts.append(f"{row['images']:,} images")
    if isinstance(row["quantiser"], str):
        parts.append(f"quantiser {row['quantiser']}")
    return ", ".join([*parts, *([f"labels {row['labels']}"] if known_text(row["labels"]) else [])])


def _named(row: Row, sha256: str) -> str:
    return f"model {row['model'].removesuffix(f' ({sha256})')} ({sha256})"


def _gap(run: Run, failed: list[Row], rows: list[Row], rank: str | None) -> str:
    sampler, grid, steps = run.baseline
    if rank is not None and all(map(guest, rows)) and rank in OWN_TRUTH:
        return f"the baseline is of another model, and {fd_label(rank)} is a distance to each model's own truth"
    words = f"the baseline ({sampler} on {grid} at {steps} steps)"
    for row in failed:
        if row["run"] == run.name and run.is_baseline(row):
            return f"{words} failed ({flat(row['error'])})"
    return f"{words} was not measured"


def _scoped(answer: Answer, scope: str) -> Answer:
    """An answer that says what it holds for, where there are several."""
    return replace(answer, sentence=f"{scope}: {answer.sentence}")


def _cell(row: Row, named: bool) -> str:
    return f"{_line(row, named)}, {row['steps']} steps, seed {row['seed']}"


def _cells(rows: list[Row], named: bool) -> str:
    """Cells of one method."""
    return _cell(rows[0], named) if len(rows) == 1 else f"{_line(rows[0], named)}, {len(rows)} cells"


def _line(row: Row, named: bool) -> str:
    run = f"{row['run']}: " if named else ""
    model = f"{row['model']}: " if guest(row) else ""
    return f"{run}{model}{row['sampler']} on {row['grid']}"
