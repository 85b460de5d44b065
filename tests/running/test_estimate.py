"""Estimates before a run: every evaluation that it will make is counted, the repeated ones too."""

import pytest
import torch

from bench.fitting.flow import solve
from bench.running.estimate import estimate
from bench.running.session import Session
from bench.running.solution import evaluations
from bench.study.file import parse_study
from bench.study.overrides import Overrides
from models.denoiser import Denoiser
from models.networks.network import counted

_STUDY = """
name = "test"
title = "Test"
model = "digits"
images = 40
batch = 16
timing = { repeats = 3, seconds = 0.0 }
device = "cpu"
metrics = ["fd"]
baseline = { sampler = "ddpm", grid = "trailing", steps = 6 }
[[block]]
samplers = ["heun"]
grids = ["trailing"]
steps = [2, 3]
[[block]]
model = "digits-vae"
samplers = ["one-step"]
grids = ["trailing"]
steps = [1]
"""


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A calibration that takes no second: it is the sums that are looked at."""
    monkeypatch.setattr("bench.running.estimate._CALIBRATION_S", 0.01)


def test_every_evaluation_is_counted_and_takes_the_time_that_was_measured() -> None:
    session = Session.load(parse_study(_STUDY, "test", Overrides()))
    found = estimate(session)
    assert [nfe for _, nfe in found.cells] == [6, 3, 5, 1]
    drawn = 40 + 3 * 16  # all images, then three rounds of a full batch
    assert found.evaluations == drawn * (6 + 3 + 5 + 1)
    sampling = drawn * (14 * found.rates["digits"].seconds + found.rates["digits-vae"].seconds)
    assert sampling < found.seconds < 100 * sampling  # features come on top


def test_without_metrics_on_features_there_is_nothing_to_extract() -> None:
    session = Session.load(parse_study(_STUDY.replace('["fd"]', '["solver_error"]'), "test", Overrides()))
    found = estimate(session)
    # heun's two cells share one solution, of all 40 images: 250 and 125 Runge-Kutta steps and the mean at the end
    solution = 40 * (4 * 250 + 4 * 125 + 2)
    assert found.evaluations == 88 * (14 + 1) + solution
    digits, vae = (found.rates[name].seconds for name in ("digits", "digits-vae"))
    assert abs(found.seconds / ((88 * 14 + solution) * digits + 88 * vae) - 1) < 1e-9
    assert session.extractor is None


@pytest.mark.parametrize("metrics", ['["psnr"]', '["solver_error", "psnr"]'])
def test_a_study_may_say_how_many_steps_its_solutions_have(metrics: str) -> None:
    text = _STUDY.replace('["fd"]', metrics).replace("images = 40", "images = 40\nsolver_steps = 20")
    session = Session.load(parse_study(text, "test", Overrides()))
    assert estimate(session).evaluations == 88 * (14 + 1) + 40 * (4 * 20 + 4 * 10 + 2)
    assert session.extractor is None


def test_the_evaluations_of_a_reference_solution_are_those_that_it_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.running.solution.STEPS", 20)
    session = Session.load(parse_study(_STUDY.replace('["fd"]', '["solver_error"]'), "test", Overrides()))
    first, clean, noisy = (session.subject.schedule.level(t) for t in (1.0, 0.0, 0.5))
    for last in (clean, noisy):
        network, evaluated = counted(session.subject.network)
        model = Denoiser(network, session.subject.card.parametrisation, session.subject.schedule)
        with torch.inference_mode():
            for steps in (20, 10):
                solve(model, torch.zeros(1, 1, 8, 8), first, last, steps)
        assert evaluated() == evaluations(last)
