"""check-model: the named change makes images what the network was trained as; what tells nothing is passed over."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from checked_models import FEW, digits, labelled_digits, orders, said
from checkpoints import CPU
from torch import Tensor

from bench.conformance.model_chance import CLEAR, is_above_chance
from bench.conformance.model_check import check_model
from bench.conformance.model_views import view_verdicts

AS_THEY_ARE = "it knows the images as they are"
TRAINED = "as if it had been trained on such"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda x: x.flip(2, 3), "turned by 180 degrees"),
        (lambda x: torch.rot90(x, 1, (2, 3)), "turned by 90 degrees clockwise"),
        (lambda x: torch.rot90(x, -1, (2, 3)), "turned by 90 degrees counterclockwise"),
        (lambda x: x.transpose(2, 3).flip(2, 3), "with rows and columns exchanged and turned by 180 degrees"),
        (lambda x: 255 - x.flip(2, 3), "turned by 180 degrees and with black and white exchanged"),
        (lambda x: 255 - torch.rot90(x, 1, (2, 3)), "turned by 90 degrees clockwise and with black and white"),
    ],
)
def test_whoever_makes_the_named_change_has_the_images_right(given: Callable[[Tensor], Tensor], words: str) -> None:
    """torch.rot90 turns by one quarter counterclockwise, where row 0 is the top."""
    found = orders(digits(), given(labelled_digits(32)[0]).contiguous())
    assert said(found, f"with the images {words}") == said(found, TRAINED) == [(False, False)]


def test_all_that_is_changed_of_colour_images_is_named() -> None:
    """The exact mean of a network that knows nothing but the mean picture."""
    generator = torch.Generator().manual_seed(0)
    mean = torch.randint(40, 216, (3, 4, 4), generator=generator)
    images = (mean + torch.randint(-30, 31, (64, 3, 4, 4), generator=generator)).to(torch.uint8)
    plain = digits()
    known, card = mean / 127.5 - 1.0, plain.card.model_copy(update={"shape": (3, 4, 4), "parametrisation": "sample"})
    model = replace(plain, card=card, network=lambda x, at: known.expand_as(x))
    changed = 255 - torch.rot90(images.flip(1), 1, (2, 3))
    name = "with their channels the other way round (BGR for RGB), turned by 90 degrees clockwise and with black and "
    assert said(orders(model, changed), f"with the images {name}white exchanged: {TRAINED}") == [(False, False)]
    assert said(orders(model, images), AS_THEY_ARE) == [(True, False)]


@pytest.mark.parametrize("known_as", ["images of one value", "a network of NaN"])
def test_of_errors_that_are_no_numbers_nothing_is_said(known_as: str) -> None:
    images, model = labelled_digits(8)[0], digits()
    if known_as == "images of one value":
        images = torch.full_like(images, 7)
    else:
        model = replace(model, network=lambda x, at: x * torch.nan)
    assert orders(model, images) == []
    assert "nan %" not in " ".join(check_model(model, CPU, "digits", images, depth=FEW).bad)


def test_fewer_than_four_images_are_in_doubt() -> None:
    found = orders(digits(), labelled_digits(3)[0])
    assert said(found, "fewer than 4 images do not tell") == [(True, True)]
    assert said(found, AS_THEY_ARE) == []


def test_few_differences_are_as_seldom_taken_for_more_than_chance_as_many() -> None:
    """Of five the mean is beyond four of its standard errors once in 125, on one side."""
    drawn = torch.randn(3000, 5, generator=torch.Generator().manual_seed(0))
    assert sum(is_above_chance(each, CLEAR) for each in drawn) <= 1
    spread = torch.linspace(-1.0, 1.0, 10_001)
    error = float(spread.std()) / len(spread) ** 0.5
    assert not is_above_chance(spread + 3.98 * error, CLEAR, 10)
    assert is_above_chance(spread + 4.02 * error, CLEAR, 10)
    assert not is_above_chance(spread + 4.02 * error, CLEAR, 100)  # of more, one is large sooner


class _Scattering:
    """Errors of images where a single change is clearly better, and both that are best of all scatter."""

    def __call__(self, labels: Tensor | None, change: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
        marked = change(torch.arange(1.0, 5.0).reshape(1, 1, 2, 2)).flatten()
        plain, mirrored = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([2.0, 1.0, 4.0, 3.0])
        wide = torch.linspace(-1.0, 1.0, 64, dtype=torch.float64)
        if torch.equal(marked, plain):
            return torch.ones(64, dtype=torch.float64)
        return 0.95 + 0.02 * wide if torch.equal(marked, mirrored) else 0.9 + wide


def test_where_the_best_of_all_is_not_clear_the_clear_one_is_named() -> None:
    (found,) = view_verdicts(_Scattering(), None, (1, 2, 2))  # type: ignore[arg-type]
    assert not found.good
    assert "with the images mirrored" in found.text
