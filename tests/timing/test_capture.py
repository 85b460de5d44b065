"""A sampler is a pure function of tensors and floats, so that its calls can be captured once and replayed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from studies import study_toml
from tape import Tape, noise_of_tensors
from torch import Tensor

from bench.noise.stream import ImageNoise
from bench.running.fit import Fits
from bench.running.resolve import Resolved, resolve
from bench.running.session import Session
from bench.running.trajectory import Trajectory
from bench.study.file import parse_study
from bench.study.overrides import Overrides
from bench.study.plan import plan
from bench.timing.capture import Captured, NotCapturable
from models.denoiser import Denoiser
from models.schedule import Level
from samplers import SAMPLERS, Noise, Sampler

_FIXED = [name for name in SAMPLERS.names() if name not in ("dpm-adaptive", "dpm-solver-v3", "rk45")]
_FIXED += ["dpm-solver-v3[images=16,nodes=8]"]


@pytest.fixture(scope="module")
def session() -> Session:
    return Session.load(parse_study(study_toml(steps=[7], batch=4), "test", Overrides()))


@pytest.fixture(autouse=True)
def words_of_tensors() -> Iterator[None]:
    with noise_of_tensors():
        yield


def _cell(session: Session, sampler: str) -> Resolved:
    cell = resolve(replace(plan(session.study)[0], sampler=sampler), session)
    if not cell.takes_fit:
        return cell
    with TemporaryDirectory() as folder:
        return Fits(Path(folder), session)(cell)[0]


def _draw(trajectory: Trajectory, numbers: Tensor) -> Tensor:
    return trajectory(trajectory.start(numbers))


@pytest.mark.parametrize("name", _FIXED)
def test_a_replayed_trajectory_gives_other_images_as_a_plain_call_does(session: Session, name: str) -> None:
    plain, replayed = Trajectory(session, _cell(session, name), None), Trajectory(session, _cell(session, name), Tape)
    first, other = torch.arange(4), torch.arange(100, 104)
    with torch.inference_mode():
        replayed.prepare(first)
        assert replayed.captured, replayed.refusal
        assert not torch.equal(_draw(replayed, first), _draw(replayed, other))
        for numbers in (other, first):
            torch.testing.assert_close(_draw(replayed, numbers), _draw(plain, numbers), rtol=0.0, atol=1e-5)
    # two draws replayed for the comparison above, and one each here
    assert replayed.evaluations / 4 == plain.evaluations / 2
    assert plain.evaluations == 2 * 4 * (_cell(session, name).sampler.nfe(_cell(session, name).levels) or 0)


@pytest.mark.parametrize("name", ["ddim", "ddpm", "sa-solver"])
def test_a_trajectory_draws_its_noise_from_where_the_start_left_off(session: Session, name: str) -> None:
    cell, numbers = _cell(session, name), torch.arange(4)
    noise, card = ImageNoise(0, numbers), cell.model.card
    x = noise(torch.empty(4, *card.state_shape)) * cell.model.schedule.prior_std(cell.levels[0])
    model = Denoiser(cell.model.network, card.parametrisation, cell.model.schedule, card.clip)
    with torch.inference_mode():
        expected = cell.sampler.sample(model, x, cell.levels, noise)
        assert torch.equal(_draw(Trajectory(session, cell, None), numbers), expected)


def test_adaptive_steps_are_not_captured_and_run_eagerly_with_the_reason(session: Session) -> None:
    cell, numbers = _cell(session, "rk45[rtol=0.1,atol=0.1]"), torch.arange(4)
    trajectory = Trajectory(session, cell, Tape)
    with torch.inference_mode():
        trajectory.prepare(numbers)
        expected = _draw(Trajectory(session, cell, None), numbers)
        torch.testing.assert_close(_draw(trajectory, numbers), expected, rtol=0.0, atol=1e-6)
    assert trajectory.captured is False
    assert trajectory.refusal is not None
    assert "could not be captured in a graph, so that it ran eagerly" in trajectory.refusal


@dataclass(frozen=True)
class _Impure(Sampler):
    """Draws noise of its own, or looks at a number of the state."""

    how: str = "looks"
    paper = "none"
    order = None
    stochastic = True

    def nfe(self, levels: Sequence[Level]) -> int:
        return 1

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        x0 = model(x, levels[0]).x0
        if self.how == "looks":
            return x0 * float(x.mean())
        return x0 + torch.tensor(torch.randn(x.shape).numpy())


@pytest.mark.parametrize("how", ["looks", "draws"])
def test_a_sampler_that_is_not_pure_is_found_out(session: Session, how: str) -> None:
    trajectory = Trajectory(session, replace(_cell(session, "ddim"), sampler=_Impure(how)), Tape)
    with torch.inference_mode():
        trajectory.prepare(torch.arange(4))
    assert trajectory.captured is False
    assert "of the value range away from those of a plain call" in str(trajectory.refusal)


def test_a_replay_writes_into_memory_of_its_own() -> None:
    tape = Tape()
    captured = Captured(lambda x, y: (x * 2.0).add_(y), [torch.ones(3), torch.zeros(3)], tape)
    first = captured(torch.full((3,), 5.0), torch.ones(3))
    second = captured(torch.full((3,), 7.0), torch.ones(3))
    assert (first.tolist(), second.tolist(), tape.replays) == ([11.0] * 3, [15.0] * 3, 2)


def test_what_goes_wrong_in_a_capture_is_told_apart_from_a_lack_of_memory() -> None:
    def fails(error: RuntimeError) -> Any:
        def call(x: Tensor) -> Tensor:
            raise error

        return call

    with pytest.raises(NotCapturable, match="no host copies"):
        Captured(fails(RuntimeError("no host copies\nmore")), [torch.ones(1)], Tape())
    for lack in (torch.OutOfMemoryError("out of memory"), RuntimeError("CUDA error: out of memory")):
        with pytest.raises(type(lack), match="out of memory") as found:
            Captured(fails(lack), [torch.ones(1)], Tape())
        assert not isinstance(found.value, NotCapturable)
