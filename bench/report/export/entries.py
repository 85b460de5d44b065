"""What a service is told of a row, and of the report as a whole."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bench.column_kinds import type_of
from bench.column_meanings import TABLE, meaning_of
from bench.escape import markdown_text, plain_line
from bench.packed import is_file, read_bytes
from bench.report.data.columns import KEYS, SETTING, Row, rows_of, setting
from bench.report.data.rows import PAIRS
from bench.report.data.summary import Summary
from bench.report.data.text import flat, known, known_text
from bench.report.tables.markup import markdown

Plain = str | int | float

_PARAMETERS = (*SETTING, "dtype", "family")
"""Of a row, besides the parameters of sampler, grid and guidance: what was asked for, and follows from that alone."""

_OF_A_CELL = ("git_commit", "python", "platform", "cuda", "command", "finished")
"""What the record of a row's first cell says of how it was measured."""


_MEASURED = ("model_sha256", "code_sha256", "device_name")
"""By which reports of runs of one name are told apart."""


@dataclass(frozen=True)
class Entry:
    """A run of a service.

    Attributes:
        id: the same for the same row of the same run, whatever was measured.
        name: in words.
        about: for people: Markdown.
        parameters: what was asked for; what has an id has always the same.
        metrics: what was measured, finite numbers.
        tags: hashes, words and flags.
        files: the first images of a row; figures and tables of the report.
        finished: when it was measured, in seconds since 1970; None: it is not known.
    """

    id: str
    name: str
    about: str
    parameters: Mapping[str, Plain]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    files: Mapping[str, bytes] = field(default_factory=dict)
    finished: float | None = None

    @property
    def digest(self) -> str:
        """Of all of it."""
        said = {name: value for name, value in vars(self).items() if name != "files"}
        files = {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items()}
        return hashlib.sha256(json.dumps([said, files], sort_keys=True).encode()).hexdigest()


def rows(summary: Summary) -> Iterator[Entry]:
    """One for each row of the table, each made when it is its turn."""
    cells = {(row["run"], row["id"]): row for row in rows_of(summary.cells)}
    for row in rows_of(summary.table):
        runs = str(row["run"]).split(" + ")
        own = [cells[run, cell] for cell in row["cells"] for run in runs if (run, cell) in cells]
        yield _row(summary, row, own)


def whole(summary: Summary) -> Entry:
    """The report: its answer, its tables, its figures, and what failed or is missing."""
    from bench.report.figures.plots import drawing  # half a second of matplotlib

    names = [run.name for run in summary.runs]
    failed = {f"failed_{n}": flat(f"{setting(row)}: {row['error']}") for n, row in enumerate(summary.failed[:50], 1)}
    cells = rows_of(summary.cells)
    of = {name: sorted({str(row.get(name)) for row in cells}) for name in _MEASURED}
    studies = [run.study["name"] for run in summary.runs]
    return Entry(
        _id({"runs": names, "studies": studies, "selection": summary.view.selection.words, **of}),
        plain_line(flat(f"report of {' + '.join(names)}", 120)),
        "\n\n".join(markdown_text(flat(answer.sentence, 1000)) for answer in summary.answers[:4]),
        {"runs": plain_line(flat(" + ".join(names)))},
        {"rows": float(len(summary.table)), "failed": float(len(summary.failed)), "missing": float(summary.missing)},
        {"kind": "report", "title": plain_line(flat(summary.title)), **{k: plain_line(v) for k, v in failed.items()}},
        {"table.md": markdown(summary).encode()}
        | {
            f"figures/{name}.{kind}": content
            for (name, kind), content in drawing(summary, ["png"])().items()
            if kind == "png"
        },
    )


def _id(identity: Mapping[str, Any]) -> str:
    plain = {name: value if known_text(value) else None for name, value in identity.items()}
    return f"sb-{hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:16]}"


def _row(summary: Summary, row: Row, cells: list[Row]) -> Entry:
    first = cells[0] if cells else {}
    parameters: dict[str, Plain] = {name: _plain(row[name]) for name in _PARAMETERS if known_text(row.get(name))}
    for what in ("sampler", "grid", "guidance"):
        given = first.get(f"{what}_parameters")
        if isinstance(given, dict):
            parameters |= {f"{what}.{plain_line(name)}": _plain(value) for name, value in given.items()}
    metrics, tags = dict[str, float](), {"kind": "row", "run": plain_line(str(row["run"]))}
    for name, value in row.items():
        if name == PAIRS or not (isinstance(value, list) or known_text(value)):
            continue
        if _is_metric(name, value):
            metrics |= {name: float(value)} if known(value) else {}
        elif name not in parameters:
            tags[name] = _word(value)
    tags |= {name: _word(first[name]) for name in _OF_A_CELL if known_text(first.get(name))}
    named = setting(row)
    about = "; ".join([named, *(f"note: {flat(cell['note'])}" for cell in cells if known_text(cell.get("note")))])
    identity = _id({name: row.get(name) for name in ("run", *KEYS)})
    preview = _preview(summary, cells)
    files = {"preview.png": preview} if preview else {}
    return Entry(
        identity, plain_line(flat(named, 120)), markdown_text(about), parameters, metrics, tags, files,
        _seconds(first.get("finished")),
    )  # fmt: skip


def _is_metric(name: str, value: object) -> bool:
    """Whether a column is a measure, or a number that charts are drawn over, such as steps."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    meaning = meaning_of(name, TABLE)
    return meaning is None or type_of(name) in ("number", "integer")


def _plain(value: Any) -> Plain:
    """A parameter: numbers stay numbers, flags are words."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and known(value):
        return value
    return _word(value)


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return plain_line(flat(value if isinstance(value, str) else json.dumps(value, default=str)))


def _preview(summary: Summary, cells: list[Row]) -> bytes | None:
    """The first images of the first cell that has some, if they are what was written."""
    folders = {run.name: run for run in summary.runs}
    for cell in cells:
        run = folders[cell["run"]]
        path = run.folder.preview(cell["id"])
        if is_file(path) and path not in run.pictures:
            return read_bytes(path)
    return None


def _seconds(finished: object) -> float | None:
    try:
        return datetime.fromisoformat(str(finished)).timestamp()
    except ValueError:
        return None
