"""A small study of an exact model that workers measure, and the record of a sampler in its run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from studies import study_toml

from bench.record import Record, RunFolder


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
