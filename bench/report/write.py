"""Writes the report of runs: each file made from the records alone, under a temporary name first, then renamed."""

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench.column_meanings import CELLS, MODES, PUBLISHED, TABLE
from bench.escape import csv_text
from bench.packed import read_bytes
from bench.record import MANIFEST
from bench.report.data import datapackage, modes, published
from bench.report.data.references import references
from bench.report.data.rows import PAIRS
from bench.report.data.summary import Summary, summarise
from bench.report.data.view import USUAL, View
from bench.report.export import SERVICES, service
from bench.report.figures.captions import captioned, captions
from bench.report.page import page
from bench.report.tables.comparison import comparison_html, comparison_markdown
from bench.report.tables.markup import markdown
from bench.report.tables.tex import latex_files
from models.common.errors import UsageError
from models.common.writing import write_bytes

FORMATS = ("md", "latex", "csv", "parquet", "html", "png", "pdf")

DEFAULT_OUT = Path("results/report")
"""Where the report of several runs goes."""


def write_report(
    runs: Sequence[Path],
    formats: Sequence[str] = FORMATS,
    out: Path | None = None,
    summary: Summary | None = None,
    tell: Callable[[str], None] = lambda said: None,
    links: Sequence[tuple[str, str]] = (),
) -> list[Path]:
    """Write the report of one or more runs, and send it where that is asked for.

    Args:
        runs: run folders.
        formats: of `FORMATS` and `SERVICES`.
        out: the folder for the files; that of the run if there is one, beside a packed one the folder of its name, else
            `DEFAULT_OUT`. A selection, and figures for papers or slides, have a folder in it, so that they replace
            nothing that is whole.
        summary: of those runs, where there is one already.
        tell: is told what was sent, in sentences.
        links: of the page, to what lies beside it.

    Returns:
        The files written.

    Raises:
        UsageError: an unknown format, or none that a part of the view or the folder has an effect on; a folder that is
            no run folder or cannot be written to; what a service lacks. All is told before anything is written.
    """
    said = summarise(runs) if summary is None else summary
    check_asked(formats, said.view, out)
    folder = out or (_own(Path(runs[0])) if len(runs) == 1 else DEFAULT_OUT) / said.view.folder
    services = [service(name, folder) for name in SERVICES if name in formats]
    written = _written(folder, _files(said, formats, links)) if {*formats} - {*SERVICES} else []
    for each in services:
        tell(each.send(said))
    return written


_DRAWN = ("html", "png", "pdf", *SERVICES)
"""The formats that have figures."""
_KEPT = (*FORMATS, "wandb")
"""Those that write files on this machine."""


def check_asked(formats: Sequence[str], view: View, out: Path | None = None) -> None:
    """UsageError for an unknown format, and for what is asked for that no format has: nothing is left out in silence.

    What a table shows (`columns`, `metric`, a selection) has an effect in every format.
    """
    _check(formats, (*FORMATS, *SERVICES))
    asked: tuple[tuple[str, bool, Sequence[str]], ...] = (
        (f"--x {view.x}", view.x is not None, _DRAWN),
        (f"--y {view.y}", view.y is not None, _DRAWN),
        (f"--style {view.style}", view.style != USUAL.style, _DRAWN),
        (f"--latex {view.numbers}", view.numbers != USUAL.numbers, ("latex",)),
        (f"--out {out}", out is not None, _KEPT),
    )
    for option, given, takes in asked:
        if given and not {*formats} & {*takes}:
            more = ",".join([*formats, "pdf" if "pdf" in takes else takes[0]])
            raise UsageError(
                f"{option} has no effect on --format {','.join(formats)}, only on {', '.join(takes)}; "
                f"leave it out, or add one of these, such as --format {more}"
            )
    if view.style == "paper" and "latex" in formats and "pdf" not in formats:
        raise UsageError(
            f"--style paper with --format {','.join(formats)} has no figures.tex, which shows figures of pdf; "
            f"take --format {','.join([*formats, 'pdf'])}, or leave latex or --style out"
        )


COMPARED = ("md", "csv", "html")
"""What a comparison of two runs is written as."""

COMPARED_OUT = Path("results/compare")
"""Where it goes, into a folder called after both runs."""


def write_comparison(frame: pd.DataFrame, formats: Sequence[str] = COMPARED, out: Path | None = None) -> list[Path]:
    """Write what `compare` gives.

    Args:
        frame: of it.
        formats: of `COMPARED`.
        out: the folder for the files, which are called compare; None: one of `COMPARED_OUT`.

    Returns:
        The files written.

    Raises:
        UsageError: an unknown format, or a folder that cannot be written to.
    """
    encode: dict[str, Callable[[], bytes]] = {
        "md": lambda: comparison_markdown(frame).encode(),
        "csv": lambda: as_csv(frame),
        "html": lambda: comparison_html(frame).encode(),
    }
    _check(formats, COMPARED)
    names = re.sub(r"[^A-Za-z0-9._-]+", "-", "-and-".join(frame.attrs["runs"])).strip(".-")
    return _written(
        out or COMPARED_OUT / names, ((f"compare.{name}", encode[name]()) for name in COMPARED if name in formats)
    )


def _check(formats: Sequence[str], known: Sequence[str]) -> None:
    if not formats:
        raise UsageError(f"no format was given; there is: {', '.join(known)}")
    for name in formats:
        if name not in known:
            raise UsageError(f"unknown format {name!r}; there is: {', '.join(known)}")


def _written(folder: Path, made: Iterable[tuple[str, bytes]]) -> list[Path]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [_commit(folder / name, content) for name, content in made]
    except OSError as error:
        raise UsageError(f"cannot write the report to {str(folder)!r}: {error}; choose another with --out") from None


def _own(run: Path) -> Path:
    """Where the report of a run goes; UsageError if that is the folder of another than is packed."""
    if not run.is_file():
        return run
    folder = run.with_suffix("")
    if (folder / MANIFEST).is_file() and read_bytes(folder / MANIFEST) != read_bytes(run / MANIFEST):
        raise UsageError(f"{str(folder)!r} is another run than {str(run)!r}; name a folder for the report with --out")
    return folder


def _files(summary: Summary, formats: Sequence[str], links: Sequence[tuple[str, str]]) -> Iterator[tuple[str, bytes]]:
    """Names and contents, each made when it is its turn: of very many cells, one is held at a time."""
    figures = _figures(summary, formats)
    if "md" in formats:
        yield "table.md", markdown(summary).encode()
    if "latex" in formats:
        yield from ((f"{name}.tex", text.encode()) for name, text in latex_files(summary, summary.view.numbers).items())
        yield "references.bib", references(summary).file.encode()
    if "csv" in formats:
        yield from _tables(summary)
    if "parquet" in formats:
        yield "table.parquet", _parquet(table_of(summary))
        yield "cells.parquet", _parquet(cells_of(summary))
    drawn = figures()
    yield from ((f"{name}.{kind}", content) for (name, kind), content in drawn.items() if kind in formats)
    if summary.view.style == "paper" and {"latex", "pdf"} <= set(formats):
        yield "figures.tex", captioned(summary, drawn).encode()
    if "html" in formats:
        pictures = {name: content for (name, kind), content in drawn.items() if kind == "png"}
        yield "index.html", page(summary, pictures, captions(summary), links).encode()


def _tables(summary: Summary) -> Iterator[tuple[str, bytes]]:
    """The tables as CSV, and what says what their columns are."""
    costs = [each for section in summary.sections for each in section.modes]
    frames: dict[str, Callable[[], pd.DataFrame]] = {TABLE: lambda: table_of(summary), CELLS: lambda: cells_of(summary)}
    if costs:
        frames[MODES] = lambda: _said(summary, modes.frame(costs))
    if summary.published:
        frames[PUBLISHED] = lambda: _said(summary, published.frame(summary.published))
    resources = []
    for name, frame in frames.items():
        made = frame()
        content = as_csv(made)
        resources.append(datapackage.resource(name, made, content))
        yield f"{name}.csv", content
    yield datapackage.NAME, datapackage.package(summary, resources)


def table_of(summary: Summary) -> pd.DataFrame:
    """The rows, as files have them: a frame of its own."""
    return _said(summary, summary.table.drop(columns=PAIRS, errors="ignore"))


def cells_of(summary: Summary) -> pd.DataFrame:
    """The records, as files have them: a frame of its own."""
    return _said(summary, summary.cells.copy())


def _said(summary: Summary, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame without the columns of guidance where all records are from before there was any."""
    names = ["guidance", "guidance_model_sha256", "guidance_code_sha256", "calls"]
    return frame.drop(columns=names, errors="ignore") if all(run.older for run in summary.runs) else frame


def _figures(summary: Summary, formats: Sequence[str]) -> Callable[[], dict[tuple[str, str], bytes]]:
    kinds = [kind for kind, needed_by in (("png", {"png", "html"}), ("pdf", {"pdf"})) if needed_by & set(formats)]
    if not kinds:
        return dict
    # matplotlib takes half a second, for a table nobody should wait
    from bench.report.figures.plots import drawing

    return drawing(summary, kinds)


def as_csv(frame: pd.DataFrame) -> bytes:
    """The frame as CSV; what lists and tables hold is JSON."""
    plain = _plain(frame, (list, dict), csv_text)
    return plain.set_axis([csv_text(str(name)) for name in plain.columns], axis=1).to_csv(index=False).encode()


def _parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    # a record's parameters may be {}, which Parquet has no type for
    plain = _plain(frame, (dict,), _whole)
    plain.assign(**{name: _of_one_type(plain[name]) for name in plain.columns}).to_parquet(buffer, index=False)
    return buffer.getvalue()


def _of_one_type(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """A column that Parquet can hold: as JSON, where records have values of several types in it."""
    import pyarrow

    try:
        pyarrow.array(column, from_pandas=True)
    except (pyarrow.ArrowException, OverflowError):
        return column.map(json.dumps)
    return column


def _whole(text: str) -> str:
    """Text that UTF-8 can hold: a file name in another encoding has halves of characters."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def _plain(frame: pd.DataFrame, kinds: tuple[type, ...], text: Callable[[str], str]) -> pd.DataFrame:
    """The frame with the cells of these kinds written as JSON, and its text as a file has it."""

    def encode(value: Any) -> Any:
        if isinstance(value, str):
            return text(value)
        return json.dumps(value) if isinstance(value, kinds) else value

    changed = (str, *kinds)
    columns = frame.select_dtypes(exclude=["number", "bool"]).items()
    mixed = {str(name): each for name, each in columns if any(isinstance(value, changed) for value in each)}
    return frame.assign(**{name: each.map(encode) for name, each in mixed.items()})


def _commit(path: Path, content: bytes) -> Path:
    write_bytes(path, content)
    return path
