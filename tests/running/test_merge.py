"""Run folders joined: a union of records, whatever they are of, and nothing that contradicts itself."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Cli
from report_records import BASELINE, QUICK, failed, record, study, terminal, write_preview, write_run

from bench.model_record import FIRST_LOOK, Floors, Look, ModelLook, read_look, write_kept
from bench.record import MANIFEST, Record, RunFolder
from bench.report import summarise
from bench.report.page import page
from bench.report.tables.markup import markdown
from bench.report.tables.tex import latex
from bench.running.merge import Joined, merge
from models.common.errors import UsageError

_BASE, _DDIM, _HEUN = record(*BASELINE), record("ddim"), record("heun")


def _part(folder: Path, own: Sequence[Record], listed: Sequence[Record] = QUICK, **changes: Any) -> Path:
    """A run of some of the cells that its study has."""
    run = write_run(folder, own)
    RunFolder(run).write_manifest(study() | changes, [each["id"] for each in listed])
    return run


def _timed(each: Record, rounds: int) -> Record:
    """A record with times of so many rounds, a call each."""
    more = {"latency_s": [0.1 + n / 1000 for n in range(rounds)], "network_s": [0.1] * rounds, "timing_rounds": rounds}
    return each | more | {"timing_calls": [1] * rounds, "timing_watches": [{}] * rounds}


def _only(run: Path) -> Record:
    (found,) = RunFolder(run).records()
    return found


def test_the_report_of_joined_parts_is_that_of_the_whole_run(tmp_path: Path) -> None:
    whole = _part(tmp_path / "whole" / "run", QUICK)
    parts = [_part(tmp_path / str(n), QUICK[n::3]) for n in range(3)]
    out = tmp_path / "joined" / "run"
    assert merge(parts, out) == Joined(len(QUICK), 1, 0)
    assert RunFolder(out).manifest() == RunFolder(whole).manifest()
    assert RunFolder(out).records() == RunFolder(whole).records()
    ours, theirs = summarise([out]), summarise([whole])
    for render in (markdown, latex, lambda each: page(each, {}, {})):
        assert render(ours) == render(theirs)
    assert terminal([out]) == terminal([whole])


def test_what_a_missing_part_would_have_is_missing(tmp_path: Path) -> None:
    parts = [_part(tmp_path / str(n), QUICK[n::3]) for n in (1, 2)]
    assert merge(parts, tmp_path / "run") == Joined(9, 1, 5)
    summary = summarise([tmp_path / "run"])
    assert summary.missing == 5
    assert {answer.sentence for answer in summary.answers} == {
        "No answer: the baseline (ddpm on trailing at 200 steps) was not measured."
    }
    assert "Not measured yet: 5 cells" in markdown(summary)
    assert "was not measured" in latex(summary)
    assert "was not measured" in page(summary, {}, {})


def test_seeds_of_one_study_are_joined_into_rows_of_several(tmp_path: Path) -> None:
    cells = [[record(*BASELINE, seed=n), record(steps=200, seed=n), record(seed=n)] for n in (0, 1)]
    runs = [_part(tmp_path / str(n), each, each, seeds=[n]) for n, each in enumerate(cells)]
    merge(runs, tmp_path / "run")
    manifest = RunFolder(tmp_path / "run").manifest()
    assert manifest["study"]["seeds"] == [0, 1]
    first, second = ([each["id"] for each in own] for own in cells)
    assert manifest["cells"] == [first[0], second[0], *first[1:], *second[1:]]
    table = summarise([tmp_path / "run"]).table
    assert list(table["seeds"]) == [2, 2, 2]
    assert list(table["baseline"]) == [True, False, False]


def test_a_setting_of_as_many_steps_does_not_pass_for_a_baseline_that_one_run_lacks(tmp_path: Path) -> None:
    cells = [[record(*BASELINE, seed=n), record(steps=200, seed=n)] for n in (0, 1)]
    lacking = _part(tmp_path / "0", cells[0][1:], cells[0], seeds=[0])
    merge([lacking, _part(tmp_path / "1", cells[1], cells[1], seeds=[1])], tmp_path / "run")
    table = summarise([tmp_path / "run"]).table
    assert dict(zip(table["sampler"], table["baseline"], strict=True)) == {"ddpm": True, "ddim": False}


def test_cells_of_two_machines_stay_apart_and_their_times_are_not_compared(tmp_path: Path) -> None:
    cells = [[record(*BASELINE, device_name=name), record(device_name=name)] for name in ("A", "B")]
    runs = [_part(tmp_path / name, own, own, device=name) for name, own in zip("ab", cells, strict=True)]
    assert merge(runs, tmp_path / "run") == Joined(4, 0, 0)
    summary = summarise([tmp_path / "run"])
    assert list(summary.table["device_name"]) == ["A", "B", "A", "B"]
    assert [answer.sentence.partition(",")[0] for answer in summary.answers] == ["A", "B"]
    assert all(answer.baseline is not None for answer in summary.answers)


def test_a_result_wins_over_a_failure_with_its_picture_and_without_its_traceback(tmp_path: Path) -> None:
    good = record("heun", steps=5)
    runs = [_part(tmp_path / "bad", [failed()], [good]), _part(tmp_path / "good", [good], [good])]
    RunFolder(runs[0]).traceback(good["id"]).write_text("a traceback")
    write_preview(runs[1], good, [np.zeros((8, 8, 3), np.uint8)])
    for n, order in enumerate((runs, runs[::-1])):
        assert merge(order, tmp_path / str(n)) == Joined(1, 0, 0)
        assert _only(tmp_path / str(n)) == _only(runs[1])
        assert [path.name for path in sorted((tmp_path / str(n) / "cells").glob("*.*"))] == [
            f"{good['id']}.json",
            f"{good['id']}.png",
        ]
    merge(runs[:1], tmp_path / "alone")
    assert RunFolder(tmp_path / "alone").traceback(good["id"]).read_text() == "a traceback"


@pytest.mark.parametrize(("rounds", "kept"), [((2, 4), 1), ((4, 2), 0), ((3, 3), 0), ((0, 1), 1)])
def test_of_two_results_that_with_more_rounds_of_timing_is_kept(
    tmp_path: Path, rounds: tuple[int, int], kept: int
) -> None:
    cells = [(_timed(_DDIM, n) if n else _DDIM) | {"command": str(place)} for place, n in enumerate(rounds)]
    merge([_part(tmp_path / str(n), [each], [each]) for n, each in enumerate(cells)], tmp_path / "run")
    assert _only(tmp_path / "run") == cells[kept]


_LEFT_OUT = [float(n) for n in range(1, 11)]


@pytest.mark.parametrize(
    ("column", "one", "other"),
    [
        ("fd_digits", 2.0, 2.0001),
        ("fd_digits", 2.0, None),
        ("fd_digits_left_out", _LEFT_OUT, [*_LEFT_OUT[:9], 11.0]),
        ("fd_digits_left_out", _LEFT_OUT, None),
        ("kid_std", 0.1, 0.2),
        ("recall", 0.5, 0.6),
        ("solver_rmse", 0.0, 1e-9),
        ("nfe", 10.0, 10.5),
        ("calls", 10.0, 9.0),
        ("nfe_declared", 10, 9),
    ],
)
def test_two_results_of_a_cell_that_are_not_the_same_are_refused(
    tmp_path: Path, column: str, one: object, other: object
) -> None:
    runs = [_part(tmp_path / str(n), [_DDIM | {column: each}], [_DDIM]) for n, each in enumerate((one, other))]
    with pytest.raises(UsageError) as refused:
        merge(runs, tmp_path / "run")
    said = str(refused.value)
    assert f"the cell {_DDIM['id']} (ddim on trailing, 10 steps, seed 0)" in said
    assert f"{column} is {one} in {str(runs[0])!r} and {other} in {str(runs[1])!r}" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("value", "apart"), [(_DDIM["fd_digits"], 5e-7 * _DDIM["fd_digits"]), (1e-9, 4e-10)])
def test_round_off_and_times_are_no_difference(tmp_path: Path, value: float, apart: float) -> None:
    """Near 0 whatever fraction that is, as of a KID."""
    one = _DDIM | {"fd_digits": value}
    other = one | {"fd_digits": value + apart, "latency_s": [9.0], "finished": "later"}
    merge([_part(tmp_path / str(n), [each], [each]) for n, each in enumerate((one, other))], tmp_path / "run")
    assert _only(tmp_path / "run") == one


_BLOCK = study()["block"][0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": 2000}, "images is 1000 in '.*a' and 2000 in '.*b'"),
        ({"name": "other"}, 'name is "quick" in .* and "other" in'),
        ({"block": [_BLOCK | {"steps": [5, 10, 20, 40]}]}, r"block\[0\]\.steps\[3\] is 50 in .* and 40 in"),
        ({"block": [_BLOCK, _BLOCK]}, r"block is \[\{.* and \[\{"),
        ({"label": 3}, "label is null in .* and 3 in"),
    ],
)
def test_runs_of_several_studies_are_refused_by_what_differs(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    runs = [_part(tmp_path / "a", [_DDIM]), _part(tmp_path / "b", [_HEUN], **changes)]
    with pytest.raises(UsageError, match=f"not the same study: {said}.*may differ in seeds, device, threads"):
        merge(runs, tmp_path / "run")


def test_studies_may_differ_in_seeds_device_threads_and_the_batch_that_was_found(tmp_path: Path) -> None:
    runs = [
        _part(tmp_path / "a", [_DDIM], device="cuda:0", batch="auto"),
        _part(tmp_path / "b", [_HEUN], device="cpu", threads=4, seeds=[3], batch="auto"),
    ]
    for run, batch in zip(runs, (64, 128), strict=True):
        manifest = RunFolder(run).manifest()
        RunFolder(run).write_manifest(manifest["study"], manifest["cells"], (), batch)
    merge(runs, tmp_path / "run")
    manifest = RunFolder(tmp_path / "run").manifest()
    assert manifest["study"] == study(seeds=[0, 3], device="cuda:0", batch="auto")
    assert manifest["batch"] == 64


def test_published_values_of_all_runs_are_there_once(tmp_path: Path) -> None:
    entry = {"column": "fd_digits", "value": 3.0, "tolerance": 0.04, "images": 1000, "source": "a paper"}
    entries = [{"cell": each["id"]} | entry for each in (_DDIM, _HEUN)]
    runs = [write_run(tmp_path / str(n) / "quick", [_DDIM, _HEUN], entries[: n + 1]) for n in (0, 1)]
    merge(runs, tmp_path / "run")
    assert RunFolder(tmp_path / "run").manifest()["published"] == entries


def test_a_run_whose_images_grew_is_refused(tmp_path: Path) -> None:
    run = _part(tmp_path / "a", [_DDIM], [_DDIM, _HEUN])
    RunFolder(run).write_manifest(study(), [_DDIM["id"], _HEUN["id"]], looks=[100, 200])
    with pytest.raises(UsageError, match=r"the images of '.*a' grew: .* without --minutes and until"):
        merge([_part(tmp_path / "b", [_DDIM]), run], tmp_path / "run")


def test_a_broken_record_is_named_and_left_out_unless_another_run_has_it(tmp_path: Path) -> None:
    run, other = _part(tmp_path / "a", [_BASE, _DDIM], [_BASE, _DDIM]), _part(tmp_path / "b", [_DDIM], [_BASE, _DDIM])
    path = run / "cells" / f"{_DDIM['id']}.json"
    path.write_text(path.read_text().replace('"steps": 10', '"steps": 11'))
    told = list[str]()
    assert merge([run], tmp_path / "alone", told.append) == Joined(1, 0, 1)
    assert told == [f"{path} is no record (it is not what was written: its digest is another); it is left out"]
    assert merge([run, other], tmp_path / "both", told.append) == Joined(2, 0, 0)
    assert len(told) == 2


def _look(model: str, noise: float) -> Look:
    keys = {"extractor_sha256": "b", "reference_sha256": "c", "noise_images": 100, "real": None, "real_images": None}
    floors = Floors.model_validate({"column": "fd_digits", "noise": noise} | keys)
    seen = {"data": None, "evaluations": 1, "wrong": ["it is upside down"], "architecture_sha256": None}
    return Look(models=[ModelLook.model_validate({"model": model, "model_sha256": model} | seen)], floors=[floors])


def test_what_was_seen_of_models_is_joined_and_equal_entries_are_there_once(tmp_path: Path) -> None:
    looks = [_look("a", 1.0), _look("a", 1.0), _look("b", 2.0)]
    runs = [_part(tmp_path / str(n), [_DDIM]) for n in range(5)]
    for run, look in zip(runs, looks, strict=False):
        write_kept(run / FIRST_LOOK, look)
    (runs[4] / FIRST_LOOK).write_text("{")
    told = list[str]()
    merge(runs, tmp_path / "run", told.append)
    joined, damage = read_look(tmp_path / "run")
    assert damage is None
    assert joined == Look(models=looks[0].models + looks[2].models, floors=looks[0].floors + looks[2].floors)
    assert len(told) == 1
    assert told[0].startswith(f"{runs[4] / FIRST_LOOK} is damaged")
    merge(runs[3:4], tmp_path / "none")
    assert not (tmp_path / "none" / FIRST_LOOK).exists()


def test_what_cannot_be_joined_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    run, out = _part(tmp_path / "a", [_DDIM]), tmp_path / "run"
    for runs, said in {
        (): "no run was given",
        (run, run.parent / "b" / ".." / "a"): "a run was given twice",
        (run, tmp_path): "is not a run folder",
        (run, run / MANIFEST): "is not a run folder",
        (run, tmp_path / "nowhere"): "is not a run folder",
    }.items():
        with pytest.raises(UsageError, match=said):
            merge(runs, out)
    before = run.stat().st_mtime_ns
    for there in (run, run / MANIFEST, tmp_path):
        with pytest.raises(UsageError, match="is there already; merge makes a new run"):
            merge([run], there)
    assert run.stat().st_mtime_ns == before
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_merge_that_is_ended_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _part(tmp_path / "a", [_DDIM])

    def interrupt(folder: RunFolder, *arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "write_manifest", interrupt)
    with pytest.raises(KeyboardInterrupt):
        merge([run], tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_of_two_merges_into_a_folder_at_a_time_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, write = _part(tmp_path / "a", [_DDIM]), RunFolder.write_manifest

    def other_first(folder: RunFolder, *arguments: Any) -> None:
        write(folder, *arguments)
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / MANIFEST).write_text("another's")

    monkeypatch.setattr(RunFolder, "write_manifest", other_first)
    with pytest.raises(OSError, match="not empty"):
        merge([run], tmp_path / "run")
    assert (tmp_path / "run" / MANIFEST).read_text() == "another's"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "run"]


def test_the_command_reports_and_ends_with_status_1_where_a_cell_failed(cli: Cli, tmp_path: Path) -> None:
    runs = [_part(tmp_path / str(n), QUICK[n::2]) for n in (0, 1)]
    said = cli("merge", *runs, "--out", tmp_path / "run", status=1)
    assert f"{len(QUICK)} cells of 2 runs joined, 1 failed, 0 not measured yet" in said.err
    assert "ddpm (baseline" in said.out
    assert (tmp_path / "run" / "index.html").is_file()
    assert json.loads((tmp_path / "run" / MANIFEST).read_text())["cells"] == [each["id"] for each in QUICK]
    assert "is there already" in cli("merge", *runs, "--out", tmp_path / "run", status=2).err
    assert "cannot name a run" in cli("merge", *runs, "--out", tmp_path / "A run", status=2).err
