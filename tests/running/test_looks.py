"""Images that grow from look to look: what is kept between looks, and that nothing tells a run that was killed."""

import json
import re
import shutil
import time
from pathlib import Path

import pytest
from forks import forked
from quiet import Quiet
from studies import study_toml

from bench.record import RunFolder
from bench.report.data.looks import decided
from bench.running.deadline import Deadline
from bench.running.runner import Outcome, run_study
from bench.running.session import Session
from bench.study.file import parse_study
from bench.study.overrides import Overrides
from bench.study.plan import looks
from bench.study.study import Study
from models.common.errors import UsageError

STUDY = (
    study_toml(
        samplers=["ddpm"],
        steps=[2, 9],
        baseline="ddpm",
        baseline_steps=10,
        images={"from": 40, "to": 160},
        until="decided",
        batch=40,
        metrics=["law", "solver_error"],
        solver_images=48,
        timing={"repeats": 0},
    )
    + '\n[[block]]\nsamplers = ["ddim"]\ngrids = ["trailing"]\nsteps = [3]\n'
)
"""Of a sampler that draws noise, at hardly fewer steps than the baseline: 40 images do not tell them apart."""


def study(**said: object) -> Study:
    return parse_study(STUDY, "test", Overrides(**said) if said else None)  # type: ignore[arg-type]


def run(given: Study, folder: Path, deadline: Deadline | None = None, *, force: bool = False) -> Outcome:
    return run_study(given, Session.load(given), RunFolder(folder), force, Quiet(), deadline=deadline)


def quality(folder: Path) -> dict[tuple[str, int, int], dict[str, object]]:
    """What was measured of every cell, by sampler, steps and images."""
    found = {}
    for path in sorted((folder / "cells").glob("*.json")):
        record = json.loads(path.read_text())
        kept = {k: v for k, v in record.items() if k.startswith(("law_", "solver", "nfe"))}
        found[record["sampler"], record["steps"], record["images"]] = kept
    return found


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grown")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.running.runner.first_look", lambda session, folder, warn: None)
        patch.setattr("bench.running.solution.STEPS", 2)
        patch.setattr("bench.running.session.Session.warm_up", lambda session: None)
        run(study(), folder)
    return folder


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ("1000", [1000]),
        ("{ from = 250, to = 1000 }", [250, 500, 1000]),
        ("{ from = 16, to = 100 }", [20, 40, 70, 100]),
        ("{ from = 1000, to = 50000 }", [1000, 2000, 4000, 8000, 16000, 32000, 50000]),
        ("50000", [3130, 6250, 12500, 25000, 50000]),
        ("{ from = 64, to = 64 }", [64]),
    ],
)
def test_looks_double_in_whole_tens_up_to_the_most(images: str, expected: list[int]) -> None:
    given = parse_study(STUDY.replace("{ from = 40, to = 160 }", images), "test")
    assert STUDY.count("{ from = 40, to = 160 }") == 1
    assert looks(given) == expected


@pytest.mark.parametrize(("key", "meant"), [("form", "from"), ("too", "to")])
def test_the_keys_of_growing_images_are_named_as_a_study_spells_them(key: str, meant: str) -> None:
    said = f"images.{key}: unknown key '{key}'. Did you mean '{meant}'? There is: from, to."
    with pytest.raises(UsageError, match=re.escape(said)):
        parse_study(STUDY.replace("to = 160", f"to = 160, {key} = 2"), "test")


def test_a_run_that_ended_after_a_look_compares_as_many_images_with_the_solution_as_its_study_says_now(
    grown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was kept of the look before holds fewer, and the next ones are others than those that the solution is of."""
    monkeypatch.setattr("bench.running.runner.first_look", lambda session, folder, warn: None)
    monkeypatch.setattr("bench.running.solution.STEPS", 2)
    with monkeypatch.context() as ended:
        ended.setattr("bench.running.runner._Run._left", lambda run, number: {})
        run(study().model_copy(update={"solver_images": 20}), tmp_path)
    run(study(), tmp_path)
    expected, found = quality(grown), dict[tuple[str, int, int], object]()
    for path in (tmp_path / "cells").glob("*.json"):
        record = json.loads(path.read_text())
        if record.get("solver_rmse") and record["solver_images"] == 40:
            found[record["sampler"], record["steps"], record["images"]] = record["solver_rmse"]
    errors = {key: values["solver_rmse"] for key, values in expected.items() if values.get("solver_rmse")}
    assert errors
    assert found == pytest.approx(errors, rel=1e-9)


@pytest.mark.parametrize("images", [40, 80, 160])
def test_what_has_grown_is_what_is_made_at_once(
    images: int, grown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.running.solution.STEPS", 2)
    plain = parse_study(STUDY.replace('until = "decided"', ""), "test", Overrides(images=images))
    # of the flow's solution as many images are compared as the first look has
    run(plain.model_copy(update={"solver_images": 40}), tmp_path)
    once = quality(tmp_path)
    there = {key: found for key, found in quality(grown).items() if key[2] == images}
    assert there
    for key, found in there.items():
        assert found.keys() == once[key].keys()
        for name, value in found.items():
            assert value == once[key][name] or value == pytest.approx(once[key][name], rel=1e-9), (key, name)


def test_a_run_ends_when_its_answer_is_decided_and_says_who_was_left_out(grown: Path) -> None:
    found = decided(grown)
    assert found.done >= 1
    stopped = {(each.row["sampler"], each.row["steps"], each.row["images"]) for each in found.out.values()}
    most = dict[tuple[str, int], int]()
    for sampler, steps, images in quality(grown):
        most[sampler, steps] = max(images, most.get((sampler, steps), 0))
    assert all(most[sampler, steps] == images for sampler, steps, images in stopped)
    assert ("ddpm", 2, 40) in stopped
    assert found.images > 40


def test_the_same_command_makes_nothing_again(grown: Path) -> None:
    before = quality(grown)
    assert run(study(), grown) == Outcome(kept=len(before))
    assert quality(grown) == before


def test_a_kept_part_that_is_lost_or_damaged_is_made_again(
    grown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tmp_path / "run"
    shutil.copytree(grown, first)
    before = quality(first)
    last = {key: path for key, path in _records(first).items() if key[2] == max(each[2] for each in before)}
    assert last
    for path in last.values():
        path.unlink()
    for n, kept in enumerate(sorted((first / "growing").iterdir())):
        if n % 2:
            kept.unlink()
        else:
            kept.write_bytes(kept.read_bytes()[:-9] + b"\x00" * 9)
    monkeypatch.setattr("bench.running.solution.STEPS", 2)
    run(study(), first)
    after = quality(first)
    assert after.keys() == before.keys()
    for key, found in after.items():
        assert found["law_fd"] == pytest.approx(before[key]["law_fd"], rel=1e-6)


def _records(folder: Path) -> dict[tuple[str, int, int], Path]:
    found = {}
    for path in (folder / "cells").glob("*.json"):
        record = json.loads(path.read_text())
        found[record["sampler"], record["steps"], record["images"]] = path
    return found


def test_a_run_that_is_killed_goes_on_with_the_same_decisions_and_numbers(
    grown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in its first look, and in its second."""
    folder = tmp_path / "run"
    monkeypatch.setattr("bench.running.solution.STEPS", 2)
    for wanted in (2, 5):
        with forked(lambda: run(study(), folder)) as ended:
            while not ended() and len(list((folder / "cells").glob("*.json"))) < wanted:
                time.sleep(0.005)
    run(study(), folder)
    assert quality(folder) == quality(grown)
    ours, theirs = decided(folder), decided(grown)
    assert (ours.decided, ours.images, ours.winner) == (theirs.decided, theirs.images, theirs.winner)
    assert ours.left == theirs.left
    assert {key: each.reason for key, each in ours.out.items()} == {k: each.reason for k, each in theirs.out.items()}
