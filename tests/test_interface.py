"""From Python a study is run, read and reported as the command line does it, and the process stays as it was."""

import os
import re
import signal
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from studies import study_toml

import bench
from bench.progress import errors
from bench.purity.unchanged import ProcessState
from bench.report import as_csv
from bench.running.code_hash import _shared
from bench.running.lock import holding
from models.common.errors import Notice, UsageError

_ROOT = Path(__file__).parents[1]
_PUBLISHED = _ROOT / "results" / "published" / "digits"
_STUDY = tomllib.loads(study_toml(["ddim", "ddpm"], [2, 3], timing={"repeats": 2, "seconds": 0}))


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_example_of_the_readme_runs_as_it_stands() -> None:
    text = (_ROOT / "bench" / "README.md").read_text().partition("\n## From Python")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = dict[str, Any]()
    exec(code, names)
    run = names["run"]
    assert isinstance(run, bench.Run)
    assert run.path == Path("results/mine")
    assert set(run.table["sampler"]) == {"ddim", "dpm++2m"}
    assert len(run.cells) == 9
    assert run.failed.empty
    assert {path.name for path in Path("my-report").iterdir()} >= {"table.md", "table.csv", "quality_vs_nfe.pdf"}


def test_a_run_that_is_loaded_says_what_its_report_says() -> None:
    run = bench.load(_PUBLISHED)
    assert as_csv(run.table) == (_PUBLISHED / "table.csv").read_bytes()
    assert as_csv(run.cells) == (_PUBLISHED / "cells.csv").read_bytes()
    assert list(run.table.columns) == list(pd.read_parquet(_PUBLISHED / "table.parquet").columns)
    assert f"**{run.answer}**" in (_PUBLISHED / "table.md").read_text().replace("\\", "")
    assert run._repr_markdown_() == (_PUBLISHED / "table.md").read_text()
    assert run.answers[0].winner is not None
    assert run.outcome is None


def test_frames_are_the_callers_own() -> None:
    run = bench.load(_PUBLISHED)
    for frame in (run.cells, run.table):
        frame.loc[:, "sampler"] = "mine"
        frame["more"] = 1
    assert "mine" not in {*run.cells["sampler"], *run.table["sampler"]}
    assert "more" not in {*run.cells, *run.table}


def test_a_figure_is_had_by_the_name_of_its_file_and_shown_without_pyplot() -> None:
    run = bench.load(_PUBLISHED)
    figure = run.figure("time_split")
    assert isinstance(figure, Figure)
    shown = getattr(figure, "_repr_png_")()  # noqa: B009  (as notebooks look for it)
    (written,) = (path for path in run.report("out", "png") if path.name == "time_split.png")
    assert shown == written.read_bytes()


def test_a_figure_that_there_is_not_is_told_with_those_that_there_are() -> None:
    run = bench.load(_PUBLISHED)
    with pytest.raises(UsageError, match=r"unknown figure 'time_splits'. Did you mean 'time_split'\?"):
        run.figure("time_splits")
    with pytest.raises(
        UsageError, match="nothing to draw in the figure 'guidance': no guidance has several scales"
    ) as e:
        run.figure("guidance")
    assert str(e.value).endswith("There is: quality_vs_nfe, quality_vs_seconds, time_split, images.")


def test_reports_are_written_where_and_as_they_are_asked_for() -> None:
    run = bench.load(_PUBLISHED)
    assert [path.name for path in run.report("out", ["csv"])] == ["table.csv", "cells.csv", "datapackage.json"]
    with pytest.raises(UsageError, match="unknown format 'docx'"):
        run.report("out", "md,docx")


def test_what_reads_a_run_imports_no_torch_and_importing_it_imports_next_to_nothing() -> None:
    code = f"""
import sys
before = set(sys.modules)
import bench
assert {{name.partition(".")[0] for name in set(sys.modules) - before}} <= {{"bench", *sys.stdlib_module_names}}
assert bench.run and bench.load and bench.Run
assert {{"run", "load", "Run", "Workers", "UsageError"}} <= set(dir(bench))
heavy = {{"torch", "pandas", "numpy", "matplotlib", "scipy", "diffusers"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
run = bench.load({str(_PUBLISHED)!r})
assert len(run.table) and len(run.cells) and run.answer and run.failed is not None
assert not {{"torch", "matplotlib"}} & set(sys.modules)
run.figure("quality_vs_nfe"), run.report("out")
assert not {{"torch", "samplers", "matplotlib.pyplot"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **_PATH})
    assert done.returncode == 0, done.stderr


_PATH = {"PYTHONPATH": str(_ROOT)}


def test_what_is_no_run_is_no_run() -> None:
    with pytest.raises(UsageError, match="'nowhere' is not a run folder"):
        bench.load("nowhere")


def test_a_study_is_a_mapping_a_file_or_a_name_and_measured_once(capsys: pytest.CaptureFixture[str]) -> None:
    first = bench.run(_STUDY, quiet=True)
    assert first.path == Path("results/test")
    assert (first.outcome.measured, first.outcome.failed) == (4, 0) if first.outcome else False
    assert capsys.readouterr() == ("", "")
    file = Path("study.toml")
    file.write_text(study_toml(["ddim", "ddpm"], [2, 3], timing={"repeats": 2, "seconds": 0}))
    for study in (file, str(file)):
        again = bench.run(study)
        assert (again.outcome.measured, again.outcome.kept) == (0, 4) if again.outcome else False
        assert again.table.equals(first.table)
        assert again.answer == first.answer
    assert "0 cells measured, 4 kept from before, 0 failed" in capsys.readouterr().err


def test_a_mapping_may_hold_what_python_has_for_lists_numbers_and_paths() -> None:
    block = {"samplers": ("ddim",), "grids": ["trailing"], "steps": range(2, 4)}
    run = bench.run(_STUDY | {"block": [block], "images": np.int64(16)}, {"steps": range(3, 4)}, out="mine", quiet=True)
    assert run.cells["steps"].tolist() == [3]
    with pytest.raises(UsageError, match=r"study: \{'ddim'\} is a set, which TOML does not have; expected"):
        bench.run(_STUDY | {"block": [block | {"samplers": {"ddim"}}]})


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            {"sampler": "ddim"},
            r"overrides: sampler: unknown key 'sampler'. Did you mean 'samplers'\? There is: b",
        ),
        ({"steps": 5}, "overrides: steps: .*list.*, got 5"),
        ({"images": True}, "overrides: images: .*integer, got True"),
        ({"steps": [0]}, "--steps"),
        ({"samplers": "ddimm"}, r"--samplers: unknown sampler 'ddimm'. Did you mean 'ddim'\?"),
    ],
)
def test_overrides_are_held_to_their_names_and_types(overrides: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        bench.run(_STUDY, overrides, quiet=True)
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("study", "said"),
    [
        ("quik", r"unknown study 'quik'. Did you mean 'quick'\?"),
        (
            {"name": "mine", "titel": "T"},
            r"study 'mine': 7 errors\n  titel: unknown key 'titel'. Did you mean 'title'\?",
        ),
        ({}, "study: 7 errors"),
    ],
)
def test_all_that_is_wrong_with_a_study_is_said(study: str | dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        bench.run(study)


def test_minutes_and_folders_are_refused_as_by_the_command() -> None:
    with pytest.raises(UsageError, match="--minutes 0; expected more than 0"):
        bench.run(_STUDY, minutes=0)
    with pytest.raises(UsageError, match="--out 'My Run'"):
        bench.run(_STUDY, out="My Run", quiet=True)


def _plugin(body: str = "") -> Path:
    path = Path("test_of_interface.py")
    path.write_text(
        "from dataclasses import dataclass\nfrom samplers import register\nfrom samplers.ddim import DDIM\n"
        f"@register('test-of-interface')\n@dataclass(frozen=True)\nclass Mine(DDIM):\n    {body or '...'}\n"
    )
    return path


def test_a_plugin_may_be_given_again_and_is_told_once_it_has_changed(tmp_path: Path) -> None:
    plugin = _plugin()
    for out in ("one", "two"):
        run = bench.run(_STUDY, {"samplers": "test-of-interface", "steps": [2]}, out=out, plugins=[plugin], quiet=True)
        assert "test-of-interface" in set(run.table["sampler"])
    bench.run(_STUDY, out="two", plugins=[str(tmp_path / plugin)], quiet=True)
    _plugin("eta: float = 0.5")
    with pytest.raises(UsageError, match="has changed since it was loaded; start Python again"):
        bench.run(_STUDY, plugins=[plugin])


def test_a_failed_cell_raises_nothing_and_says_why() -> None:
    Path("test_failing.py").write_text(
        "from dataclasses import dataclass\nfrom samplers import register\nfrom samplers.ddim import DDIM\n"
        "@register('test-failing')\n@dataclass(frozen=True)\nclass Failing(DDIM):\n"
        "    def step(self, *given):\n        raise ArithmeticError('as planned')\n"
    )
    run = bench.run(_STUDY, {"samplers": "test-failing", "steps": [2]}, plugins=["test_failing.py"], quiet=True)
    assert run.outcome is not None
    assert run.outcome.failed == len(run.failed) == 1
    assert "ArithmeticError: as planned" in run.failed["error"].iloc[0]
    assert run.table["sampler"].tolist() == ["ddim"]


def test_the_process_is_as_it_was_before() -> None:
    torch.manual_seed(1234)
    threads, shown, backend = torch.get_num_threads(), warnings.showwarning, matplotlib.rcParams["backend"]
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    before = ProcessState()
    run = bench.run(_STUDY | {"threads": threads + 1}, quiet=True)
    assert run.cells["threads"].tolist() == [threads + 1] * 4
    run.figure("error_vs_nfe")
    assert not before.put_back()
    assert torch.get_num_threads() == threads
    assert warnings.showwarning is shown
    assert matplotlib.rcParams["backend"] == backend
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert not errors.quiet


def test_an_interruption_goes_through_and_the_same_call_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    with monkeypatch.context() as patch:
        patch.setattr("bench.running.telling.CellProgress.finished", _interrupting())
        with pytest.raises(KeyboardInterrupt):
            bench.run(_STUDY, {"threads": threads + 1}, quiet=True)
    assert torch.get_num_threads() == threads
    assert not errors.quiet
    assert len(bench.load("results/test").cells) == 2
    with holding(Path("results/test")):
        pass
    again = bench.run(_STUDY, {"threads": threads + 1}, quiet=True)
    assert again.outcome is not None
    assert (again.outcome.measured, again.outcome.kept) == (2, 2)


def _interrupting() -> Callable[..., None]:
    told = list[object]()

    def finished(*given: object) -> None:
        told.append(given)
        if len(told) == 2:
            raise KeyboardInterrupt

    return finished


def test_what_is_broken_is_told_once_and_counts_for_nothing() -> None:
    path = bench.run(_STUDY, quiet=True).path
    record = next((path / "cells").glob("*.json"))
    record.write_text("{")
    run = bench.load(path)
    with pytest.warns(Notice, match=f"{record.name} is no record") as told:
        assert len(run.cells) == 3
    assert [each.filename for each in told] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(run.cells) == 3


def test_no_result_depends_on_the_code_that_only_notebooks_see() -> None:
    """Else every change of a report would have all cells measured again."""
    shared = {str(path.relative_to(_ROOT)) for path in _shared()}
    assert "bench/__init__.py" in shared
    assert not {"bench/interface.py", "bench/report/write.py", "bench/running/telling.py"} & shared
