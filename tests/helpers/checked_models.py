"""Models of the digits, right or wrong, and a check of them that takes little time."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from checkpoints import CPU
from torch import Tensor

from bench.conformance.model_check import FULL, Check, check_model
from bench.quality.datasets import open_data
from models.cards.changes import Changes
from models.loading.model import Model
from models.loading.sources import CARD, ZOO
from models.loading.zoo import load_model

FEW = replace(FULL, logsnrs=FULL.logsnrs[::2], images=12, steps=4)
COSINE = {"kind": "cosine", "train_steps": 1000}
LINEAR = {"kind": "linear", "train_steps": 1000, "beta_start": 1e-4, "beta_end": 0.02}
SCALED = {"kind": "scaled_linear", "train_steps": 1000, "beta_start": 8.5e-4, "beta_end": 0.012}


def digits(**changes: Any) -> Model:
    return load_model("digits", CPU, Changes.model_validate(changes) if changes else None)


def images_of_digits(count: int = 12) -> Tensor:
    images = open_data("digits").images
    return images[:: len(images) // count][:count]


def edited_digits(folder: Path, old: str, new: str) -> Path:
    """A copy of the digits whose card differs."""
    shutil.copytree(ZOO / "digits", folder)
    text = (folder / CARD).read_text()
    assert old in text
    (folder / CARD).write_text(text.replace(old, new))
    return folder


def digits_that_say_v(folder: Path) -> Path:
    """A copy of the digits, which predict eps, whose card says v."""
    return edited_digits(folder, 'parametrisation = "epsilon"', 'parametrisation = "v_prediction"')


def checked(model: Model, **options: Any) -> Check:
    return check_model(model, CPU, "digits", images_of_digits(), depth=FEW, **options)
