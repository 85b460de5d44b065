"""What a network is instead of what its card says: another time, sign, preconditioning or schedule, each named."""

import math
import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from checked_models import FEW, checked, digits, images_of_digits
from checkpoints import CPU
from torch import Tensor

from bench.conformance.model_check import BRIEF, check_model
from bench.quality.datasets import open_data
from models.analytic import FiniteData
from models.cards.card import Card
from models.denoiser import PARAMETRISATIONS
from models.loading.model import Model
from models.networks.network import ConsistencyPreconditioned, EDMPreconditioned, Network
from models.schedule import ContinuousVP, Level


def _flow(network: Network) -> Model:
    plain = digits()
    said = {"network": "flow", "parametrisation": "flow", "schedule": {"kind": "flow"}, "clip": None}
    card = Card.model_validate(plain.card.model_dump() | said)
    return replace(plain, card=card, schedule=card.schedule.build(), network=network)


@pytest.mark.parametrize(
    ("given", "sign", "said"),
    [
        (lambda t: t, 1.0, None),
        (lambda t: t, -1.0, "predicts x_0 - eps, a flow's velocity the other way round"),
        (lambda t: 1.0 - t, 1.0, "a time that runs from noise at 0 to data at 1"),
        (lambda t: t * 1000.0, 1.0, "t itself, not 1000 t"),
    ],
)
def test_a_flow_that_runs_the_other_way_or_on_another_time_is_told(given: Any, sign: float, said: str | None) -> None:
    """The exact velocity of the digits, for the time that the network takes its input to be."""
    law = FiniteData(images_of_digits().double() / 127.5 - 1.0)

    def velocity(x: Tensor, at: Level) -> Tensor:
        t = min(max(given(at.t), 1e-3), 1.0 - 1e-3)
        x0 = law(x, Level(t, 1.0 - t, t, 0.0, 0.0))
        found: Tensor = sign * ((x - (1.0 - t) * x0) / t - x0)
        return found

    bad = checked(_flow(velocity)).bad
    assert any(said in text for text in bad) if said else bad == []


@pytest.mark.parametrize(
    "schedule",
    [
        {"kind": "linear", "train_steps": 4, "beta_start": 0.1, "beta_end": 0.9},
        {"kind": "ve", "sigma_min": 0.002, "sigma_max": 80.0},
        {"kind": "ve", "sigma_min": 0.001, "sigma_max": 0.01},
        {"kind": "vp"},
        {"kind": "flow", "t_max": 1.0},
    ],
)
def test_an_exact_network_passes_on_every_schedule_however_few_its_levels(schedule: dict[str, Any]) -> None:
    law = FiniteData(images_of_digits().double() / 127.5 - 1.0)
    plain = digits()
    said = {"network": "sigma", "parametrisation": "sample", "schedule": schedule, "clip": None}
    card = Card.model_validate(plain.card.model_dump() | said)
    model = replace(plain, card=card, schedule=card.schedule.build(), network=law)
    bad = checked(model).bad
    # from a hundredth of the data's scale there is nothing to sample
    assert bad == [] or (schedule.get("sigma_max") == 0.01 and all("standard deviation" in text for text in bad))


def test_a_network_that_may_look_indices_up_in_a_table_is_asked_about_none_above_the_card_s() -> None:
    plain, asked = digits(), list[float]()

    def network(x: Tensor, at: Level) -> Tensor:
        asked.append(plain.schedule.nearest(at.t))
        return plain.network(x, at)

    card = plain.card.model_copy(update={"round_time": True})
    checked(replace(plain, card=card, network=network))
    assert max(asked) <= 1.0
    assert min(asked) < 0.01


def test_every_parametrisation_of_an_exact_network_is_recognised() -> None:
    law = FiniteData(images_of_digits().double() / 127.5 - 1.0)
    plain = digits()
    for name, affine in PARAMETRISATIONS.items():

        def output(x: Tensor, at: Level, make: Any = affine) -> Tensor:
            found: Tensor = (law(x, at) - make(at).x0_x * x) / make(at).x0_out
            return found

        card = plain.card.model_copy(update={"parametrisation": name})
        assert checked(replace(plain, card=card, network=output)).bad == []


def test_the_other_sign_of_eps_is_called_so() -> None:
    """As networks have it that predict the score times sigma."""
    law = FiniteData(images_of_digits().double() / 127.5 - 1.0)
    model = replace(digits(), network=lambda x, at: (at.alpha * law(x, at) - x) / at.sigma)
    assert "this network predicts -eps, the card says eps" in checked(model).bad


def test_a_brief_look_at_samples_that_fill_half_of_the_card_s_range_asks_for_its_range() -> None:
    """A network of [0, 1] under a card of [-1, 1], as cards have it unless they say another."""
    law = FiniteData(images_of_digits().double() / 255.0)
    eps = replace(digits(), network=lambda x, at: (x - at.alpha * law(x, at)) / at.sigma)
    (text,) = check_model(eps, CPU, depth=BRIEF).bad
    assert re.match(r"its samples fill 5\d % of the range of its images, \[-1, 1\]: nearly all are in ", text)
    bright = (128 + images_of_digits() // 2).to(torch.uint8)  # real images that are all bright accuse nobody
    law = FiniteData(bright.double() / 127.5 - 1.0)
    assert check_model(eps, CPU, "digits", bright, depth=FEW).bad == []


def test_a_flow_that_runs_the_other_way_with_the_other_sign_is_told_both() -> None:
    law = FiniteData(images_of_digits().double() / 127.5 - 1.0)

    def velocity(x: Tensor, at: Level) -> Tensor:
        t = min(max(1.0 - at.t, 1e-3), 1.0 - 1e-3)
        x0 = law(x, Level(t, 1.0 - t, t, 0.0, 0.0))
        found: Tensor = x0 - (x - (1.0 - t) * x0) / t
        return found

    for scale in (None, 1.0):  # with more times to choose from, too
        model = _flow(velocity)
        model = replace(model, card=model.card.model_copy(update={"time_scale": scale}))
        bad = " | ".join(checked(model).bad)
        assert "x_0 - eps, a flow's velocity the other way round" in bad
        assert "a time that runs from noise at 0 to data at 1" in bad


def test_a_flow_whose_card_leaves_out_the_factor_of_its_time_is_told() -> None:
    law = FiniteData(images_of_digits().double() / 127.5 - 1.0)

    def velocity(x: Tensor, at: Level) -> Tensor:
        t = min(max(at.t / 1000.0, 1e-3), 1.0 - 1e-3)  # trained on 1000 t
        x0 = law(x, Level(t, 1.0 - t, t, 0.0, 0.0))
        found: Tensor = (x - (1.0 - t) * x0) / t - x0
        return found

    model = _flow(velocity)
    model = replace(model, card=model.card.model_copy(update={"time_scale": 1.0}))
    assert "it is to be given 1000 t, not 1 t" in checked(model).bad


def _edm(images: Tensor, said: float = 0.5, sign: float = 1.0, true: float = 0.5) -> Model:
    """The exact x_0 of images as what stands in EDM's preconditioning of a true sigma_data would give it."""
    law, plain = FiniteData(images.double() / 127.5 - 1.0), digits()

    def raw(x: Tensor, condition: Tensor) -> Tensor:
        sigma = math.exp(4.0 * float(condition[0]))
        std = math.hypot(sigma, true)
        skip, out = true**2 / std**2, sigma * true / std
        found: Tensor = sign * (law(x * std, Level(0.5, 1.0, sigma, 0.0, 0.0)) - skip * x * std) / out
        return found

    changes = {"network": "edm", "parametrisation": "sample", "schedule": {"kind": "ve"}, "clip": None}
    card = Card.model_validate(plain.card.model_dump() | changes | {"sigma_data": said})
    return replace(plain, card=card, schedule=card.schedule.build(), network=EDMPreconditioned(raw, said))


def test_a_network_of_edm_s_is_not_accused_of_the_blur_of_a_grid_that_is_even_in_sigma() -> None:
    """Its last step is from so much noise that every sample is the mean of all images."""
    images = torch.randint(0, 256, (12, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert check_model(_edm(images), CPU, "noise", images, depth=FEW).bad == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"said": 1.0}, "its predictions fit sigma_data = 0.5, the card says 1"),
        ({"true": 0.75}, "its predictions fit sigma_data = 0.75, the card says 0.5"),
        ({"sign": -1.0}, "it is to be read with the other raw_prediction"),
    ],
)
def test_a_wrong_preconditioning_is_told(changes: dict[str, float], said: str) -> None:
    assert any(text.startswith(said) for text in checked(_edm(images_of_digits(), **changes)).bad)


def test_a_range_that_fits_as_well_as_another_sigma_data_is_named_beside_it() -> None:
    """A network that knows but the mean and spread of each pixel: half the range is much like twice the sigma_data."""
    x0 = images_of_digits().float() / 127.5 - 1.0
    mean, variance = x0.mean(0), x0.var(0)

    def raw(x: Tensor, condition: Tensor) -> Tensor:
        sigma = math.exp(4.0 * float(condition[0]))
        std = math.hypot(sigma, 1.0)
        denoised = mean + variance / (variance + sigma**2) * (x * std - mean)
        return (denoised - x / std) * std / sigma

    model = replace(_edm(images_of_digits()), network=EDMPreconditioned(raw, 0.5))
    bad = " | ".join(checked(model).bad)
    assert "its predictions fit sigma_data = 1, the card says 0.5" in bad
    assert "; or, which fits as well, " in bad
    assert "its images lie in [-0.5, 0.5], the card's value_range is [-1, 1]" in bad


@pytest.mark.parametrize("true", [0.5, 0.75])
def test_the_sigma_data_of_a_consistency_model_is_fitted_too(true: float) -> None:
    """With the mean of x_0, as its samples at low noise nearly are."""
    law, plain = FiniteData(images_of_digits().double() / 127.5 - 1.0), digits()

    def raw(x: Tensor, condition: Tensor) -> Tensor:
        sigma = math.exp(float(condition[0]) / 250.0)
        std, above = math.hypot(sigma, true), sigma - 0.002
        skip, out = true**2 / (above**2 + true**2), above * true / std
        found: Tensor = (law(x * std, Level(0.5, 1.0, sigma, 0.0, 0.0)) - skip * x * std) / out
        return found

    changes = {"network": "consistency", "parametrisation": "sample", "schedule": {"kind": "ve"}, "clip": None}
    card = Card.model_validate(plain.card.model_dump() | changes)
    model = replace(plain, card=card, schedule=card.schedule.build(), network=ConsistencyPreconditioned(raw))
    said = "its predictions fit sigma_data = 0.75, the card says 0.5"
    assert checked(model).bad == ([] if true == 0.5 else [said])


def test_score_sde_s_betas_are_tried_on_a_network_in_continuous_time() -> None:
    law, plain = FiniteData(images_of_digits().double() / 127.5 - 1.0), digits()
    changes: dict[str, Any] = {"network": "vp-continuous", "parametrisation": "sample", "clip": None}
    card = Card.model_validate(plain.card.model_dump() | changes | {"schedule": {"kind": "vp", "beta_max": 5.0}})
    trained = ContinuousVP()
    network: Network = lambda x, at: law(x, trained.level(at.t))  # noqa: E731
    bad = checked(replace(plain, card=card, schedule=card.schedule.build(), network=network)).bad
    assert any("it was trained on betas 0.1 to 20, as Score SDE" in text for text in bad)


def test_images_whose_classes_are_not_known_accuse_no_network_that_takes_classes() -> None:
    data = open_data("digits")
    assert data.labels is not None
    pixels, labels = data.images[:40], data.labels[:40]
    laws = [FiniteData(pixels[labels == each].double() / 127.5 - 1.0) for each in range(10)]

    def network(x: Tensor, at: Level, classes: Tensor) -> Tensor:
        found = [laws[int(each)](x[n : n + 1], at) for n, each in enumerate(classes)]
        return torch.cat(found)

    conditional: Any = network
    plain = digits()
    card = plain.card.model_copy(update={"classes": 10, "parametrisation": "sample", "clip": None})
    model = replace(plain, card=card, network=conditional)
    known = check_model(model, CPU, "digits", pixels, labels, FEW)
    assert (known.bad, known.data) == ([], "digits")
    unknown = check_model(model, CPU, "digits", pixels, None, FEW)
    assert (unknown.bad, unknown.data) == ([], "digits")
    assert any("the classes of the images are not known" in each.text for each in unknown.verdicts)
