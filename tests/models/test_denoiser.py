"""The one place of parametrisations: whatever a network predicts, samplers see the same numbers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from models.denoiser import PARAMETRISATIONS, Denoiser, Parametrisation
from models.networks.network import counted
from models.schedule import VE, ContinuousVP, DiscreteVP, Flow, Level
from samplers import SAMPLERS

VP = ContinuousVP()

LEVELS = [
    *(ContinuousVP().level(t) for t in (1e-3, 0.4, 1.0)),
    *(DiscreteVP.linear().level(t) for t in (1e-3, 0.4, 1.0)),
    *(VE().level(t) for t in (0.002 / 80, 0.01, 1.0)),
    *(Flow().level(t) for t in (1e-3, 0.4, 0.99)),
]

OUTPUTS: dict[Parametrisation, Callable[[Tensor, Tensor, Level], Tensor]] = {
    "epsilon": lambda x0, eps, at: eps,
    "sample": lambda x0, eps, at: x0,
    "v_prediction": lambda x0, eps, at: at.alpha * eps - at.sigma * x0,
    "score": lambda x0, eps, at: -eps / at.sigma,
    "flow": lambda x0, eps, at: eps - x0,
}


def known() -> tuple[Tensor, Tensor]:
    """An x0 and an eps of shape (3, 2, 4, 4)."""
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 3, 2, 4, 4, generator=generator, dtype=torch.float64)
    return x0, eps


def test_every_parametrisation_is_tested() -> None:
    assert OUTPUTS.keys() == PARAMETRISATIONS.keys()


@pytest.mark.parametrize("parametrisation", OUTPUTS)
@pytest.mark.parametrize("at", LEVELS)
def test_all_parametrisations_say_the_same(parametrisation: Parametrisation, at: Level) -> None:
    x0, eps = known()
    x = at.alpha * x0 + at.sigma * eps
    prediction = Denoiser(lambda x, at: OUTPUTS[parametrisation](x0, eps, at), parametrisation, VP)(x, at)
    # x holds x0 and eps to 1e-16 of the larger of the two parts; the smaller one is read off with that error
    loss = max(at.alpha / at.sigma, at.sigma / at.alpha, 1.0)
    for found, expected in (
        (prediction.x0, x0),
        (prediction.eps, eps),
        (prediction.score * at.sigma, -eps),
        (prediction.v / max(at.sigma, 1.0), (at.alpha * eps - at.sigma * x0) / max(at.sigma, 1.0)),
    ):
        torch.testing.assert_close(found, expected, rtol=0.0, atol=max(1e-12, 1e-15 * loss))


@pytest.mark.parametrize("parametrisation", ["sample", "v_prediction", "flow"])
def test_predictions_are_defined_where_the_state_is_pure_noise(parametrisation: Parametrisation) -> None:
    x0, eps = known()
    at = Flow().level(1.0)
    prediction = Denoiser(lambda x, at: OUTPUTS[parametrisation](x0, eps, at), parametrisation, VP)(eps, at)
    for found, expected in ((prediction.x0, x0), (prediction.eps, eps), (prediction.v, -x0), (prediction.score, -eps)):
        torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("parametrisation", OUTPUTS)
@pytest.mark.parametrize("at", [ContinuousVP().level(0.4), VE().level(0.01), Flow().level(0.4)])
def test_everything_follows_from_the_clipped_x0(parametrisation: Parametrisation, at: Level) -> None:
    x0, eps = known()
    x = at.alpha * x0 + at.sigma * eps
    model = Denoiser(lambda x, at: OUTPUTS[parametrisation](x0, eps, at), parametrisation, VP, clip=(-1.0, 0.5))
    prediction = model(x, at)
    clipped = x0.clip(-1.0, 0.5)
    assert not torch.equal(clipped, x0)
    derived = (x - at.alpha * clipped) / at.sigma
    for found, expected in (
        (prediction.x0, clipped),
        (prediction.eps, derived),
        (prediction.score, -derived / at.sigma),
        (prediction.v, at.alpha * derived - at.sigma * clipped),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("parametrisation", OUTPUTS)
def test_clipping_changes_nothing_where_x0_lies_inside_the_range(parametrisation: Parametrisation) -> None:
    x0, eps = known()
    at = ContinuousVP().level(0.4)
    x = at.alpha * x0 + at.sigma * eps
    free, clipped = (
        Denoiser(lambda x, at: OUTPUTS[parametrisation](x0, eps, at), parametrisation, VP, clip)(x, at)
        for clip in (None, (-10.0, 10.0))
    )
    torch.testing.assert_close(clipped.x0, free.x0, rtol=0.0, atol=1e-12)
    torch.testing.assert_close(clipped.eps, free.eps, rtol=0.0, atol=1e-12)


def test_evaluations_are_counted_per_image() -> None:
    network, evaluated = counted(lambda x, at: x)
    model = Denoiser(network, "epsilon", VP)
    assert evaluated() == 0
    for batch in (3, 5, 1):
        model(torch.zeros(batch, 1, 2, 2), ContinuousVP().level(0.5))
    assert evaluated() == 9


def test_nothing_that_a_sampler_holds_sets_the_count_or_goes_round_it() -> None:
    network, evaluated = counted(lambda x, at: x)
    model: Any = Denoiser(network, "epsilon", VP)
    model(torch.zeros(3, 1, 2, 2), VP.level(0.5))
    model.evaluations = 0
    with pytest.raises(AttributeError):
        model._count.images = 0
    model._network(torch.zeros(2, 1, 2, 2), VP.level(0.5))
    assert evaluated() == 5
    assert not vars(model._network)
    assert not hasattr(model._network, "__wrapped__")


@pytest.mark.parametrize("clip", [None, (-1.0, 1.0)])
def test_a_prediction_costs_one_network_call_however_often_it_is_read(clip: tuple[float, float] | None) -> None:
    seen: list[tuple[Tensor, Level]] = []

    def network(x: Tensor, at: Level) -> Tensor:
        seen.append((x, at))
        return x * 0.5

    x, at = torch.ones(2, 1, 2, 2), ContinuousVP().level(0.5)
    evaluate, evaluated = counted(network)
    model = Denoiser(evaluate, "v_prediction", VP, clip)
    prediction = model(x, at)
    for _ in range(2):
        for name in ("x0", "eps", "score", "v"):
            assert getattr(prediction, name) is getattr(prediction, name)
    assert [(state is x, level) for state, level in seen] == [(True, at)]
    assert evaluated() == 2


@pytest.mark.parametrize("parametrisation", OUTPUTS)
@pytest.mark.parametrize("clip", [None, (-1.0, 1.0)])
def test_reading_a_prediction_changes_neither_the_state_nor_the_output(
    parametrisation: Parametrisation, clip: tuple[float, float] | None
) -> None:
    x, output = known()
    kept_x, kept_output = x.clone(), output.clone()
    prediction = Denoiser(lambda x, at: output, parametrisation, VP, clip)(x, ContinuousVP().level(0.4))
    for name in ("x0", "eps", "score", "v"):
        getattr(prediction, name)
    assert torch.equal(x, kept_x)
    assert torch.equal(output, kept_output)


def test_the_clean_level_is_refused_without_an_evaluation() -> None:
    calls: list[Level] = []

    def network(x: Tensor, at: Level) -> Tensor:
        calls.append(at)
        return x

    model = Denoiser(network, "epsilon", VP)
    with pytest.raises(ValueError, match="clean level"):
        model(torch.zeros(1, 1, 2, 2), ContinuousVP().level(0.0))
    assert calls == []


def _labelled(labels: Tensor) -> tuple[Denoiser, Callable[[], int]]:
    """Predicts x_0 = the image's label, whatever the state; and how many images it has evaluated."""
    network, evaluated = counted(lambda x, at, labels: labels[:, None, None, None].expand_as(x))
    return Denoiser(network, "sample", VP, None, labels), evaluated


def test_a_conditional_network_is_given_the_labels_of_its_images() -> None:
    prediction = _labelled(torch.tensor([4, 0, 7]))[0](torch.zeros(3, 1, 2, 2), VP.level(0.5))
    assert prediction.x0[:, 0, 0, 0].tolist() == [4, 0, 7]


def test_rows_of_a_denoiser_are_its_images_with_their_labels_and_its_count() -> None:
    (model, evaluated), x = _labelled(torch.tensor([4, 0, 7])), torch.zeros(3, 1, 2, 2)
    part = model.rows(slice(1, 3))
    assert part(x[1:], VP.level(0.5)).x0[:, 0, 0, 0].tolist() == [0, 7]
    assert part.rows(slice(1, 2))(x[2:], VP.level(0.5)).x0[:, 0, 0, 0].tolist() == [7]
    assert part.schedule is model.schedule
    assert evaluated() == 3


@pytest.mark.parametrize("clip", [None, (-0.1, 0.2)])
def test_rows_of_a_denoiser_without_labels_predict_what_it_does(clip: tuple[float, float] | None) -> None:
    x, _ = known()
    model, at = Denoiser(lambda x, at: x.sin(), "v_prediction", VP, clip), VP.level(0.4)
    assert torch.equal(model.rows(slice(1, 3))(x[1:], at).x0, model(x, at).x0[1:])


def test_labels_of_another_batch_are_refused_without_an_evaluation() -> None:
    model, evaluated = _labelled(torch.tensor([4, 0, 7]))
    with pytest.raises(ValueError, match=r"labels of 3 images, but was asked about 1; .* model.rows\(slice\)"):
        model(torch.zeros(1, 1, 2, 2), VP.level(0.5))
    assert evaluated() == 0
    for wrong in (torch.tensor([1.0]), torch.tensor([[1]]), torch.tensor([1], dtype=torch.int32)):
        with pytest.raises(ValueError, match=r"expected labels \(N,\) of int64"):
            _labelled(wrong)


def test_the_black_box_solver_gives_each_image_its_own_label() -> None:
    def no_noise(like: Tensor) -> Tensor:
        raise AssertionError("a solver of the probability flow draws none")

    labels = torch.tensor([0, 2, -1])
    (model, evaluated), x = _labelled(labels), known()[0]
    found = SAMPLERS.make("rk45").sample(model, x, [VP.level(1.0), VP.level(0.001), VP.level(0.0)], no_noise)
    assert torch.equal(found, labels[:, None, None, None].expand_as(x))
    assert evaluated() > 3 * 7
