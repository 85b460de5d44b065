"""A choice of rows holds for tables and figures alike, and everything that is written says what it leaves out."""

import re
from pathlib import Path

import pandas as pd
import pytest
from commands import Cli
from report_records import BASELINE, failed, record, terminal, texts, write_run

from bench.report import View, of_texts, summarise, write_report
from bench.report.data.summary import Summary
from bench.report.figures.plots import draw
from bench.report.tables.markup import markdown
from bench.report.tables.tex import latex
from models.common.errors import UsageError

CELLS = [
    record(*BASELINE),
    *(record(name, grid, steps) for name in ("ddim", "heun") for grid in ("trailing", "quad") for steps in (5, 10)),
    record("ddim[eta=0.5]", steps=10),
    failed("dpm++2m", steps=5),
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", CELLS)


def shown(run: Path, samplers: str | None = None, *only: str) -> Summary:
    return summarise([run], View(selection=of_texts(samplers, only)))


def settings(summary: Summary) -> list[str]:
    table = summary.table
    return [f"{s} {g} {n}" for s, g, n in zip(table["sampler"], table["grid"], table["steps"], strict=True)][1:]


DDIM, HEUN = (f"{name} trailing" for name in ("ddim", "heun"))
OTHER = "ddim[eta=0.5] trailing 10"


@pytest.mark.parametrize(
    ("samplers", "only", "expected"),
    [
        ("ddim", (), [f"{DDIM} 5", f"{DDIM} 10", "ddim quad 5", "ddim quad 10", OTHER]),
        ("ddim[eta=0.5],heun", ("grid=trailing",), [f"{HEUN} 5", f"{HEUN} 10", OTHER]),
        (None, ("steps=10", "grid!=quad"), [f"{DDIM} 10", f"{HEUN} 10", OTHER]),
        (None, ("steps=5", "steps=10.0", "sampler=heun", "nfe<=9"), [f"{HEUN} 5", "heun quad 5"]),
        (None, (" nfe > 9 ",), [f"{DDIM} 10", "ddim quad 10", f"{HEUN} 10", "heun quad 10", OTHER]),
        (None, ("stochastic=false", "nfe<6"), [f"{DDIM} 5", "ddim quad 5"]),
    ],
)
def test_what_is_selected_and_the_baseline_are_shown(
    run: Path, samplers: str | None, only: tuple[str, ...], expected: list[str]
) -> None:
    summary = shown(run, samplers, *only)
    assert settings(summary) == expected
    assert summary.table["baseline"].tolist() == [True] + [False] * len(expected)


def test_everything_that_is_shown_says_that_it_is_a_selection(run: Path) -> None:
    summary = shown(run, "ddim", "grid=trailing")
    told = "A selection: 4 of 11 settings are shown (samplers ddim; grid=trailing; and the baseline)."
    assert (summary.left_out or "").startswith(told)
    for text in (markdown(summary), latex(summary)):
        assert told in text.replace("\\_", "_").replace("\\=", "=")
        assert "Quick study (selection)" in text
        assert "heun" not in text
    assert all(answer.sentence.startswith("Of the selection: ") for answer in summary.answers)
    words = " ".join(texts(draw(summary, "quality_vs_nfe")).split())
    assert told in words
    assert "Quick study (selection)" in words
    assert "heun" not in words
    write_report([run], ["html", "md", "csv"], None, summary)
    page = " ".join((run / "selection" / "index.html").read_text().split())
    assert told in page
    assert not (run / "index.html").exists()
    assert len(pd.read_csv(run / "selection" / "table.csv")) == 4


def test_the_whole_says_nothing_of_a_selection_and_counts_what_is_missing_alike(run: Path) -> None:
    whole = summarise([run])
    assert "selection" not in markdown(whole) + latex(whole)
    assert whole.missing == shown(run, "heun").missing == 0
    assert [row["sampler"] for row in shown(run, None, "nfe=5").failed] == ["dpm++2m"]
    assert shown(run, "heun").failed == []


@pytest.mark.parametrize(
    ("samplers", "only", "words"),
    [
        (
            "dim",
            (),
            "no record has the sampler 'dim'. Did you mean 'ddim'? There is: ddim, ddim[eta=0.5], ddpm, dpm++2m, heun",
        ),
        ("unipc", (), "no record has the sampler 'unipc'. There is: ddim"),
        (" , ", (), "no sampler was named"),
        ("ddim[eta=0.5", (), "unbalanced square brackets"),
        (None, ("grid",), "cannot read the condition 'grid'; expected COLUMN=VALUE"),
        (None, ("gird=quad",), "unknown column 'gird'. Did you mean 'grid'?"),
        (None, ("latency_s=1",), "unknown column 'latency_s'"),
        (None, ("grid=karras",), "no record has grid = karras; there is: trailing, quad"),
        (None, ("grid<=quad",), "'quad' in grid<=quad is no number; of words take = or !="),
        (None, ("grid<=5",), "grid has no numbers, so that none is <= 5"),
        ("heun", ("nfe>1000",), "no record is in the selection"),
    ],
)
def test_a_selection_of_what_there_is_not_says_what_there_is(
    run: Path, samplers: str | None, only: tuple[str, ...], words: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        shown(run, samplers, *only)


def test_the_command_takes_selections_axes_and_styles(run: Path, cli: Cli) -> None:
    given = ["--samplers", "ddim,heun", "--only", "grid=trailing", "--only", "nfe<=20", "--style", "paper"]
    axes = ["--x", "s_per_image_median", "--y", "recall", "--format", "latex,pdf", "--latex", "plain"]
    printed = cli("report", run, *given, *axes)
    folder = run / "selection" / "paper"
    assert {path.name for path in folder.iterdir()} >= {"table.tex", "references.bib", "figures.tex", "chosen.pdf"}
    assert "siunitx" not in (folder / "table.tex").read_text()
    captions = " ".join((folder / "figures.tex").read_text().split())
    assert captions.count("A selection: 6 of 11 settings are shown") == captions.count(r"\includegraphics")
    assert "Of the selection: " in printed.out
    assert "unknown column of numbers 'grid'" in cli("report", run, "--x", "grid", status=2).err


def test_the_terminal_says_it_once_for_all_its_tables(run: Path) -> None:
    assert "A selection" not in terminal([run])
    assert terminal([run], view=View(selection=of_texts("ddim", ()))).count("A selection") == 1


def test_of_seeds_that_are_left_out_the_baseline_s_are_too(tmp_path: Path) -> None:
    cells = [record(name, steps=n, seed=seed) for name, n in (("ddpm", 200), ("ddim", 5)) for seed in (0, 1)]
    path = write_run(tmp_path / "run", cells)
    summary = shown(path, None, "seed=0")
    assert summary.table["seeds"].tolist() == [1] * len(summary.table)
    assert summary.left_out is not None
    assert "2 of 4 records" in summary.left_out


def test_a_published_value_is_that_of_a_whole_row(tmp_path: Path) -> None:
    """What is not shown is not called unmeasured."""
    cells = [record(*BASELINE), record("ddim"), record("heun")]
    entries = [
        {
            "cell": each["id"],
            "column": "fd_digits",
            "value": each["fd_digits"],
            "tolerance": 0.1,
            "images": 1000,
            "source": "a paper",
        }
        for each in cells
    ]
    path = write_run(tmp_path / "run", cells, entries)
    assert [each.verdict for each in shown(path).published] == ["within"] * 3
    assert [(each.sampler, each.verdict) for each in shown(path, "ddim").published][1:] == [("ddim", "within")]


@pytest.mark.parametrize(
    ("condition", "expected"), [("note=007", "a"), ("note=7", "b"), ("seed=1234567", "c"), ("seed=1234567.0", "c")]
)
def test_values_are_equal_to_the_last_digit_or_letter(tmp_path: Path, condition: str, expected: str) -> None:
    cells = [record("a", note="007"), record("b", note="7"), record("c", seed=1234567), record("d", seed=1234568)]
    path = write_run(tmp_path / "run", cells)
    assert [each for each in shown(path, None, condition).table["sampler"] if each != BASELINE[0]] == [expected]
