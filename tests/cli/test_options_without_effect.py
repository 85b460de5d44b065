"""What is asked for has an effect or is refused, and that says what would have it: all options by all formats."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from commands import Cli
from report_records import BASELINE, record, write_run

from bench.report import FORMATS, View, check_asked, of_texts, summarise, write_report
from bench.report.export import SERVICES
from models.common.errors import UsageError

_FIGURES = {"html", "png", "pdf", *SERVICES}
_EVERY = {*FORMATS, *SERVICES}

_OPTIONS: dict[str, tuple[View, str | None, set[str]]] = {
    "--columns steps": (View(columns="steps"), None, _EVERY),
    "--metric recall": (View(metric="recall"), None, _EVERY),
    "--samplers ddim": (View(selection=of_texts("ddim", ())), None, _EVERY),
    "--only steps=10": (View(selection=of_texts(None, ("steps=10",))), None, _EVERY),
    "--x nfe": (View(x="nfe"), None, _FIGURES),
    "--y recall": (View(y="recall"), None, _FIGURES),
    "--style paper": (View(style="paper"), None, _FIGURES),
    "--style slide": (View(style="slide"), None, _FIGURES),
    "--latex plain": (View(numbers="plain"), None, {"latex"}),
    "--out DIR": (View(), "out", _EVERY - {"mlflow"}),
}
"""Every option of `report`, and the formats that it does something to. The first four change what the terminal shows,
whatever is written."""


def test_the_table_has_all_options(cli: Cli) -> None:
    told = cli("report", "--help").out
    shown = {word.strip("│ ") for word in told.split() if word.startswith("--") and len(word) > 2}
    assert shown - {"--format", "--help", "--version"} == {name.split()[0] for name in _OPTIONS} | (
        shown & {"--runs", "--RUNS"}
    )


@pytest.mark.parametrize("name", _OPTIONS)
def test_an_option_without_an_effect_on_any_format_is_refused(name: str) -> None:
    view, out, has_effect = _OPTIONS[name]
    place = None if out is None else Path(out)
    for given in (*((each,) for each in (*FORMATS, *SERVICES)), *product(FORMATS, repeat=2)):
        if {*given} & has_effect:
            if not (view.style == "paper" and "latex" in given and "pdf" not in given):
                check_asked(given, view, place)
            continue
        with pytest.raises(UsageError) as refused:
            check_asked(given, view, place)
        said = str(refused.value)
        assert said.startswith(name.replace("DIR", "out"))
        assert f"--format {','.join(given)}" in said
        assert all(each in said for each in has_effect)
        *_, more = said.split()
        check_asked(more.split(","), view, place)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, whose reports without any option are beside it, once for all options."""
    cells = [record(*BASELINE), *(record(each, steps=n) for each in ("ddim", "heun") for n in (5, 10))]
    return write_run(tmp_path_factory.mktemp("options") / "run", cells)


def _reported(cli: Cli, run: Path, format_: str, out: Path, *options: str) -> tuple[str, dict[str, bytes]]:
    """What the terminal shows above the names of files, and the files."""
    shown = cli("report", run, "--format", format_, "--out", out, *options).out
    return shown.partition(str(out))[0], {
        path.name: path.read_bytes() for path in out.iterdir() if path.suffix != ".json"
    }


_PLAIN: dict[tuple[Path, str], tuple[str, dict[str, bytes]]] = {}


def _takes_effect() -> Iterator[tuple[str, str]]:
    """Options by formats. What the terminal shows is the same for every format, so that where it changes those that
    take a second to draw tell nothing that the others do not.
    """
    for name, (view, _, has_effect) in _OPTIONS.items():
        in_terminal = has_effect == _EVERY
        for format_ in ("md", "latex", "csv", *(() if in_terminal else ("html", "png"))):
            if name != "--out DIR" and format_ in has_effect and not (view.style == "paper" and format_ == "latex"):
                yield name, format_


@pytest.mark.parametrize(("name", "format_"), list(_takes_effect()))
def test_one_that_is_not_refused_changes_a_file_or_what_the_terminal_shows(
    tmp_path: Path, run: Path, cli: Cli, name: str, format_: str
) -> None:
    if (run, format_) not in _PLAIN:
        _PLAIN[run, format_] = _reported(cli, run, format_, run.parent / format_)
    assert _reported(cli, run, format_, tmp_path / "asked", *name.split()) != _PLAIN[run, format_]


def test_a_papers_latex_has_its_figures_or_is_refused(tmp_path: Path, cli: Cli) -> None:
    run = write_run(tmp_path / "run", [record(*BASELINE), record()])
    said = cli("report", run, "--style", "paper", "--format", "latex,png", status=2).err
    assert "has no figures.tex" in said
    assert "--format latex,png,pdf" in said
    assert not (run / "paper").exists()
    cli("report", run, "--style", "paper", "--format", "latex,pdf")
    assert (run / "paper" / "figures.tex").exists()


def test_it_is_refused_from_a_notebook_too_and_before_anything_is_read_or_written(tmp_path: Path, cli: Cli) -> None:
    run = write_run(tmp_path / "run", [record(*BASELINE), record()])
    with pytest.raises(UsageError, match="has no effect on --format md"):
        write_report([run], ["md"], None, summarise([run], View(style="slide")))
    assert "--x nfe has no effect" in cli("report", tmp_path / "none", "--x", "nfe", "--format", "md", status=2).err
    assert {path.name for path in run.iterdir()} == {"cells", "study.json"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["A", "B", "--csv", "F"], "--csv"),
        (["A", "B", "--pairs"], "--pairs"),
        (["A", "--format", "md"], "two runs"),
        (["A", "--out", "F"], "two runs"),
        (["A", "--pairs", "--format", "md"], "--format"),
        (["A", "--pairs", "--out", "F"], "--out"),
        (["A", "--csv", "F"], "--pairs"),
        (["A"], "two runs"),
        (["A", "B", "--format", ""], "unknown format ''; there is: md, csv, html"),
    ],
)
def test_compare_refuses_what_has_no_effect(tmp_path: Path, cli: Cli, arguments: list[str], said: str) -> None:
    for name in "AB":
        write_run(tmp_path / name, [record(*BASELINE), record()])
    given = [str(tmp_path / each) if len(each) == 1 else each for each in arguments]
    assert said in cli("compare", *given, status=2).err
    assert {path.name for path in tmp_path.iterdir()} == {"A", "B"}


def _empty(folder: Path) -> Path:
    return write_run(folder, [])


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "RUN"],
        ["report", "RUN", "--samplers", "ddim"],
        ["report", "RUN", "--format", "mlflow"],
        ["pack", "RUN", "--out", "NEW"],
        ["publish", "RUN", "--out", "NEW"],
        ["merge", "RUN", "--out", "NEW"],
    ],
)
def test_a_run_of_which_nothing_is_measured_ends_with_status_2_and_what_to_do(
    tmp_path: Path, cli: Cli, arguments: list[str]
) -> None:
    run = _empty(tmp_path / "run")
    places = {"RUN": str(run), "NEW": str(tmp_path / "new")}
    said = cli(*(places.get(each, each) for each in arguments), status=2).err
    assert f"no cell of {str(run)!r} is measured yet" in said.replace(
        f"no cell of {run} is", f"no cell of {str(run)!r} is"
    )
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    assert {path.name for path in run.iterdir()} == {"cells", "study.json"}


def test_beside_others_it_is_warned_of_and_a_site_does_not_have_it(tmp_path: Path, cli: Cli) -> None:
    full, empty = write_run(tmp_path / "full", [record(*BASELINE), record()]), _empty(tmp_path / "empty")
    printed = cli("report", full, empty, "--format", "md", "--out", tmp_path / "out")
    assert "no cell of" in printed.err
    assert (tmp_path / "out" / "table.md").exists()
    assert "or leave it out" in cli("publish", full, empty, "--out", tmp_path / "site", status=2).err
    assert not (tmp_path / "site").exists()
