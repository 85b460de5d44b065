"""Cells of small studies on a device: of the embedded digits, and of an untrained network of CIFAR-10's shape."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import checkpoints
import torch
from torch import Tensor

from bench.running.resolve import Resolved, resolve
from bench.running.session import Session
from bench.running.trajectory import Trajectory
from bench.study.file import parse_study
from bench.study.overrides import Overrides
from bench.study.plan import plan
from bench.study.study import Study
from bench.training.unet import unet_config
from samplers import SAMPLERS

FIXED = [name for name in SAMPLERS.names() if name not in ("dpm-adaptive", "rk45")]
"""Samplers of fixed steps: all but the adaptive one."""

_STUDY = """
name = "test"
title = "Test"
model = "MODEL"
metrics = METRICS
solver_images = 16
images = IMAGES
batch = BATCH
device = "DEVICE"
modes = MODES
timing = { repeats = 2, seconds = 0.0 }
baseline = { sampler = "ddpm", grid = "trailing", steps = 5 }
[[block]]
samplers = ["ddim"]
grids = ["trailing"]
steps = [5]
"""


def study_of(
    device: torch.device,
    modes: Sequence[str] = ("fp32",),
    model: str = "digits",
    metrics: Sequence[str] = ("solver_error",),
    images: int = 64,
    batch: int | str = 32,
) -> Study:
    """DDPM and DDIM in five steps."""
    values = {"MODEL": model, "METRICS": metrics, "IMAGES": images, "BATCH": batch, "DEVICE": device, "MODES": modes}
    text = _STUDY
    for name, value in values.items():
        text = text.replace(f'"{name}"', f'"{value}"').replace(f" {name}\n", f" {_toml(value)}\n")
    return parse_study(text, "test", Overrides())


def _toml(value: object) -> str:
    return str(list(value)) if isinstance(value, tuple) else f'"{value}"' if isinstance(value, str) else str(value)


def cell_of(session: Session, sampler: str, mode: str = "fp32") -> Resolved:
    """A cell of another sampler, on the steps of the baseline."""
    return resolve(replace(plan(session.study)[0], sampler=sampler, mode=mode), session)


def drawn(trajectory: Trajectory, numbers: Tensor) -> Tensor:
    """The images of these numbers."""
    with torch.inference_mode():
        return trajectory(trajectory.start(numbers))


def cifar_shaped(folder: Path) -> str:
    """The folder of an untrained network of CIFAR-10's shape, 24 channels wide: 1.3 million parameters."""
    return str(checkpoints.make(folder, flat=True, **unet_config(24, (3, 32, 32))))


def apart(images: Tensor, others: Tensor) -> float:
    """Root mean square distance of pixels, on a scale where black to white is 2."""
    return float((images.double().cpu() - others.double().cpu()).square().mean().sqrt())
