"""Fixtures of several test files: schedules, noise that can be drawn twice, the digits' extractor, pages, a browser."""

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from commands import Cli, command_line
from hypothesis import settings
from report_records import QUICK, write_run
from torch import Tensor
from worker_runs import Here, workers_here

from bench.quality.datasets import ROOT_VARIABLE, open_data
from bench.quality.extractor import Extractor
from bench.quality.extractors import load_extractor
from models.guidance import GUIDANCES
from models.loading.zoo import load_model
from models.schedule import VE, ContinuousVP, DiscreteVP, Flow, GeometricVE, Schedule
from samplers import SAMPLERS, Noise

if TYPE_CHECKING:
    from playwright.sync_api import Browser

torch.set_num_threads(1)  # the tensors here are so small that threads only wait for one another
os.environ["OMP_NUM_THREADS"] = "1"  # and those of the processes that tests start would wait for other tests' as well
os.environ.pop("UV_RUN_RECURSION_DEPTH", None)  # the tests may be run by uv, and hints then say so

settings.register_profile("reproducible", deadline=None, derandomize=True)
settings.load_profile("reproducible")

SCHEDULES: dict[str, Schedule] = {
    "linear": DiscreteVP.linear(),
    "scaled_linear": DiscreteVP.scaled_linear(),
    "cosine": DiscreteVP.cosine(),
    "vp": ContinuousVP(),
    "ve": VE(),
    "ve-geometric": GeometricVE(),
    "flow": Flow(),
}


@pytest.fixture(scope="session", params=SCHEDULES)
def schedule(request: pytest.FixtureRequest) -> Schedule:
    """Each kind of schedule in turn."""
    return SCHEDULES[request.param]


@pytest.fixture(scope="session")
def noise() -> Callable[[int], Noise]:
    """`noise(seed)` is a fresh stream; two of the same seed give the same draws."""

    def stream(seed: int) -> Noise:
        generator = torch.Generator().manual_seed(seed)

        def draw(like: Tensor) -> Tensor:
            return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like.dtype)

        return draw

    return stream


@pytest.fixture(scope="session", autouse=True)
def buffered() -> Iterator[None]:
    """What is written is left to the system, and waits for no disk: only a machine that loses its power could tell."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(autouse=True)
def cold(monkeypatch: pytest.MonkeyPatch) -> None:
    """No warm-up of the machine before a run, as no test looks at how long anything takes; and no first look, which has
    tests of its own.
    """
    monkeypatch.setattr("bench.running.session.Session.warm_up", lambda session: None)
    monkeypatch.setattr("bench.running.runner.first_look", lambda session, folder, warn: None)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers, itself or through a plugin, is gone after it."""
    monkeypatch.setattr("bench.purity.plugins._loaded", {})  # which workers of later tests would load, too
    for registry, names in itertools.product((SAMPLERS, GUIDANCES), ("_classes", "_aliases")):
        monkeypatch.setattr(registry, names, dict(getattr(registry, names)))


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    """A run folder of a small study, one cell failed."""
    return write_run(tmp_path / "quick", QUICK)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> type[Here]:
    """Workers of local devices are in this process."""
    return workers_here(monkeypatch)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """`cli("run", "quick")` runs the command line in this process, and gives what it printed."""
    return command_line(monkeypatch, capsys)


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    """That of the digits."""
    cpu = torch.device("cpu")
    return load_extractor(None, load_model("digits", cpu), cpu)


@pytest.fixture(scope="module")
def images() -> Tensor:
    """400 of the digits."""
    return open_data("digits").images[:400]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache of data and references."""
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "cache"))


@pytest.fixture
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any]]:
    """`tiny(name)` is the folder of a text-to-image pipeline, which is not to be changed, and the pipeline."""
    from text_pipelines import saved  # which imports transformers

    return lambda name: saved(name, tmp_path_factory)


@pytest.fixture
def copied(tiny: Callable[[str], tuple[Path, Any]], tmp_path: Path) -> Callable[[str], Path]:
    """`copied(name)` is a folder of such a pipeline of one's own."""
    return lambda name: Path(shutil.copytree(tiny(name)[0], tmp_path / name))


@pytest.fixture
def encoded_once(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that all tests of a process share, so that prompts are encoded once."""
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path_factory.getbasetemp() / "encoded"))


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Chromium, for tests of pages."""
    from browser import chromium  # which imports playwright

    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of samplers of several families, on two grids, with first images."""
    from pages import page_of_several

    return page_of_several(tmp_path_factory.mktemp("page") / "quick")
