"""The classes that images are taken to be of where nobody says, and whether data have as many as the card."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.conformance.model_classes import ALL_TRIED
from bench.conformance.model_fit import evaluate, expected_x0, levels_at, outputs
from bench.conformance.model_verdicts import Verdict
from bench.noise import OWN_SEEDS
from bench.noise.stream import ImageNoise
from models.cards.card import Card
from models.guidance.guided import label_of_none
from models.loading.model import Model
from models.networks.network import mean_alone

_NOISE_SEED = OWN_SEEDS + 3
"""Of the noise that classes are chosen on: they are measured on another."""
_LOGSNRS = (0.4, -0.4, -1.1)
"""log(alpha / sigma) where what a network makes of an image depends on its class."""
_ORDER = "whether the classes are in another order cannot be told"


@dataclass(frozen=True)
class Taken:
    """The classes (N,) int64 that images are taken to be of, what is said of that, and the evaluations that it took.

    None for the classes: the images are of no use.
    """

    labels: Tensor | None
    verdicts: list[Verdict]
    evaluations: int = 0


def count_verdicts(card: Card, data_classes: int | None) -> list[Verdict]:
    """That data have another number of classes than the card; of a single class, which is as good as none, nothing."""
    if not card.takes_classes or data_classes is None or data_classes < 2 or data_classes == card.classes:
        return []
    text = f"the card has {card.classes} classes, the data {data_classes}: either is not the network's"
    return [Verdict(False, text)]


def taken_classes(model: Model, images: Tensor, said: Sequence[Verdict]) -> Taken:
    """What images whose classes are not known are taken to be of: the class that each fits best, or of many none.

    Args:
        model: with classes, or prompts.
        images: (N, C, H, W), on its device: parts of the range of values, or latents.
        said: of the classes before.
    """
    card = model.card
    what = "classes" if card.takes_classes else "prompts"
    unknown = f"the {what} of the images are not known"
    label = None if card.null_label in (None, "none") else label_of_none(card.null_label)
    if card.takes_classes and (card.classes or 0) <= ALL_TRIED:
        labels, evaluations = _fitting(model, images, card.classes or 0)
        text = f"{unknown}: each is taken to be of that which it fits best, and {_ORDER}"
        return Taken(labels, [*said, Verdict(True, text, doubt=True)], evaluations)
    if card.takes_classes and label is not None:
        labels = torch.full((len(images),), label, device=images.device)
        text = f"{unknown}: its error is with none, null_label = {card.null_label!r}, and {_ORDER}"
        return Taken(labels, [*said, Verdict(True, text, doubt=True)])
    text = f"{unknown}: its error is on its own samples, which tells less"
    return Taken(None, [*said, Verdict(True, text, doubt=True)])


def _fitting(model: Model, images: Tensor, classes: int) -> tuple[Tensor, int]:
    """The class (N,) that each image fits best, whatever the output means, and the evaluations that it took to see."""
    card = model.card
    low, high = card.value_range if card.decoder is None else (0.0, 1.0)
    network = mean_alone(model.network) if card.learns_variance else model.network
    x0, evaluations = low + (high - low) * images, 0
    eps = ImageNoise(_NOISE_SEED, torch.arange(len(x0), device=x0.device))(x0)
    errors = {each: torch.zeros(len(x0), classes, dtype=torch.float64, device=x0.device) for each in outputs(card)}
    for at in levels_at(model.schedule, _LOGSNRS).values():
        x = at.alpha * x0 + at.sigma * eps
        for label in range(classes):
            output = evaluate(network, x, at, torch.full((len(x),), label, device=x.device))
            evaluations += len(x)
            for each, of_images in errors.items():
                of_images[:, label] += (expected_x0(each, x, at, output).double() - x0).square().mean((1, 2, 3))
    found = [each.nan_to_num(torch.inf) for each in errors.values()]
    best = min(found, key=lambda each: float(each.min(1).values.mean()))
    return best.argmin(1), evaluations
