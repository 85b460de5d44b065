"""check-model: classes that are not the card's, not known, or in another order, and what stands for no class."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from checked_models import COSINE, FEW, digits, labelled_digits, orders, said, with_card
from checkpoints import CPU
from torch import Tensor

from bench.conformance.model_check import FULL, check_model
from bench.quality.datasets import open_data
from models.cards.changes import Changes
from models.loading.model import Model
from models.loading.zoo import load_model
from models.schedule import Level

OWN = "the classes of the images are its own"
UNKNOWN = "the classes of the images are not known"
NULL = "null_label = "
NUMBERED = replace(FULL, logsnrs=FEW.logsnrs, steps=FEW.steps)


def _conditional(name: str = "digits-conditional", **changes: Any) -> Model:
    return load_model(name, CPU, Changes.model_validate(changes) if changes else None)


def test_another_number_of_classes_than_the_data_s_is_wrong_and_the_rest_is_checked_all_the_same() -> None:
    model = with_card(_conditional(), classes=9, null_label=10)
    found = check_model(model, CPU, "digits", labelled_digits(24)[0], None, FEW, data_classes=10)
    assert said(found.verdicts, "the card has 9 classes, the data 10") == [(False, False)]
    assert found.data == "digits"
    assert said(found.verdicts, "it knows the images as they are") == [(True, False)]


@pytest.mark.parametrize("data_classes", [None, 1])
def test_a_right_card_is_right_of_images_whose_classes_are_not_known_but_their_order_in_doubt(
    data_classes: int | None,
) -> None:
    found = check_model(_conditional(), CPU, "f", labelled_digits(24)[0], None, FEW, data_classes=data_classes)
    assert (found.bad, found.data) == ([], "f")
    assert said(found.verdicts, UNKNOWN) == [(True, True)]
    assert said(found.verdicts, "order cannot be told") == [(True, True)]
    assert said(found.verdicts, OWN) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parametrisation": "v_prediction"}, "this network predicts eps, the card says v"),
        ({"schedule": COSINE}, "it was trained on linear betas"),
        ({"value_range": [0.0, 1.0], "clip": [0.0, 1.0]}, "its images lie in [-1, 1]"),
    ],
)
def test_what_a_card_says_wrongly_is_named_of_images_whose_classes_are_not_known(
    changes: dict[str, Any], words: str
) -> None:
    found = check_model(_conditional(**changes), CPU, "digits", labelled_digits(24)[0], None, FEW)
    assert said(found.verdicts, words) == [(False, False)]


def test_images_that_are_changed_are_told_though_their_classes_are_not_known() -> None:
    found = check_model(_conditional(), CPU, "digits", labelled_digits(24)[0].flip(2, 3), None, FEW)
    assert said(found.verdicts, "with the images turned by 180 degrees") == [(False, False)]


def test_of_many_classes_those_that_are_not_known_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.conformance.model_labels.ALL_TRIED", 4)
    images = labelled_digits(24)[0]
    found = check_model(_conditional(), CPU, "digits", images, None, FEW)
    assert (found.bad, found.data) == ([], "digits")
    assert said(found.verdicts, f"{UNKNOWN}: its error is with none, null_label = 10") == [(True, True)]
    without = check_model(with_card(_conditional(), null_label=None), CPU, "digits", images, None, FEW)
    assert (without.bad, without.data) == ([], "its own samples")
    assert said(without.verdicts, f"{UNKNOWN}: its error is on its own samples") == [(True, True)]


@pytest.mark.parametrize("name", ["digits-conditional", "digits-conditional-weak"])
def test_a_null_label_that_was_trained_is_right(name: str) -> None:
    found = [each for each in orders(_conditional(name), *labelled_digits()) if f"{NULL}10" in each.text]
    assert said(found, "it stands for no class") == [(True, False)]


def test_a_class_is_not_no_class() -> None:
    """As with a card that says that there are 9 classes, and that what follows is none."""
    images, labels = labelled_digits(80)
    model = with_card(_conditional(), classes=9, null_label=9)
    assert said(orders(model, images[labels < 9], labels[labels < 9]), f"{NULL}9 its error") == [(False, False)]
    unknown = check_model(model, CPU, "digits", labelled_digits()[0], None, FEW)  # of which it fits a tenth best
    assert said(unknown.verdicts, "that is a single class, or it was not trained with that") == [(True, True)]


def _with_a_row_that_was_not_trained() -> Model:
    """The conditional digits with random numbers for no class."""
    model: Any = _conditional()
    weight = model.network.unet.class_embedding.weight
    row = torch.randn(weight.shape[1], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        weight[10] = row * weight[:10].std()
    return model  # type: ignore[no-any-return]


def test_a_label_that_was_never_trained_is_not_no_class() -> None:
    assert said(orders(_with_a_row_that_was_not_trained(), *labelled_digits()), f"{NULL}10 its error") == [
        (False, False)
    ]


@pytest.mark.parametrize("pair", [(3, 5), (1, 7), (0, 6), (8, 9)])
@pytest.mark.parametrize("count", [16, 64])
def test_two_classes_that_have_changed_places_are_named_or_in_doubt(pair: tuple[int, int], count: int) -> None:
    """Eight that are right do not carry two that are not."""
    images, labels = labelled_digits(count)
    order = torch.arange(10)
    order[list(pair)] = order[list(pair[::-1])]
    found = orders(_conditional(), images, order[labels])
    assert said(found, OWN) == []
    assert [each.good for each in found].count(False) <= 1
    text = next(each.text for each in found if "order" in each.text and "classes" in each.text)
    assert all(str(each) in text for each in pair if each in order[labels])


def _of_twenty(right: Callable[[Tensor], Tensor]) -> list[Any]:
    """What is said of 20 classes of which a network is a little better with those that are right."""
    own, plain = torch.arange(60) % 20, digits()

    def network(x: Tensor, at: Level, labels: Tensor) -> Tensor:
        return torch.where((labels == right(own[: len(x)]))[:, None, None, None], 1.0, 1.2) * plain.network(x, at)

    card = plain.card.model_copy(update={"classes": 20})
    return orders(replace(plain, card=card, network=network), labelled_digits(60)[0], own)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("step", "words"), [(1, "1 further on"), (19, "1 before"), (17, "3 before"), (15, "5 before"), (3, "3 further on")]
)
def test_more_classes_than_can_all_be_tried_are_told_to_be_some_places_on(step: int, words: str) -> None:
    found = _of_twenty(lambda own: (own + step) % 20)
    assert said(found, f"with the class that is {words}, of 20 in a circle") == [(False, False)]


def test_of_more_classes_than_can_all_be_tried_two_that_have_changed_places_may_be_in_another_order() -> None:
    order = torch.arange(20)
    order[[2, 11]] = order[[11, 2]]
    found = _of_twenty(lambda own: order[own])
    assert said(found, OWN) == []
    assert said(found, "2 of the 20 classes of the images are its own: 2 and 11 may be") == [(True, True)]
    assert said(_of_twenty(lambda own: own), OWN) == [(True, False)]


def _embedded(change: Callable[[Tensor], Tensor]) -> Model:
    """The digits' conditional network with other embeddings (11, D) of its classes and of none."""
    model: Any = _conditional()
    weight = model.network.unet.class_embedding.weight
    with torch.no_grad():
        weight.copy_(change(weight))
    found: Model = model
    return found


def test_a_network_that_hardly_uses_classes_is_not_accused_of_its_null_label() -> None:
    shrunk = _embedded(lambda weight: weight.mean(0) + 0.05 * (weight - weight.mean(0)))
    for labels in (labelled_digits()[1], None):
        found = check_model(shrunk, CPU, "digits", labelled_digits()[0], labels, FEW)
        assert all(good for good, _ in said(found.verdicts, NULL))


def test_a_class_that_most_images_are_of_is_not_no_class() -> None:
    zero = _embedded(lambda weight: torch.cat([weight[:10], weight[:1]]))
    data = open_data("digits")
    assert data.labels is not None
    often, others = (torch.where((data.labels == 0) == of)[0] for of in (True, False))
    chosen = torch.cat([often[:40], others[:24]])
    found = orders(zero, data.images[chosen], data.labels[chosen])
    assert (True, False) not in said(found, NULL)


def test_images_of_one_class_that_are_called_another_are_told_by_what_they_are_without_one() -> None:
    data = open_data("digits")
    assert data.labels is not None
    threes = data.images[data.labels == 3][:64]
    found = orders(_conditional(), threes, torch.full((64,), 5))
    assert said(found, "worse with their classes than without, so these are not its own") == [(False, False)]
