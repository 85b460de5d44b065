"""check-model: images whose channels, sides, black and white or classes are in another order than the network's."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from checked_models import FEW, digits
from checkpoints import CPU
from torch import Tensor

from bench.conformance.model_check import check_model
from bench.conformance.model_orders import order_verdicts
from bench.conformance.model_verdicts import Verdict
from bench.quality.datasets import open_data
from models.cards.card import Card
from models.loading.model import Model
from models.loading.zoo import load_model
from models.networks.network import Network
from models.schedule import Level

AS_THEY_ARE = "it knows the images as they are"


def _digits(count: int = 64) -> tuple[Tensor, Tensor]:
    found = open_data("digits")
    assert found.labels is not None
    every = slice(None, None, len(found.images) // count)
    return found.images[every][:count], found.labels[every][:count]


def _said(found: Sequence[Verdict], words: str) -> list[tuple[bool, bool]]:
    return [(each.good, each.doubt) for each in found if words in each.text]


def _orders(model: Model, images: Tensor, labels: Tensor | None = None) -> list[Verdict]:
    return order_verdicts(model, images.float() / 255.0, labels)[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x.flip(2), "upside down"),
        (lambda x: x.flip(3), "mirrored"),
        (lambda x: x.transpose(2, 3), "with rows and columns exchanged"),
        (lambda x: 255 - x, "with black and white exchanged"),
    ],
)
def test_pictures_that_are_changed_are_told_by_what_they_were_trained_as(
    change: Callable[[Tensor], Tensor], words: str
) -> None:
    found = _orders(digits(), change(_digits()[0]).contiguous())
    assert _said(found, f"% smaller with the images {words}: as if it had been trained on such") == [(False, False)]
    assert _said(found, AS_THEY_ARE) == []


def test_pictures_as_they_are_and_their_classes_are_right() -> None:
    found = check_model(load_model("digits-conditional", CPU), CPU, "digits", *_digits(), depth=FEW)
    assert found.bad == []
    assert _said(found.verdicts, AS_THEY_ARE) == [(True, False)]
    assert _said(found.verdicts, "the classes of the images are its own") == [(True, False)]


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ((0, 1, 2, 5, 4, 3, 6, 7, 8, 9), "3 there is 5 here, 5 there is 3 here"),
        ((9, 0, 1, 2, 3, 4, 5, 6, 7, 8), "0 there is 1 here, 1 there is 2 here, 2 there is 3 here"),
    ],
)
@pytest.mark.parametrize("name", ["digits-conditional", "digits-conditional-weak"])
def test_classes_in_another_order_are_named(name: str, order: tuple[int, ...], words: str) -> None:
    """As folders have them that are sorted by another name than the training's were."""
    images, labels = _digits()
    (text,) = (
        each.text for each in _orders(load_model(name, CPU), images, torch.tensor(order)[labels]) if not each.good
    )
    assert text.startswith("its classes are in another order than the images': ")
    assert words in text
    assert text.count("there") == sum(own != other for own, other in enumerate(order))


def test_a_class_that_fits_all_images_best_moves_none() -> None:
    """Less noise in its output of class 8, whatever the images are."""
    model = load_model("digits-conditional", CPU)

    def network(x: Tensor, at: Level, labels: Tensor) -> Tensor:
        found: Tensor = model.network(x, at, labels)  # type: ignore[call-arg]
        return torch.where((labels == 8)[:, None, None, None], found, 1.3 * found)

    found = _orders(replace(model, network=network), *_digits())  # type: ignore[arg-type]
    assert all(each.good for each in found)


def _noise(images: Tensor) -> Network:
    """The exact eps of the normal law with the images' mean and covariance."""
    points = (images.double() / 127.5 - 1.0).flatten(1)
    mean, (values, vectors) = points.mean(0), torch.linalg.eigh(points.T.cov())

    def eps(x: Tensor, at: Level) -> Tensor:
        rotated = (x.double().flatten(1) - at.alpha * mean) @ vectors
        found: Tensor = at.sigma * rotated / (at.alpha**2 * values + at.sigma**2) @ vectors.T
        return found.view_as(x).to(x.dtype)

    return eps


def test_channels_the_other_way_round_are_told_of_a_network_that_knows_no_more_than_their_covariance() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([20.0, 30.0, 40.0])[:, None, None]  # blue varies most
    images = (128 + spread * torch.randn(64, 3, 4, 4, generator=generator)).clamp(0, 255).to(torch.uint8)
    plain = digits()
    card = Card.model_validate(plain.card.model_dump() | {"shape": [3, 4, 4]})
    model = replace(plain, card=card, network=_noise(images))
    assert _said(_orders(model, images.flip(1)), "with their channels the other way round (BGR for RGB)") == [
        (False, False)
    ]
    assert _said(_orders(model, images), AS_THEY_ARE) == [(True, False)]


@pytest.mark.parametrize(
    ("shift", "words"), [(0, "its own: its error is larger"), (1, "in another order than the images': its error")]
)
def test_of_more_classes_than_can_be_tried_it_is_said_whether_they_are_its_own(shift: int, words: str) -> None:
    """Of 20 classes, with what the network makes of an image's own a little better than of another."""
    images, _ = _digits(40)
    own, plain = torch.arange(40) % 20, digits()
    card = Card.model_validate(plain.card.model_dump() | {"classes": 20})

    def network(x: Tensor, at: Level, labels: Tensor) -> Tensor:
        right = labels == (own[: len(x)] + shift) % 20
        return torch.where(right[:, None, None, None], 1.0, 1.1) * plain.network(x, at)

    model = replace(plain, card=card, network=network)  # type: ignore[arg-type]
    assert _said(_orders(model, images, own), words) == [(shift == 0, False)]


def test_images_that_no_reading_of_the_card_fits_are_told_by_what_they_were_trained_as() -> None:
    found = check_model(digits(), CPU, "digits", 255 - _digits()[0], depth=FEW)
    assert _said(found.verdicts, "above the best linear guess's") == [(False, False)]
    assert _said(found.verdicts, "% smaller with the images with black and white exchanged") == [(False, False)]


def test_of_a_card_that_is_read_wrongly_no_order_is_said() -> None:
    found = check_model(digits(parametrisation="v_prediction"), CPU, "digits", _digits()[0], depth=FEW)
    assert found.bad
    assert _said(found.verdicts, AS_THEY_ARE) + _said(found.verdicts, "% smaller with the images") == []
