"""Models of the digits, right or wrong, and a check of them that takes little time."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from checkpoints import CPU
from torch import Tensor

from bench.conformance.model_check import FULL, Check, check_model
from bench.conformance.model_orders import order_verdicts
from bench.conformance.model_verdicts import Verdict
from bench.quality.datasets import open_data
from models.cards.card import Card
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


def with_card(model: Model, **changes: Any) -> Model:
    """The same network under another card."""
    card = Card.model_validate(model.card.model_dump() | changes)
    return replace(model, card=card, schedule=card.schedule.build())


def labelled_digits(count: int = 64) -> tuple[Tensor, Tensor]:
    """Digits from end to end, and their classes."""
    found = open_data("digits")
    assert found.labels is not None
    every = torch.arange(count) * len(found.images) // count
    return found.images[every], found.labels[every]


def said(found: Sequence[Verdict], words: str) -> list[tuple[bool, bool]]:
    """Whether each verdict with these words is good, and whether in doubt."""
    return [(each.good, each.doubt) for each in found if words in each.text]


def orders(model: Model, images: Tensor, labels: Tensor | None = None) -> list[Verdict]:
    return order_verdicts(model, images.float() / 255.0, labels)[0]
