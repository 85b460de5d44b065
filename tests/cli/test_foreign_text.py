# ruff: noqa: RUF001
"""A title, a name, a folder or an error with signs that mean something ruins no output of a run or a command."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from commands import Cli
from matplotlib.cbook import is_math_text
from matplotlib.text import Text
from renderings import Page, inline_texts, unseen
from report_records import BASELINE, failed, record, texts, write_run
from rich.console import Console

from bench.cli import app, check_model
from bench.cli.listing import rows, show
from bench.cli.reporting import compare_runs, report_runs
from bench.conformance.model_check import Check
from bench.conformance.model_fit import Curve
from bench.conformance.model_verdicts import Verdict
from bench.escape import csv_text, plain_line, terminal_text
from bench.progress import bar
from bench.report import compare, summarise, terminal_comparison, terminal_table, write_report
from bench.report.figures.plots import FIGURES, worth_drawing
from bench.running.telling import CellProgress
from models.common.errors import UsageError
from models.schedule import DiscreteVP
from samplers import SAMPLERS
from samplers.ddim import DDIM

ESCAPES = "\x1b[31m\u202e"
TITLE = f"$\\frac{{1}}$ costs _{ESCAPES}中\nα"
SAMPLERS_OF_IT = ["_s$x_{$|y\nz", "=1+1", f"<b>{ESCAPES}</b>", "[red]:key:"]
EVERYWHERE: dict[str, Any] = {
    "model": f"$\\q$ m|{ESCAPES}",
    "device_name": f"CPU $x_{{$ {ESCAPES}\n100 %",
    "reference": "# $r$ |\r",
}
_ERROR = f"ValueError: {ESCAPES} | $\\x$\r\n=1"


@pytest.fixture
def wild(tmp_path: Path) -> Path:
    """A run of which nothing has a plain name."""
    cells = [record(*BASELINE, **EVERYWHERE), *(record(name, **EVERYWHERE) for name in SAMPLERS_OF_IT)]
    return write_run(tmp_path / "_r$y_{$", [*cells, failed(error=_ERROR, **EVERYWHERE)], title=TITLE)


def test_every_file_of_a_report_holds_the_names_as_text(wild: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.report.write._figures", lambda *_: dict)  # they have a test of their own
    write_report([wild], ["md", "latex", "csv", "parquet", "html"])
    for name in ("table.md", "table.tex", "table.csv", "cells.csv", "index.html"):
        assert not unseen((wild / name).read_bytes().decode()), name
    names = {plain_line(name) for name in SAMPLERS_OF_IT}
    assert {cell.strip() for cell in inline_texts((wild / "table.md").read_text(), "td")} >= names
    page = Page((wild / "index.html").read_text())
    assert "b" not in page.tags
    scripts = {"data", "plotly", "tables", "tables-style", "program"}  # the page's own, and no other
    assert page.tags.count("script") == len(scripts)
    assert {("id", name) for name in scripts} <= set(page.attributes)
    assert all(name in page.text for name in names)
    assert "=1+1" in pd.read_parquet(wild / "table.parquet")["sampler"].tolist()  # no text for people
    read = pd.read_csv(wild / "table.csv", dtype=str)
    assert set(read["sampler"]) == {"ddpm", *map(csv_text, SAMPLERS_OF_IT)}
    tex = (wild / "table.tex").read_text()
    assert "% Of some letters pdflatex prints the numbers: use xelatex or lualatex" in tex
    assert r"\_s\$x\_\{\$\textbar{}y z" in tex


@pytest.mark.filterwarnings("ignore:Glyph")  # that the font lacks
def test_every_figure_is_drawn_with_the_names_as_text_and_in_its_legends(wild: Path) -> None:
    summary = summarise([wild])
    for name in worth_drawing(summary):
        figure = FIGURES[name](summary)
        figure.draw_without_rendering()
        for each in figure.findobj(Text):
            assert isinstance(each, Text)
            assert not is_math_text(each.get_text()), (name, each.get_text())
            assert not unseen(each.get_text())
        if name.startswith("quality"):
            assert " _s$x_{$|y" in texts(figure)


def test_the_terminal_is_sent_no_control_character(wild: Path, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(width=250, file=io.StringIO(), color_system=None)
    with console.capture() as captured:
        console.print(terminal_table(summarise([wild])))
    assert all(terminal_text(name).splitlines()[0] in captured.get() for name in SAMPLERS_OF_IT)
    assert report_runs([wild], ["md"], None) == 0
    assert compare_runs(wild, wild) == 0
    shown = capsys.readouterr()
    assert not unseen(shown.out + shown.err)
    with console.capture() as captured:
        console.print(terminal_comparison(compare(wild, wild)))
    assert all(terminal_text(name).splitlines()[0] in captured.get() for name in SAMPLERS_OF_IT)
    assert not unseen(captured.get())


@pytest.mark.parametrize("error", [UsageError(f"no {ESCAPES}\a"), OSError(28, "No space", f"a{ESCAPES}")])
def test_errors_are_printed_without_control_characters(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise error

    monkeypatch.setattr("bench.cli.run.run_and_report", fail)
    shown = cli("run", "quick", status=2).err
    assert "\\x1b[31m\\u202e" in shown
    assert not unseen(shown)


@dataclass(frozen=True)
class Foreign(DDIM):
    paper = f"_{ESCAPES}\a [red]:key: paper"


def test_lists_show_what_a_plugin_says_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    SAMPLERS.register("test-foreign")(Foreign)
    show("samplers", [row for row in rows("samplers") if row["name"] in ("test-foreign", "ddim")])
    show("runs", [{"run": f"results/{ESCAPES}[red]:key:", "study": TITLE}])
    shown = capsys.readouterr().out
    assert not unseen(shown)
    assert "[red]:key: paper" in shown
    assert "results/\\x1b[31m\\u202e[red]:key:" in shown


def test_the_check_of_a_model_prints_its_name_as_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    level = DiscreteVP.linear().level(0.5)
    curve = Curve([0.0], [level], [0.1], [0.2])
    name = f"[red]:key:{ESCAPES}"
    found = Check(name, "0" * 64, name, 2, 1, "epsilon", {"epsilon": curve}, None, [Verdict(True, f"is {name}")])
    monkeypatch.setattr(check_model, "_loaded", lambda *_: None)
    monkeypatch.setattr(check_model, "_checked", lambda *_: found)
    assert app.check_model("any") == 0
    shown = capsys.readouterr().out
    assert not unseen(shown)
    assert " ".join(shown.split()).count("[red]:key:\\x1b[31m\\u202e") == 4


def test_a_run_that_only_times_counts_no_cells(capsys: pytest.CaptureFixture[str]) -> None:
    with bar() as shown:
        progress = CellProgress(shown, grow=False)
        progress.planned(0, 10)
    said = capsys.readouterr().err
    assert "timing" in said
    assert "cell 0 of" not in said


def test_progress_names_a_sampler_with_its_parameters_and_no_control_character(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with bar() as shown:
        shown.add_task(f"ddim[eta=0.5] {ESCAPES}\n:key:", total=1)
    said = capsys.readouterr().err
    assert "ddim[eta=0.5] \\x1b[31m\\u202e :key:" in said
