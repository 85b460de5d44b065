"""Parts of a study: joined they are the whole run, and each does its own settings only."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import Cli
from quiet import Quiet
from studies import study_toml

from bench.record import Record, RunFolder
from bench.report.data.runs import TIMES
from bench.running.merge import merge
from bench.running.runner import Outcome, run_study
from bench.running.session import Session
from bench.study.file import parse_study
from bench.study.plan import StudyPart, plan
from models.common.errors import UsageError

_EACH_RUN = {*TIMES, "command", "finished", "load_average_1min", "timing_watches"}
"""Columns that no two runs have alike."""
_TIMED = {"repeats": 2, "seconds": 0.0}
_STUDY = study_toml(("ddim", "heun"), (2, 3, 4), "ddpm", 8, seeds=[0, 1], timing=_TIMED)


def _run(path: Path, part: StudyPart | None = None, toml: str = _STUDY) -> Outcome:
    study = parse_study(toml, "test")
    return run_study(study, replace(Session.load(study), part=part), RunFolder(path), False, Quiet())


def _parts(folder: Path, of: int, toml: str = _STUDY) -> list[Path]:
    """A run folder of each part."""
    paths = [folder / str(n) for n in range(1, of + 1)]
    for n, path in enumerate(paths, 1):
        _run(path, StudyPart(n, of), toml)
    return paths


def _measured(path: Path) -> dict[str, Record]:
    """The records of a run, without what differs from one run to the next."""
    return {
        each["id"]: {key: value for key, value in each.items() if key not in _EACH_RUN}
        for each in RunFolder(path).records()
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:  # as in every test
        patch.setattr("bench.running.session.Session.warm_up", lambda session: None)
        patch.setattr("bench.running.runner.first_look", lambda session, folder, warn: None)
        _run(path := tmp_path_factory.mktemp("whole") / "run")
    return path


def test_three_parts_joined_are_the_whole_run_to_the_last_digit(whole: Path, tmp_path: Path) -> None:
    parts = _parts(tmp_path, 3)
    assert merge(parts, tmp_path / "joined") == (14, 0, 0)
    assert RunFolder(tmp_path / "joined").manifest() == RunFolder(whole).manifest()
    joined, expected = _measured(tmp_path / "joined"), _measured(whole)
    assert list(joined) == list(expected)
    assert joined == expected
    assert all(RunFolder(tmp_path / "joined").preview(cell).is_file() for cell in joined)
    rounds = {each["id"]: each.get("timing_rounds") for each in RunFolder(whole).records()}
    assert {each["id"]: each.get("timing_rounds") for each in RunFolder(tmp_path / "joined").records()} == rounds


def test_a_setting_is_in_one_part_with_all_its_seeds_and_the_baseline_in_the_first(whole: Path, tmp_path: Path) -> None:
    settings: list[Any] = []
    for path in _parts(tmp_path, 3):
        assert RunFolder(path).manifest() == RunFolder(whole).manifest()
        found = [(each["sampler"], each["steps"], each["seed"]) for each in RunFolder(path).records()]
        settings.append([each[:2] for each in found if each[2] == 0])
        assert sorted(found) == sorted((*each, seed) for each in settings[-1] for seed in (0, 1))
    assert settings == [
        [("ddpm", 8), ("ddim", 4), ("heun", 4)],
        [("ddim", 2), ("heun", 2)],
        [("ddim", 3), ("heun", 3)],
    ]


def test_a_part_goes_on_and_the_whole_study_completes_its_folder(tmp_path: Path) -> None:
    path, part = tmp_path / "run", StudyPart(2, 3)
    assert _run(path, part) == Outcome(measured=4)
    assert _run(path, part) == Outcome(kept=4)
    assert _run(path, StudyPart(3, 3)) == Outcome(measured=4)
    assert _run(path) == Outcome(measured=6, kept=8)


def test_what_no_record_tells_apart_is_one_setting_of_one_part(tmp_path: Path) -> None:
    """The exact model has no range to clip to, so that the cells of both blocks are the same."""
    top = study_toml(timing={"repeats": 0}).partition("[[block]]")[0]
    block = '[[block]]\nsamplers = ["ddim"]\ngrids = ["trailing"]\nsteps = [2, 3, 4]\n'
    first, second = _parts(tmp_path, 2, f"{top}{block}{block}clip = false\n")
    cells = [list(_measured(path)) for path in (first, second)]
    assert [len(each) for each in cells] == [2, 1]
    assert not {*cells[0]} & {*cells[1]}


@pytest.mark.parametrize(
    "text", ["0/8", "9/8", "2-8", "2/0", "0/0", "-1/8", "2/8/9", "2", "/8", "", " 2/8", "٢/٨", "a/b"]
)
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected K/N, part K from 1 to N of N parts, such as 2/8"):
        StudyPart.parse(text)


def test_more_parts_than_settings_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--part 1/8: the study has 7 settings, .*; take 7 parts at most"):
        _run(tmp_path / "run", StudyPart(1, 8))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("parts", range(1, 8))
def test_every_setting_is_in_exactly_one_part(parts: int) -> None:
    cells = plan(parse_study(_STUDY, "test"))
    found = [setting for n in range(parts) for setting in StudyPart(n + 1, parts).settings(cells)]
    assert len(found) == 7
    assert {*found} == {cell.setting for cell in cells}
    assert cells[0].setting in StudyPart(1, parts).settings(cells)


@pytest.mark.parametrize("more", [("--minutes", 1), ("--until", "decided"), ("--until", "decided", "--dry-run")])
def test_a_part_of_a_study_whose_images_grow_is_refused(cli: Cli, tmp_path: Path, more: tuple[object, ...]) -> None:
    study = tmp_path / "study.toml"
    study.write_text(_STUDY.replace("images = 16", "images = { from = 20, to = 40 }"))
    said = cli("run", study, "--part", "1/2", *more, "--out", tmp_path / "run", status=2).err
    assert "decided among all of them. Leave out --minutes, or until in the study" in said
    assert not (tmp_path / "run").exists()


def test_a_session_of_a_part_of_such_a_study_is_refused_too(tmp_path: Path) -> None:
    toml = _STUDY.replace("images = 16", 'images = { from = 20, to = 40 }\nuntil = "decided"')
    with pytest.raises(UsageError, match="images grow"):
        _run(tmp_path / "run", StudyPart(1, 2), toml)


def test_a_dry_run_lists_the_cells_of_its_part(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.running.estimate._CALIBRATION_S", 0.01)
    (tmp_path / "study.toml").write_text(_STUDY)
    lines = cli("run", tmp_path / "study.toml", "--part", "2/3", "--dry-run").out.splitlines()
    assert [line.partition(":")[0] for line in lines[:4]] == [
        f"{sampler} on trailing, 2 steps, seed {seed}" for sampler in ("ddim", "heun") for seed in (0, 1)
    ]
    drawn = 2 * (16 + 16) * (2 + 3)  # both seeds' images, then two rounds of a batch
    assert lines[4] == f"4 cells of 16 images: {drawn} network evaluations"


def test_parts_lie_in_folders_of_their_own_and_merge_reports_them(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("study.toml").write_text(study_toml(("heun",), (2,), "ddim", timing={"repeats": 0}))
    said = cli("run", "study.toml", "--part", "2/2")
    assert "No answer: the baseline (ddim on trailing at 2 steps) was not measured" in said.out
    assert "Not measured yet: 1 cell" in Path("results/test-part-2-of-2/table.md").read_text()
    cli("run", "study.toml", "--part", "1/2")
    said = cli("merge", "results/test-part-1-of-2", "results/test-part-2-of-2", "-o", "results/joined")
    assert "2 cells of 2 runs joined, 0 failed, 0 not measured yet" in said.err
    assert "ddim (baseline" in said.out
    assert Path("results/joined/index.html").is_file()
    assert {row["run"]: row["done"] for row in json.loads(cli("list", "runs", "--json").out)} == {
        "results/joined": 2,
        "results/test-part-1-of-2": 1,
        "results/test-part-2-of-2": 1,
    }
