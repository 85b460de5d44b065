"""`run_bench.py train digits-oracle` and `train digits-mixture`: models whose law is known exactly, from the digits.

Nothing is trained: the first is the data set itself, the second the Gaussian mixture of its classes in closed form. On
both all error is the sampler's. They have the schedule of the trained `digits`, so that the same grids place the same
levels on all three.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.quality.datasets import load_digits
from bench.quality.images import to_uint8
from bench.training.folder import check_writing, write_card, write_folder
from models.cards.card import Card
from models.common.program import called
from models.common.sealed import save_tensors
from models.loading.exact import MIXTURE, POINTS
from models.loading.sources import ZOO, load_card

FLOOR = 1.0 / 8.0
"""Standard deviation that every direction of a component has at least: one of the 17 grey levels of the data."""


def digit_points() -> tuple[Tensor, Tensor]:
    """The digits as images are compared: uint8 (1797, 1, 8, 8), 255 for their grey level 16; and labels (1797,)."""
    images, labels = load_digits()
    return to_uint8(images), labels


def class_mixture(points: Tensor, labels: Tensor, floor: float = FLOOR) -> dict[str, Tensor]:
    """The Gaussian mixture with one component a class: the maximum of the likelihood once the classes are known.

    Args:
        points: (M, C, H, W) float64.
        labels: (M,) int64; every class 0 ... K - 1 has at least one point.
        floor: below which no standard deviation of a component lies, along any direction. Pixels that are the same in
            all images of a class would have none at all, and no density.

    Returns:
        weights (K,), means (K, D) and covariances (K, D, D), float64.
    """
    flat = points.flatten(1)
    classes = [flat[labels == label] for label in range(int(labels.max()) + 1)]
    covariances = []
    for members in classes:
        variances, axes = torch.linalg.eigh(torch.cov(members.T, correction=0))
        floored = (axes * variances.clamp(min=floor**2)) @ axes.T
        covariances.append(0.5 * (floored + floored.T))
    return {
        "weights": torch.tensor([len(members) / len(flat) for members in classes], dtype=torch.float64),
        "means": torch.stack([members.mean(0) for members in classes]),
        "covariances": torch.stack(covariances),
    }


def make_digits_oracle(folder: Path, budget: object, seed: int, reporter: object) -> Path:
    """Write the model whose data are exactly the 1,797 digits.

    Args:
        folder: the model is written to `folder/model`.
        budget, seed, reporter: those of a training; nothing is trained here and nothing random, so they are not used.

    Returns:
        The model folder.
    """
    points, _ = digit_points()
    law = "the 1,797 digits, rounded to uint8, each equally likely"
    return _write(folder, {"name": "digits-oracle", "network": "finite-data"}, law, POINTS, {"points": points})


def make_digits_mixture(folder: Path, budget: object, seed: int, reporter: object) -> Path:
    """Write the model whose data are a Gaussian mixture, one component for each of the ten digits.

    Arguments and result are those of `make_digits_oracle`.
    """
    points, labels = digit_points()
    tensors = class_mixture(points.double() / 127.5 - 1.0, labels)
    law = "a Gaussian mixture, one component a digit with the mean and covariance of its images"
    about = {"name": "digits-mixture", "network": "mixture", "training": {"std_floor": FLOOR}}
    return _write(folder, about, law, MIXTURE, tensors)


def _write(folder: Path, about: dict[str, Any], law: str, file: str, tensors: dict[str, Tensor]) -> Path:
    check_writing(folder, Card)
    trained = load_card(ZOO / "digits")
    card: dict[str, Any] = {
        "schema_version": 1,
        "description": f"No network: the exact E[x_0 | x_t] of {law}. All that samplers get wrong on it is their own.",
        **trained.model_dump(mode="json", include={"data", "data_licence", "shape"}),
        "training_command": f"{called('train')} train {about['name']}",
        **about,
        "parametrisation": "sample",
        "schedule": trained.schedule.model_dump(mode="json", exclude_none=True),
    }

    def write(out: Path) -> None:
        save_tensors(out / file, tensors)
        write_card(out, card)

    return write_folder(folder, write)


MAKERS = {"digits-oracle": make_digits_oracle, "digits-mixture": make_digits_mixture}
"""As `bench.training.digits.TRAININGS`, what makes each."""
