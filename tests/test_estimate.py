"""Estimates before a run: every evaluation that it will make is counted, the repeated ones too."""

import pytest

from bench.estimate import estimate
from bench.rig import Rig
from bench.study_file import Overrides, parse_study

_STUDY = """
name = "test"
title = "Test"
model = "digits"
images = 40
batch = 16
repeats = 3
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
    monkeypatch.setattr("bench.estimate._CALIBRATION_S", 0.01)


def test_every_evaluation_is_counted_and_takes_the_time_that_was_measured() -> None:
    rig = Rig.load(parse_study(_STUDY, "test", Overrides()))
    found = estimate(rig)
    assert [nfe for _, nfe in found.cells] == [6, 3, 5, 1]
    drawn = 40 + 16  # two full batches of 16, one of 8, and one full batch again: three repeats
    assert found.evaluations == drawn * (6 + 3 + 5 + 1)
    sampling = drawn * (14 * found.seconds_an_evaluation["digits"] + found.seconds_an_evaluation["digits-vae"])
    assert sampling < found.seconds < 100 * sampling  # features come on top


def test_without_metrics_on_features_there_is_nothing_to_extract() -> None:
    rig = Rig.load(parse_study(_STUDY.replace('["fd"]', '["solver_error"]'), "test", Overrides()))
    found = estimate(rig)
    sampling = 56 * (14 * found.seconds_an_evaluation["digits"] + found.seconds_an_evaluation["digits-vae"])
    assert abs(found.seconds / sampling - 1) < 1e-9
    assert rig.extractor is None
