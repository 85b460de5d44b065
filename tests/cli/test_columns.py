"""Every column that is written is explained, nothing else is, and several runs are read as results/README.md says."""

import re
from dataclasses import fields
from pathlib import Path
from unittest.mock import Mock

import pandas as pd
import pytest
from labelled import labelled
from report_records import QUICK, guided, in_mode, write_run

from bench.cli.listing import rows
from bench.column_meanings import CELLS, MODES, PUBLISHED, TABLE, columns, meaning_of
from bench.record import RunFolder
from bench.record_schema import CellRecord
from bench.report import summarise, write_report
from bench.report.data.modes import frame as modes_frame
from bench.report.data.published import Comparison
from bench.report.data.rows import PAIRS
from bench.running.runner import run_study
from bench.running.session import Session
from bench.study.study import Study

_ROOT = Path(__file__).parents[2]
_PUBLISHED = _ROOT / "results" / "published"
_SETTING = {"sampler": "ddim", "grid": "trailing", "steps": 2}
_STUDY = {
    "name": "columns", "title": "Columns", "model": "digits-mixture", "images": 16, "batch": 16, "device": "cpu",
    "timing": {"repeats": 1, "seconds": 0.0}, "solver_images": 1,
    "extractor": "digits", "reference": "digits",
    "metrics": ["fd", "fd_infinity", "kid", "inception_score", "precision_recall", "solver_error", "psnr", "law"],
    "baseline": _SETTING,
    "block": [{"samplers": ["ddim", "ddpm[variance=analytic]"], "grids": ["trailing"], "steps": [2]}],
}  # fmt: skip


def _header(path: Path) -> set[str]:
    return set(pd.read_csv(path, nrows=0).columns)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    """All columns there are, with their files: of a run made now, of those published, of records that tests make."""
    folder, old, other = (tmp_path_factory.mktemp(name) for name in ("run", "old", "other"))
    with_classes = _STUDY | {"metrics": ["class_accuracy"]} | labelled(other)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.running.solution.STEPS", 4)
        patch.setattr("samplers.x0_variance.IMAGES", 16)
        patch.setattr("bench.running.session.Session.warm_up", lambda session: None)
        patch.setattr("bench.running.runner.first_look", lambda session, folder, warn: None)
        for content, at in ((_STUDY, folder), (with_classes, other / "run")):
            study = Study.model_validate(content)
            assert run_study(study, Session.load(study), RunFolder(at), False, Mock()).failed == 0
    found = {(CELLS, name) for name in CellRecord.model_fields}
    found |= {(PUBLISHED, each.name) for each in fields(Comparison)} | {(PUBLISHED, "difference")}
    auto = guided("auto[scale=2,model=weak]")
    clip = {"clip_model": "tiny", "clip_sha256": "5e" * 32, "prompts_sha256": "6f" * 32, "clip_score": 31.5}
    auto |= clip  # which is measured of models that take prompts, by files that are not here
    auto |= {"decode_batch": 8, "decode_s": [0.5]}  # of latent models
    both = [auto, auto | in_mode("bf16") | {"id": "b" * 16}]
    guidance = write_run(old / "guidance", both, modes=["fp32", "bf16"])
    for each in (folder, other / "run", write_run(old / "quick", QUICK), guidance):
        summary = summarise([each])
        found |= {(CELLS, str(name)) for name in summary.cells}
        found |= {(TABLE, str(name)) for name in summary.table if name != PAIRS}
        costs = [cost for section in summary.sections for cost in section.modes]
        found |= {(MODES, str(name)) for name in modes_frame(costs)}
    for file in (CELLS, TABLE, MODES):
        for path in _PUBLISHED.glob(f"*/{file}.csv"):
            found |= {(file, name) for name in _header(path)}
    return found


def test_every_column_is_explained_and_stands_where_the_list_says(written: set[tuple[str, str]]) -> None:
    assert sorted((file, name) for file, name in written if meaning_of(name, file) is None) == []


def test_nothing_is_explained_that_nobody_writes(written: set[tuple[str, str]]) -> None:
    met = {(file, each.name) for file, name in written if (each := meaning_of(name, file)) is not None}
    inception = {(CELLS, "fid"), (TABLE, "fid")}  # which takes 50,000 images
    assert {(file, each.name) for each in columns() for file in each.files} - met == inception


def test_the_list_has_a_line_for_each_and_a_pattern_never_hides_a_name() -> None:
    found = rows("columns")
    assert [*found[0]] == ["column", "in", "unit", "meaning"]
    assert len({row["column"] for row in found}) == len(found)
    for each in columns():
        assert each.meaning.endswith(".")
        if "<" not in each.name:
            assert all(meaning_of(each.name, file) == each for file in each.files)


def test_several_runs_are_read_as_the_readme_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (_ROOT / "results" / "README.md").read_text(), re.DOTALL)
    for name in ("a", "b"):
        write_report([write_run(tmp_path / "results" / name, QUICK)], ["parquet"])
    monkeypatch.chdir(tmp_path)
    said: dict[str, pd.DataFrame] = {}
    exec(code, said)
    assert {*said["table"]["run"]} == {"a", "b"}
