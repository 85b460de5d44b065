"""Models of the digits, right or wrong, and a check of them that takes little time."""

from dataclasses import replace
from typing import Any

from checkpoints import CPU
from torch import Tensor

from bench.datasets import open_data
from bench.model_check import FULL, Check, check_model
from models.card import Changes
from models.zoo import Model, load_model

FEW = replace(FULL, logsnrs=FULL.logsnrs[::2], images=12, steps=4)
COSINE = {"kind": "cosine", "train_steps": 1000}
SCALED = {"kind": "scaled_linear", "train_steps": 1000, "beta_start": 8.5e-4, "beta_end": 0.012}


def digits(**changes: Any) -> Model:
    return load_model("digits", CPU, Changes.model_validate(changes) if changes else None)


def images_of_digits(count: int = 12) -> Tensor:
    images = open_data("digits").images
    return images[:: len(images) // count][:count]


def checked(model: Model, **options: Any) -> Check:
    return check_model(model, CPU, "digits", images_of_digits(), depth=FEW, **options)
