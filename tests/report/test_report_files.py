"""The files of a report hold what they should, and are always written whole."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fontTools import subset  # type: ignore[import-untyped]
from matplotlib.backends import _backend_pdf_ps
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from report_records import BASELINE, QUICK, failed, study, texts, write_run
from rich.console import Console

from bench.record import RunFolder
from bench.report import FORMATS, summarise, write_report
from bench.report.figures.plots import FIGURES, Drawn, beside, render, worth_drawing
from models.common.errors import UsageError


def test_every_format_is_written_into_the_run_folder_and_twice_the_same(quick: Path) -> None:
    written = write_report([quick])
    figures = [f"{name}.{kind}" for name in worth_drawing(summarise([quick])) for kind in ("png", "pdf")]
    tables = [
        "table.md",
        *(f"{name}.tex" for name in ("table", "table-samplers", "table-rows")),
        "references.bib",
        "index.html",
        "datapackage.json",
        *(f"{a}.{b}" for a in ("table", "cells") for b in ("csv", "parquet")),
    ]
    assert sorted(path.name for path in written) == sorted(figures + tables)
    before = {path: path.read_bytes() for path in written}
    assert all(path.parent == quick for path in written)
    assert {path: path.read_bytes() for path in write_report([quick])} == before
    assert not list(quick.glob("*.tmp"))


def test_only_the_formats_asked_for_are_written(quick: Path, tmp_path: Path) -> None:
    written = write_report([quick], ["csv"], tmp_path / "deep" / "out")
    assert [path.name for path in written] == ["table.csv", "cells.csv", "datapackage.json"]
    assert written[0].parent == tmp_path / "deep" / "out"


def test_machine_readable_files_hold_what_the_records_hold(quick: Path) -> None:
    write_report([quick], ["csv", "parquet"])
    cells = pd.read_parquet(quick / "cells.parquet")
    from_csv = pd.read_csv(quick / "cells.csv", dtype=str)  # older versions read a number but for its last digit
    for each, row, line in zip(QUICK, cells.to_dict("records"), from_csv.to_dict("records"), strict=True):
        assert (row["id"], line["id"], row["run"]) == (each["id"], each["id"], "quick")
        if each["status"] == "failed":
            assert row["latency_s"] is None
            assert pd.isna(row["fd_digits"])
            assert pd.isna(line["fd_digits"])
            continue
        assert row["fd_digits"] == float(line["fd_digits"]) == each["fd_digits"]
        assert row["latency_s"].tolist() == json.loads(line["latency_s"]) == each["latency_s"]
    table = pd.read_parquet(quick / "table.parquet")
    from_csv = pd.read_csv(quick / "table.csv", dtype=str)
    assert from_csv["s_per_image_median"].map(float).tolist() == table["s_per_image_median"].tolist()
    assert {"latency_s_median", "throughput_img_per_s", "eval_ms_median", "pareto_nfe", "seeds"} <= set(table.columns)


def test_the_page_needs_nothing_from_outside(quick: Path) -> None:
    write_report([quick], ["html"])
    page = (quick / "index.html").read_text()
    assert page.count('src="data:image/png;base64,') == 4
    assert not re.search(r'(?:src|href)="(?!data:)|https?://|@import', page)
    assert summarise([quick]).answers[0].sentence.replace("'", "&#39;") in page
    assert all(text in page for text in ("Example CPU @ 2.00GHz, 2 threads", "2.11.0", "tolerance", "euler-maruyama"))


def test_a_run_without_any_result_still_writes_everything_and_says_so(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [failed(*BASELINE), failed()])
    written = write_report([run])
    assert len(written) == 17
    for name in ("table.md", "table.tex", "index.html"):
        assert "BadSamples" in (run / name).read_text()
    assert "no cell has a result" in (run / "table.md").read_text()
    assert "nothing to draw" in texts(FIGURES["quality_vs_nfe"](summarise([run])))
    assert len(pd.read_parquet(run / "table.parquet")) == 0


def test_a_run_without_any_record_is_reported_as_such(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.create()
    run.write_manifest(study(), ["0" * 16])
    assert len(write_report([run.path])) == 17
    assert "Not measured yet: 1 cell;" in (run.path / "table.md").read_text()


def test_wrong_usage_says_what_there_is(quick: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown format 'docx'; there is: " + ", ".join(FORMATS)):
        write_report([quick], ["md", "docx"])
    with pytest.raises(UsageError, match="is not a run folder"):
        summarise([tmp_path])
    with pytest.raises(UsageError, match="no run was given"):
        summarise([])
    with pytest.raises(UsageError, match="twice"):
        summarise([quick, quick / ".." / "quick"])
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write the report"):
        write_report([quick], ["md"], tmp_path / "file" / "out")


def test_the_report_imports_neither_torch_nor_samplers_nor_before_a_figure_matplotlib() -> None:
    code = "import sys, bench.report; print([n for n in ('torch', 'samplers', 'matplotlib') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_figure_is_laid_out_once_for_all_its_files(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To lay it out takes as long as to draw it."""
    laid_out, real = list[Figure](), ConstrainedLayoutEngine.execute

    def execute(engine: ConstrainedLayoutEngine, figure: Figure) -> None:
        laid_out.append(figure)
        real(engine, figure)

    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", execute)
    figure = FIGURES["time_split"](summarise([quick]))
    assert render(figure, "png") == render(figure, "png")
    assert render(figure, "pdf")
    assert laid_out == [figure]


def test_a_font_is_embedded_with_what_a_pdf_reads_and_others_keep_theirs(
    quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To cut the other tables down takes longer than to draw a figure."""
    embedded, real = list[set[str]](), _backend_pdf_ps.font_as_file
    usual = subset.load_font

    def written(font: Any) -> Any:
        embedded.append(set(font.keys()))
        return real(font)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(_backend_pdf_ps, "font_as_file", written)
    assert render(FIGURES["time_split"](summarise([quick])), "pdf")
    assert embedded
    asked = {"glyf", "head", "hhea", "hmtx", "loca", "maxp"}  # ISO 32000-1, 9.9
    assert all(asked <= tables <= asked | {"cvt ", "fpgm", "prep", "GlyphOrder"} for tables in embedded)
    assert subset.load_font is usual


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the command that makes a report again is: without torch or other threads, and here with two processors."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(threading, "enumerate", lambda: [threading.current_thread()])
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})


def maker() -> Drawn:
    return {("process", "number"): str(os.getpid()).encode()}


def test_figures_that_are_drawn_by_two_processes_are_those_of_one(quick: Path, request: pytest.FixtureRequest) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda process: {0})
        before = {path: path.read_bytes() for path in write_report([quick])}
    request.getfixturevalue("alone")
    assert maker() != beside(maker)()
    again = write_report([quick])
    assert again == list(before)
    assert {path: path.read_bytes() for path in again} == before


def test_beside_torch_and_on_one_processor_all_is_drawn_in_one_process(
    alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)
        assert beside(maker)() == maker()
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    assert beside(maker)() == maker()


def test_beside_threads_of_the_caller_all_is_drawn_in_one_process(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a notebook: what they hold when a process is forked, nobody would give back there."""
    own = threading.Thread()
    monkeypatch.setattr(threading, "enumerate", lambda: [threading.current_thread(), own])
    assert beside(maker)() == maker()
    with Console(file=io.StringIO()).status("drawing") as drawing:
        shown = drawing._live._refresh_thread
        monkeypatch.setattr(threading, "enumerate", lambda: [threading.current_thread(), shown])
        assert beside(maker)() != maker()


@pytest.mark.parametrize("end", [lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: 1 / 0])
def test_what_a_process_that_ended_did_not_draw_is_drawn_here(alone: None, end: Callable[[], object]) -> None:
    here = os.getpid()

    def make() -> Drawn:
        if os.getpid() != here:
            end()
        return maker()

    assert beside(make)() == maker()


def test_where_no_process_can_begin_all_is_drawn_here(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(os, "fork", fork)
    assert beside(maker)() == maker()


def test_what_cannot_be_drawn_is_said_where_it_is_asked_for(alone: None) -> None:
    def make() -> Drawn:
        raise UsageError("no such figure")

    asked = beside(make)
    with pytest.raises(UsageError, match="no such figure"):
        asked()
