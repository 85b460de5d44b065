"""How a network is executed: compiling it is no sampler's doing, and executing it otherwise than its mode says is."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from poisoned_runs import run_of, study_of
from quiet import Quiet
from torch import Tensor

from bench.conformance.suite import CHECKS, run_check
from bench.purity.unchanged import ProcessState
from bench.record import RunFolder
from bench.running.runner import Outcome, run_study
from bench.running.session import Session
from models.denoiser import Denoiser
from models.networks.modes import Mode
from models.schedule import Level
from samplers import Noise, register
from samplers.ddim import DDIM


def test_compiling_the_network_is_no_sampler_s_doing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands for a compiled network changes the process at the first evaluation of every size of batch."""
    seen = set[int]()

    def compiles(self: Session, model: object, batch: int | None = None, *, labelled: bool = True) -> float:
        seen.add(batch or self.batch)
        return 0.0

    def evaluates(x: Tensor, at: Level) -> Tensor:
        if len(x) not in seen:
            os.environ["COMPILED"] = str(len(x))
        return 0.5 * x

    monkeypatch.setattr(Session, "first_evaluation_s", compiles)
    study = study_of(["ddim"], "digits", repeats=1, batches=[2])
    session, folder = Session.load(study), RunFolder(tmp_path)
    compiled = {key: replace(each, network=evaluates, mode=Mode(compile=True)) for key, each in session.models.items()}
    session = replace(session, models=compiled, subject=next(iter(compiled.values())))
    outcome = run_study(study, session, folder, force=False, progress=Quiet())
    assert outcome == Outcome(measured=2)
    assert seen == {8, 2}


@dataclass(frozen=True)
class InHalf(DDIM):
    """Has the network run in another precision than its mode says, and leaves nothing behind."""

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().step(model, x, t, s, noise)


@dataclass(frozen=True)
class OnTwo(DDIM):
    """Has the network run on more threads than its row says."""

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        x = super().step(model, x, t, s, noise)
        torch.set_num_threads(before)
        return x


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (InHalf, "evaluates the network with autocast changed from [] to ['cpu']"),
        (OnTwo, "evaluates the network with the number of threads changed from 1 to 2"),
    ],
)
def test_a_network_that_a_sampler_has_executed_otherwise_than_its_mode_says_fails_its_cell_and_the_suite(
    registered: None, tmp_path: Path, kind: type[DDIM], said: str
) -> None:
    register("other-mode")(kind)
    before = ProcessState()
    _, frame = run_of(tmp_path, ["other-mode", "heun"], "digits")
    assert str(frame.loc["other-mode", "error"]).startswith(f"Impure: other-mode {said}")
    assert frame.loc["heun", "status"] == "ok"
    assert said in run_check(CHECKS[1], kind()).detail
    before.put_back()
