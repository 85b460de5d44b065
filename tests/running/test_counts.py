"""Evaluations are counted at the network, in every call that is timed: none is faster for having evaluated less."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from hoards import HOARD, GoesRound, Hoards
from quiet import Quiet
from tape import Tape
from torch import Tensor

from bench.cli import run
from bench.conformance.suite import CHECKS, run_check
from bench.quality.images import BadSamples, check_samples
from bench.record import RunFolder
from bench.running.fit import Fits
from bench.running.resolve import resolve
from bench.running.rounds import Rounds, Setting, in_rounds, require_count
from bench.running.runner import Outcome, run_study
from bench.running.session import Session
from bench.running.trajectory import WrongCount
from bench.study.file import parse_study
from bench.study.overrides import Overrides
from bench.study.plan import plan
from bench.timing.clock import Stopwatch
from bench.timing.cost import Times, Work
from bench.timing.monitor import monitor_of
from models.denoiser import Denoiser
from models.networks.modes import Mode
from models.networks.network import counted
from models.schedule import DiscreteVP, Level
from samplers import Noise, Sampler, register
from samplers.ddim import DDIM

_STUDY = """
name = "test"
title = "Test"
model = "digits-mixture"
metrics = ["law"]
images = 20
batch = 8
timing = { repeats = 3, seconds = 0.0 }
device = "cpu"
baseline = { sampler = "ddpm", grid = "trailing", steps = 3 }
[[block]]
samplers = ["SAMPLER", "ddim"]
grids = ["trailing"]
steps = [3]
"""
_COUNT = "evaluates the network as often as it declares"
_CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def hoards(registered: None) -> None:
    register("hoards")(Hoards)
    register("goes-round")(GoesRound)
    HOARD.clear()


def _run(path: Path, sampler: str, timing: str = "repeats = 3") -> tuple[Outcome, pd.DataFrame]:
    text = _STUDY.replace("SAMPLER", sampler).replace("repeats = 3", timing)
    study, folder = parse_study(text, "test", Overrides()), RunFolder(path)
    outcome = run_study(study, Session.load(study), folder, force=False, progress=Quiet())
    return outcome, folder.load().set_index("sampler")


@pytest.mark.parametrize("spec", ["hoards", "hoards[claims=true]", "hoards[declares=false]"])
def test_a_sampler_that_keeps_its_results_has_images_and_no_time(tmp_path: Path, spec: str) -> None:
    outcome, frame = _run(tmp_path, spec)
    assert outcome == Outcome(measured=3, untimed=1)
    row = frame.loc[spec]
    assert row["nfe"] == 3
    assert not row["timing_valid"]
    said = f"timing failed: WrongCount: {spec} made 0 evaluations an image in a timed call of 8 images, but 3 when"
    assert said in row["timing_note"]
    assert frame.loc["ddim", "timing_rounds"] == 3
    assert pd.isna(row["latency_s_median"])


def test_a_sampler_that_keeps_results_of_some_batches_only_has_no_time_either(tmp_path: Path) -> None:
    outcome, frame = _run(tmp_path, "hoards[batches=2]", "batches = [2], repeats = 3")
    assert outcome == Outcome(measured=3, untimed=1)
    said = "WrongCount: hoards[batches=2] made 0 evaluations an image in a timed call of 2 images"
    assert said in frame.loc["hoards[batches=2]", "timing_note"]  # type: ignore[operator]


def test_adaptive_steps_are_compared_with_what_the_same_images_took(tmp_path: Path) -> None:
    spec = "rk45"
    outcome, frame = _run(tmp_path, spec, "batches = [3], repeats = 2")
    assert outcome == Outcome(measured=3)
    assert frame.loc[spec, "timing_rounds"] == 2
    first = frame["nfe_first_batch"]
    assert float(first[spec]) == float(frame["nfe"][spec])  # every image takes as many here
    assert first[["ddpm", "ddim"]].isna().all()


@pytest.mark.parametrize(
    "spec", ["hoards[blind=true]", "hoards[declares=false,blind=true]", "hoards[blind=true,least=true]"]
)
def test_images_that_come_out_of_another_cell_fail_theirs(tmp_path: Path, spec: str) -> None:
    """Else they would lead every ranking by evaluations, with none at all."""
    assert _run(tmp_path / "first", "hoards", "repeats = 0")[0] == Outcome(measured=3)
    HOARD.update({(levels, images, b""): kept for (levels, images, _), kept in list(HOARD.items())})
    outcome, frame = _run(tmp_path / "second", spec)
    assert outcome == Outcome(measured=2, failed=1)
    least = 1 if "declares" in spec or "least" in spec else 3
    said = f"WrongCount: {spec} made 0 evaluations an image, of which there have to be {least} or more"
    assert str(frame.loc[spec, "error"]).startswith(said)


@pytest.mark.parametrize(
    ("first", "batch", "made", "fits"),
    [
        (None, 8, 40.0, True),
        (None, 2, 40.0, True),
        (None, 8, 40.125, False),
        (50.0, 8, 50.0, True),
        (50.0, 8, 48.0, True),  # one step more or less, by round-off
        (50.0, 8, 40.0, False),
        (50.0, 2, 30.0, True),  # other images
        (50.0, 2, 10.0, False),
    ],
)
def test_counts_differ_as_far_as_steps_are_chosen(first: float | None, batch: int, made: float, fits: bool) -> None:
    cell: Any = SimpleNamespace(cell=SimpleNamespace(sampler="mine"))
    setting = Setting(cell, {"nfe": 40.0, "nfe_first_batch": first}, Times(8))
    with nullcontext() if fits else pytest.raises(WrongCount, match=f"mine made {made:g} evaluations an image"):
        require_count(setting, batch, made)


def test_a_run_with_a_timing_that_failed_has_exit_status_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "report_runs", lambda *_: 0)
    study = tmp_path / "study.toml"
    for sampler, status in (("hoards", 1), ("ddim[eta=0.5]", 0)):
        study.write_text(_STUDY.replace("SAMPLER", sampler))
        folder = tmp_path / f"status-{status}"
        assert run.run_and_report(str(study), Overrides(), folder, force=False, dry_run=False) == status


@pytest.mark.parametrize(
    ("sampler", "made"), [(GoesRound(), 3), (Hoards(claims=True, blind=True), 0)], ids=["goes-round", "claims"]
)
def test_the_suite_counts_at_the_network_and_believes_no_attribute(sampler: Sampler, made: int) -> None:
    (check,) = (check for check in CHECKS if check.name == _COUNT)
    run_check(check, sampler)  # it keeps results now
    result = run_check(check, sampler)
    assert result.outcome == "failed"
    assert f"1 steps on trailing: declares 1 evaluation, makes {made}" in result.detail


def test_a_run_counts_what_goes_round_the_denoiser(tmp_path: Path) -> None:
    _, frame = _run(tmp_path, "goes-round", "repeats = 0")
    assert frame.loc["goes-round", "nfe"] == 9
    assert frame.loc["goes-round", "note"] == "the sampler declares 3 evaluations an image, but made 9"


@pytest.mark.parametrize(("spec", "failed"), [("ddim", False), ("hoards[blind=true]", True)])
def test_evaluations_of_a_replay_are_those_that_were_captured(tmp_path: Path, spec: str, failed: bool) -> None:
    """What is kept from the calls before the capture is not in it; a call that is not captured keeps it as well."""
    session = Session.load(parse_study(_STUDY.replace("SAMPLER", "ddim"), "test", Overrides()))
    cell = resolve(replace(plan(session.study)[0], sampler=spec), session)
    cell = replace(cell, model=replace(cell.model, mode=Mode(graph=True)))
    setting = Setting(cell, {"nfe": 3.0, "captured": True}, Times(8))
    work: Any = lambda resolved: Work()  # noqa: E731
    rounds = Rounds(session, Tape, monitor_of(_CPU), Stopwatch(_CPU), work, Fits(tmp_path, session))
    in_rounds([setting], session.study.timing.repeats, rounds.visit, lambda *_: None)
    assert setting.failed == failed
    if failed:
        assert "made 0 evaluations an image in a timed call of 8 images" in setting.columns["timing_note"]


@dataclass(frozen=True)
class Folds(DDIM):
    """Asks about four images as one of twice the height and width."""

    def nfe(self, levels: Sequence[Level]) -> int:
        return (len(levels) - 1) // 4

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        eps = model(x.reshape(len(x) // 4, 1, 2 * x.shape[2], -1), t).eps.reshape(x.shape)
        return s.alpha / t.alpha * (x - t.sigma * eps) + s.sigma * eps


def test_a_network_is_asked_about_images_of_its_own_shape_only(tmp_path: Path) -> None:
    """One of convolutions takes others, of which four in one would be counted as one."""
    register("folds")(Folds)
    text = _STUDY.replace("digits-mixture", "digits").replace('["law"]', '["solver_error"]\nsolver_images = 1')
    text = text.replace('["SAMPLER", "ddim"]', '["folds"]').replace("[3]", "[8]").replace("ddpm", "folds")
    text = text.replace("repeats = 3", "repeats = 0").replace("steps = 3", "steps = 8")
    study, folder = parse_study(text, "test", Overrides()), RunFolder(tmp_path)
    assert run_study(study, Session.load(study), folder, force=False, progress=Quiet()).failed == 1
    assert "the network was asked about states of shape (1, 16, 16); expected (1, 8, 8)" in folder.load()["error"][0]


class Many(Tensor):
    """One image that says that it is many."""

    @property
    def shape(self) -> torch.Size:  # type: ignore[override]
        return torch.Size((100, *super().shape[1:]))


def test_no_tensor_is_taken_at_its_word() -> None:
    evaluate, evaluated = counted(lambda x, at: x)
    at = DiscreteVP.linear().level(1.0)
    with pytest.raises(TypeError, match=r"the network was asked about a Many; expected a torch\.Tensor"):
        evaluate(torch.zeros(1, 1, 2, 2).as_subclass(Many), at)
    assert evaluated() == 0
    with pytest.raises(BadSamples, match="the sampler returned a Many"):
        check_samples(torch.zeros(1, 1, 2, 2).as_subclass(Many), (100, 1, 2, 2), torch.float32)


@dataclass(frozen=True)
class Noisy(DDIM):
    """Draws noise, and says that it does not."""

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        return super().step(model, x, t, s, noise) + s.sigma * noise(x)


def test_a_sampler_that_says_that_it_is_deterministic_draws_no_noise(tmp_path: Path) -> None:
    """Its distance from the exact flow would mean nothing."""
    register("noisy")(Noisy)
    outcome, frame = _run(tmp_path, "noisy", "repeats = 0")
    assert (outcome.measured, outcome.failed) == (2, 1)
    said = "WrongNoise: noisy says that it is not stochastic, but draws noise"
    assert str(frame.loc["noisy", "error"]).startswith(said)


@dataclass(frozen=True)
class Remembers(DDIM):
    """Adams-Bashforth whose history is not its call's but its own: a batch begins with that of the last one."""

    past: list[Any] = field(default_factory=list)

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        self.past.append(model(x, t).eps)
        now: Tensor = self.past[-1]
        before: Tensor = self.past[-2:][0]
        eps = 1.5 * now - 0.5 * before if now.shape == before.shape else now
        return s.alpha / t.alpha * (x - t.sigma * eps) + s.sigma * eps


def test_a_sampler_that_keeps_its_history_from_one_batch_to_the_next_is_named(tmp_path: Path) -> None:
    register("remembers")(Remembers)
    outcome, frame = _run(tmp_path, "remembers", "repeats = 0")
    assert (outcome.measured, outcome.failed) == (2, 1)
    said = "its own past; it was put back: a sampler has to leave it as it was"
    assert list(frame["error"].dropna()) == [f"Impure: remembers[past=[]] changed {said}"]


@dataclass(frozen=True)
class Derives(DDIM):
    """Asks the network for more than its output.

    Attributes:
        how: "vmap" asks about three states at once, "backward" and "forward" for a derivative.
    """

    how: str = ""

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        with torch.inference_mode(mode=False), torch.enable_grad():
            if self.how == "vmap":
                torch.func.vmap(lambda each: model(each, t).x0)(torch.stack([x, x + 0.1, x - 0.1]))
            elif self.how == "backward":
                y = x.clone().requires_grad_()
                torch.autograd.grad(model(y, t).x0.sum(), y)
            else:
                torch.func.jvp(lambda each: model(each, t).x0, (x.clone(),), (torch.ones_like(x),))
        return super().step(model, x, t, s, noise)


@pytest.mark.parametrize(("how", "nfe"), [("vmap", 12), ("backward", 6), ("forward", 6)])
def test_all_that_vmap_evaluates_is_counted_and_that_derivatives_were_taken_is_noted(
    tmp_path: Path, how: str, nfe: int
) -> None:
    register("derives")(Derives)
    outcome, frame = _run(tmp_path, f"derives[how={how}]", "repeats = 0")
    assert outcome == Outcome(measured=3)
    row = frame.loc[f"derives[how={how}]"]
    assert row["nfe"] == nfe
    assert ("the network's derivatives are taken" in str(row["note"])) == (how != "vmap")
    assert "derivatives" not in str(frame.loc["ddim", "note"])
