"""A small study that workers measure, the record of a sampler in its run, and workers that are in this process."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from studies import study_toml

from bench.record import Record, RunFolder
from bench.running.executors.crew import Died, Lost
from bench.running.executors.messages import Order
from bench.running.executors.worker import Worker


def worker_study(folder: Path, samplers: Sequence[str] = ("ddim", "ddpm[variance=analytic]"), **more: Any) -> Path:
    """Written into a folder."""
    path = folder / "study.toml"
    said: dict[str, Any] = {"steps": [2], "baseline": "ddim", "baseline_steps": 3, "images": 50, "batch": 10}
    said |= {"metrics": ["law", "solver_error"], "solver_images": 20} | more
    path.write_text(study_toml(samplers, **said))
    return path


def only(path: Path, sampler: str) -> Record:
    """The one record that a run has of a sampler."""
    (found,) = (each for each in RunFolder(path).records() if each["sampler"] == sampler)
    return found


class Here:
    """A slot whose worker is in this process.

    Attributes:
        before: asked before each call, with the method and its arguments; raises what is to become of the worker.
        started: how often one was.
    """

    before: Callable[..., None] = staticmethod(lambda *given: None)
    started = 0

    def __init__(self, device: str, load: Callable[[Order], Worker]) -> None:
        self.name, self._load = device, load
        self._worker: Worker | None = None

    @property
    def is_up(self) -> bool:
        return self._worker is not None

    def start(self, order: Order) -> None:
        if self._worker is None:
            Here.started += 1
            self._worker = self._load(order)

    def call(self, function: Callable[..., Any], /, *arguments: Any, timeout: float | None = None) -> Any:
        try:
            Here.before(function, *arguments)
        except (Died, Lost):
            self.end()
            raise
        return function(self._worker, *arguments)

    def end(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.leave()


def workers_here(monkeypatch: pytest.MonkeyPatch) -> type[Here]:
    """Workers of local devices are in this process from now on, and what takes time is short."""
    monkeypatch.setattr("bench.running.executors.local.LocalSlot", Here)
    monkeypatch.setattr("bench.cli.reporting.report.FORMATS", ("md",))
    monkeypatch.setattr("bench.running.solution.STEPS", 2)
    monkeypatch.setattr("samplers.x0_variance.IMAGES", 16)
    monkeypatch.setattr(Here, "before", staticmethod(lambda *given: None))
    monkeypatch.setattr(Here, "started", 0)
    return Here
