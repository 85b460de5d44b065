"""What a sampler changes of what all share is put back, its own cell fails by name, and no other row moves."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from poison import CALLS, PROCESS, WEIGHTS, Poison
from poisoned_runs import run_of, study_of
from studies import study_toml

from bench.cli.run import run_and_report
from bench.conformance.suite import CHECKS, run_check
from bench.purity.plugins import load_plugins
from bench.purity.unchanged import ProcessState, other_random_states
from bench.record import RunFolder
from bench.running.estimate import estimate
from bench.running.session import Session
from bench.study.overrides import Overrides
from samplers import SAMPLERS, register
from samplers.registry import load_file

_KINDS = {
    "random": "leaves global random states untouched",
    "torch": "leaves the settings of torch untouched",
    "autograd": "leaves the modes of autograd untouched",
    "process": "leaves the process untouched",
    "weights": "leaves the network untouched",
}
_SAID = {how: (said, kind) for how, (_, said, kind) in PROCESS.items()}
_SAID |= {how: (said, "weights") for how, (_, said) in WEIGHTS.items()}


@pytest.fixture(autouse=True)
def poison(registered: None) -> Iterator[None]:
    """Registers it, and puts back what a test leaves."""
    before = ProcessState()
    register("poison")(Poison)
    CALLS.clear()
    yield
    before.put_back()


def _same_quality(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    columns = ("fd_", "law_", "solver_", "nfe")
    ours, theirs = (each[[name for name in each if str(name).startswith(columns)]] for each in (found, expected))
    assert theirs.notna().all().sum() > 2
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True, check_dtype=False)


def test_what_samplers_leave_behind_moves_no_other_row_and_fails_their_own_by_name(tmp_path: Path) -> None:
    good = ["ddim", "heun", "ddpm[variance=fixed_large]", "dpm++2m"]
    poisons = [f"poison[how={how}]" for how in PROCESS]
    mixed = [good[0], *poisons[:9], good[1], *poisons[9:18], good[2], *poisons[18:], good[3]]
    alone = run_of(tmp_path / "alone", good)[1]
    before = ProcessState()
    outcome, frame = run_of(tmp_path / "mixed", mixed)
    assert before.put_back() == []
    assert (outcome.measured, outcome.failed) == (5, len(poisons))
    _same_quality(frame.loc[alone.index], alone)
    for how in PROCESS:
        error = str(frame.loc[f"poison[how={how}]", "error"])
        assert error.startswith(f"Impure: poison[how={how}] changed ")
        assert _SAID[how][0] in error
        assert "secret" not in error


def test_a_sampler_that_changes_the_weights_fails_and_the_next_one_has_them_as_they_were(tmp_path: Path) -> None:
    hows = ("weights", "half", "train", "hook", "compiled")
    poisons = [f"poison[how={how}]" for how in hows]
    _, frame = run_of(tmp_path / "mixed", [*poisons, "heun"], "digits")
    _, alone = run_of(tmp_path / "alone", ["heun"], "digits")
    _same_quality(frame.loc[alone.index], alone)
    for how in hows:
        said = WEIGHTS[how][1]
        assert f" changed the {said} of digits in fp32: network.unet" in str(frame.loc[f"poison[how={how}]", "error"])


def test_what_a_timed_call_changes_fails_the_timing_of_its_setting_and_of_no_other(tmp_path: Path) -> None:
    late = ["poison[how=threads,after=5]", "poison[how=weights,after=5]"]  # two calls for images, two or three a round
    outcome, frame = run_of(tmp_path, ["ddim", *late, "heun"], "digits", repeats=3)
    assert (outcome.failed, outcome.untimed) == (0, 2)
    for name, said in zip(late, ("the number of threads from 1 to 2", "the weights of digits"), strict=True):
        assert not frame.loc[name, "timing_valid"]
        assert f"timing failed: Impure: {name} changed {said}" in str(frame.loc[name, "timing_note"])
    assert (frame.loc[["ddpm", "ddim", "heun"], "timing_rounds"] == 3).all()
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("how", _SAID)
def test_the_suite_finds_what_a_sampler_leaves_behind(how: str) -> None:
    said, kind = _SAID[how]
    (check,) = (check for check in CHECKS if check.name == _KINDS[kind])
    before = ProcessState()
    result = run_check(check, Poison(how=how))
    assert result.outcome == "failed"
    assert said in result.detail
    assert before.put_back() == []


def test_a_global_random_state_that_an_earlier_check_has_left_is_no_alibi() -> None:
    """Seeding changes nothing where the state is that of the same seed already."""
    torch.manual_seed(0)
    for check in CHECKS[:3]:
        result = run_check(check, Poison(how="seed"))
        assert (result.outcome == "failed") == (check.name == _KINDS["random"])
    expected = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), expected)


def test_no_call_of_the_suite_finds_random_states_that_another_has_left() -> None:
    seen = set()
    for _ in range(3):
        with other_random_states():
            seen.add((float(torch.rand(1)), float(np.random.rand())))
    assert len(seen) == 3


def test_what_a_plugin_file_changes_on_import_is_put_back_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "careless.py"
    path.write_text("import torch\ntorch.set_default_dtype(torch.float64)\ntorch.set_num_threads(2)\n")
    load_plugins([path])
    assert (torch.get_default_dtype(), torch.get_num_threads()) == (torch.float32, 1)
    changed = ("the default dtype from torch.float32 to torch.float64", "the number of threads from 1 to 2")
    assert capsys.readouterr().err.splitlines() == _notes(f"plugin '{path}'", changed)


_CARELESS = """
import os
import random
from dataclasses import dataclass
import torch
from samplers import register
from samplers.ddim import DDIM
torch.set_num_threads(2)
random.seed(0)
os.environ["LEFT_BEHIND"] = "a secret"

@register("NAME")
@dataclass(frozen=True)
class Careless(DDIM):
    def nfe(self, levels):
        torch.set_default_dtype(torch.float64)
        os.environ["LEFT_BEHIND"] = "a secret"
        return super().nfe(levels)
"""
_IMPORTED = (
    "the number of threads from 1 to 2",
    "the global generator of random",
    "environment variables (LEFT_BEHIND)",
)
_ASKED = ("the default dtype from torch.float32 to torch.float64", "environment variables (LEFT_BEHIND)")


def _careless(folder: Path, name: str) -> Path:
    path = folder / "careless.py"
    path.write_text(_CARELESS.replace("NAME", name))
    return path


def _notes(who: str, changed: Sequence[str]) -> list[str]:
    return [f"note: {who} changed {each}; it was put back" for each in changed]


def _left(before: ProcessState) -> list[str]:
    """What was changed, but for the precision of the network's own arithmetic, which every run sets."""
    words = [change.words for change in before.put_back()]
    return [each for each in words if not each.startswith("the precision of float32")]


class _Point(NamedTuple):
    """An entry point of a package that is one file."""

    name: str
    value: str

    def load(self) -> None:
        load_file(Path(self.value))


@pytest.mark.parametrize("installed", [False, True])
def test_all_that_a_plugin_changes_when_it_is_imported_or_asked_for_its_evaluations_is_put_back_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], installed: bool
) -> None:
    name = f"test-careless-{installed}".lower()
    path, study = _careless(tmp_path, name), tmp_path / "study.toml"
    text = study_toml([name], [3], "ddpm", batch=8, timing={"repeats": 0, "seconds": 0.0})
    study.write_text(text.replace("steps = [3]\n", "evaluations = [3]\n"))
    before = ProcessState()
    if installed:
        monkeypatch.setattr("models.plugins.installed.entry_points", lambda group: [_Point(name, str(path))])
    else:
        load_plugins([path])
    status = run_and_report(str(study), Overrides(), tmp_path / "run", force=False, dry_run=False)
    assert _left(before) == []
    assert status == 1
    error = RunFolder(tmp_path / "run").load().set_index("sampler").loc[name, "error"]
    assert str(error).startswith(f"Impure: {name} changed {_ASKED[0]}, and {_ASKED[1]}")
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    who = f"the plugin {str(path)!r}" if installed else f"plugin {str(path)!r}"
    assert said == [*_notes(who, _IMPORTED), *_notes(name, _ASKED)]


def test_what_is_changed_when_a_study_is_estimated_is_put_back_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "test-careless-estimate"
    load_plugins([_careless(tmp_path, name)])
    before = ProcessState()
    found = estimate(Session.load(study_of([name], "digits-mixture", repeats=0)))
    assert [nfe for _, nfe in found.cells] == [3, 3]
    assert _left(before) == []
    assert capsys.readouterr().err.splitlines()[len(_IMPORTED) :] == _notes(name, _ASKED)


def test_the_suite_finds_what_a_sampler_changes_when_it_is_asked_for_its_evaluations(tmp_path: Path) -> None:
    name = "test-careless-check"
    load_plugins([_careless(tmp_path, name)])
    before = ProcessState()
    (result,) = (run_check(check, SAMPLERS.make(name)) for check in CHECKS if "as it declares" in check.name)
    assert result.outcome == "failed"
    assert result.detail.startswith(f"it changed {_ASKED[0]}")
    assert before.put_back() == []
