"""The LaTeX of the published runs, of many samplers and of hostile names compiles, and nothing is too wide.

What takes minutes is deselected otherwise: pytest -m tools tests/report.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from report_records import BASELINE, failed, many, record, write_run, write_zoo

from bench.record import Record
from bench.report import View, summarise, write_report
from bench.report.data.references import references
from bench.report.data.view import Numbers
from bench.report.tables.tex import latex_files

_PUBLISHED = Path(__file__).parents[2] / "results" / "published"
_MISSING = shutil.which("pdflatex") is None and "CI" not in os.environ
_PACKAGES = {"siunitx": "booktabs,graphicx,siunitx", "plain": "graphicx"}
_MOST = 2.0
"""Points that a box may be too wide."""

pytestmark = pytest.mark.skipif(_MISSING, reason="no LaTeX is installed")


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def _compiled(folder: Path, files: Sequence[str], options: str, numbers: Numbers) -> str:
    """The log of a document that has the tables of some folders, whose entries BibTeX has read."""
    source = [
        f"\\documentclass[{options}]{{article}}",
        f"\\usepackage{{{_PACKAGES[numbers]}}}",
        r"\begin{document}",
        *(f"\\input{{{name}}}\\clearpage" for name in files),
        r"\bibliographystyle{plain}",
        f"\\bibliography{{{','.join(dict.fromkeys(str(Path(name).with_name('references')) for name in files))}}}",
        r"\end{document}",
    ]
    (folder / "main.tex").write_text("\n".join(source), encoding="utf-8")
    command = ("pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex")
    _run(folder, *command, "-draftmode")
    read = _run(folder, "bibtex", "main")
    assert "Warning" not in read, read
    _run(folder, *command, "-draftmode")
    _run(folder, *command)
    return (folder / "main.log").read_text(encoding="utf-8", errors="replace")


def _checked(log: str) -> None:
    wide = [float(each) for each in re.findall(r"Overfull \\[hv]box \(([\d.]+)pt too", log)]
    assert max(wide, default=0.0) <= _MOST, re.findall(r"Overfull.*", log)
    assert "Float too large" not in log, re.findall(r".*Float too large.*", log)
    assert "undefined" not in log, re.findall(r".*undefined.*", log)
    assert "multiply" not in log, re.findall(r".*multiply.*", log)


@pytest.mark.parametrize("numbers", ["siunitx", "plain"])
def test_the_tables_of_a_small_run_compile(tmp_path: Path, quick: Path, numbers: Numbers) -> None:
    write_report([], ["latex"], tmp_path / "quick", summarise([quick], View(numbers=numbers)))
    _checked(_compiled(tmp_path, ["quick/table"], "twocolumn", numbers))


def test_a_table_compiles_without_the_others(tmp_path: Path, quick: Path) -> None:
    summary = summarise([quick])
    write_report([], ["latex"], tmp_path / "quick", summary)
    files = latex_files(summary)
    assert (
        {path.stem for path in (tmp_path / "quick").glob("*.tex")}
        == set(files)
        == {"table", "table-samplers", "table-rows"}
    )
    _checked(_compiled(tmp_path, ["quick/table-samplers"], "twocolumn", "siunitx"))
    whole, *parts = files.values()
    assert sum(part.count(r"\begin{tabular}") for part in parts) == whole.count(r"\begin{tabular}")
    for part in parts:
        assert part.partition(r"\begin{table")[2] in whole


def test_where_nothing_is_cited_bibtex_has_something_to_read(tmp_path: Path) -> None:
    measured = {name: None for name in record() if name.startswith(("fd_", "kid_", "inception", "precision", "recall"))}
    ours: Record = {
        "sampler": "mine",
        "grid": "own",
        "model": "private",
        "extractor": None,
        "reference": None,
    } | measured
    run = write_run(tmp_path / "run", [record() | ours])
    summary = summarise([run])
    assert references(summary).used == ()
    write_report([], ["latex"], tmp_path / "run", summary)
    _checked(_compiled(tmp_path, ["run/table"], "10pt", "siunitx"))


@pytest.mark.tools
@pytest.mark.parametrize("options", ["10pt", "twocolumn"])
@pytest.mark.parametrize("name", ["digits", "oracle", "modes", "guidance"])
def test_the_figures_of_a_paper_compile_with_captions_that_fit(tmp_path: Path, name: str, options: str) -> None:
    summary = summarise(
        [_PUBLISHED / name / "run.zip"], View(style="paper", x="s_per_image_median", y="overhead_fraction")
    )
    write_report([], ["latex", "pdf"], tmp_path, summary)
    _checked(_compiled(tmp_path, ["figures", "table-samplers"], options, "siunitx"))


@pytest.mark.tools
@pytest.mark.parametrize("options", ["10pt", "twocolumn"])
@pytest.mark.parametrize("numbers", ["siunitx", "plain"])
@pytest.mark.parametrize("name", ["digits", "oracle", "modes", "guidance"])
def test_the_tables_of_published_runs_fit_pages_of_one_and_of_two_columns(
    tmp_path: Path, name: str, numbers: Numbers, options: str
) -> None:
    summary = summarise([_PUBLISHED / name / "run.zip"], View(numbers=numbers))
    write_report([], ["latex"], tmp_path / name, summary)
    _checked(_compiled(tmp_path, [f"{name}/table"], options, numbers))


_HOSTILE = "a_b%&$#{}~^\\[x](y)<|>\"'`*€é中\x1b" + "very" * 5
_LONG = "cfg[scale=1.5,low=0.19,high=1.61,model=a-model-of-a-name-that-is-far-too-long]"


@pytest.mark.tools
@pytest.mark.parametrize("options", ["10pt", "twocolumn"])
@pytest.mark.parametrize("numbers", ["siunitx", "plain"])
def test_many_samplers_hostile_names_and_failures_compile_and_fit(
    tmp_path: Path, numbers: Numbers, options: str
) -> None:
    odd = [
        record(*BASELINE, solver_rmse=1.2e-5),
        record(
            _HOSTILE,
            fd_digits=0.0,
            inception_score=1234.5,
            kid_mean=-0.5,
            note=_HOSTILE,
            solver_rmse=12.3,
            solver_rmse_reference=1e-7,
        ),
        record("ddim", fd_digits=12345.6789, guidance=_LONG, model=_HOSTILE),
        failed("heun", error=_HOSTILE),
    ]
    runs = [
        write_run(tmp_path / "odd_run", odd, title=_HOSTILE),
        write_zoo(tmp_path / "zoo_run", many(80)),
        write_run(tmp_path / "none_run", [failed(*BASELINE)]),
    ]
    for run in runs:
        write_report([], ["latex"], tmp_path / run.stem, summarise([run], View(numbers=numbers)))
        _checked(_compiled(tmp_path, [f"{run.stem}/table"], options, numbers))
