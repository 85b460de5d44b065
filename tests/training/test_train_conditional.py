"""A conditional model is trained with its classes and, by chance, with none; all else is as for a model without."""

from pathlib import Path

import pytest
import torch
from photographs import silent
from torch import Tensor, nn

from bench.cli import train
from bench.quality.datasets import load_digits
from bench.quality.extractors import load_extractor
from bench.quality.features import extract
from bench.running.session import Session
from bench.study.file import load_study
from bench.study.overrides import Overrides
from bench.training import conditional
from bench.training.conditional import (
    LABEL_DROPOUT,
    NULL_LABEL,
    train_digits_conditional,
    train_digits_conditional_weak,
)
from bench.training.digits import Budget
from bench.training.losses import Labels, denoising_loss
from bench.training.recipe import Recipe, step_generator
from bench.training.samples import draw
from models.common.errors import UsageError
from models.loading.layout import WEIGHTS
from models.loading.sources import ZOO, load_card
from models.loading.zoo import load_model
from models.schedule import DiscreteVP
from samplers import SAMPLERS

_CPU = torch.device("cpu")
_RECIPE = Recipe(steps=4, batch=64, seed=3)


class _Spy(nn.Module):
    """Predicts no noise at all and keeps what it is asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()))
        self.asked: tuple[Tensor, Tensor] | None = None
        self.labels: Tensor | None = None

    def forward(self, x: Tensor, index: Tensor, return_dict: bool, class_labels: Tensor | None = None) -> list[Tensor]:
        self.asked, self.labels = (x, index), class_labels
        return [self.nothing * x]


def _labels(dropout: float = LABEL_DROPOUT) -> Labels:
    return Labels(load_digits()[1], NULL_LABEL, dropout)


def _loss(step: int, labels: Labels | None) -> tuple[Tensor, _Spy]:
    spy = _Spy()
    return denoising_loss(spy, load_digits()[0], DiscreteVP.linear(), _RECIPE, labels=labels)(step), spy


def test_one_in_ten_images_is_given_the_label_of_no_class_and_the_others_their_own() -> None:
    chosen = torch.arange(1797).repeat(50)
    given = _labels().given(chosen, step_generator(0, 0))
    dropped = given == NULL_LABEL
    assert torch.equal(given[~dropped], load_digits()[1][chosen[~dropped]])
    # five standard deviations of a share of so many
    assert float(dropped.double().mean()) == pytest.approx(0.1, abs=5 * (0.1 * 0.9 / len(chosen)) ** 0.5)
    for dropout, expected in ((0.0, load_digits()[1][chosen]), (1.0, torch.full_like(chosen, NULL_LABEL))):
        assert torch.equal(_labels(dropout).given(chosen, step_generator(0, 0)), expected)


def test_labels_depend_on_the_step_and_on_the_seed_alone() -> None:
    chosen = torch.zeros(1000, dtype=torch.int64)
    first, again, other, seed = (
        _labels().given(chosen, step_generator(*drawn)) for drawn in ((0, 7), (0, 7), (0, 8), (1, 7))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, seed)


@pytest.mark.parametrize("step", [0, 3])
def test_a_training_without_classes_draws_what_it_drew_before_there_were_any(step: int) -> None:
    images, schedule = load_digits()[0], DiscreteVP.linear()
    draws = step_generator(_RECIPE.seed, step)
    chosen = torch.randint(len(images), (_RECIPE.batch,), generator=draws)
    index = torch.randint(schedule.train_steps, (_RECIPE.batch,), generator=draws)
    eps = torch.randn(_RECIPE.batch, 1, 8, 8, generator=draws)
    levels = [schedule.level((int(n) + 1) / schedule.train_steps) for n in index]
    alpha, sigma = (
        torch.tensor([getattr(level, name) for level in levels], dtype=torch.float32)[:, None, None, None]
        for name in ("alpha", "sigma")
    )
    loss, spy = _loss(step, None)
    assert spy.asked is not None
    assert torch.equal(spy.asked[0], alpha * images[chosen] + sigma * eps)
    assert torch.equal(spy.asked[1], index)
    assert spy.labels is None
    assert torch.equal(loss, eps.square().mean())


@pytest.mark.parametrize("step", [0, 3])
def test_classes_change_nothing_else_that_is_drawn_at_a_step(step: int) -> None:
    (without, plain), (with_classes, given) = _loss(step, None), _loss(step, _labels())
    assert torch.equal(without, with_classes)
    assert plain.asked is not None
    assert given.asked is not None
    assert all(map(torch.equal, plain.asked, given.asked))
    draws = step_generator(_RECIPE.seed, step)
    chosen = torch.randint(1797, (_RECIPE.batch,), generator=draws)
    assert given.labels is not None
    kept = given.labels != NULL_LABEL
    assert 0.75 < float(kept.double().mean()) < 1.0
    assert torch.equal(given.labels[kept], load_digits()[1][chosen[kept]])


@pytest.mark.parametrize(
    ("make", "channels"), [(train_digits_conditional, [16, 32, 64]), (train_digits_conditional_weak, [8, 16, 32])]
)
def test_a_tiny_budget_makes_a_folder_without_an_extractor_that_a_study_can_use_as_it_is(
    tmp_path: Path, make: object, channels: list[int]
) -> None:
    assert callable(make)
    folder = make(tmp_path, Budget(conditional_steps=2, weak_steps=2, conditional_quality_steps=2), 0, silent)
    card = load_card(folder)
    assert set(card.files) == {"config.json", "diffusion_pytorch_model.safetensors"}
    assert (card.classes, card.null_label, card.measured_by) == (10, 10, "digits")
    assert (card.training["steps"], card.training["label_dropout"]) == (2, 0.1)
    assert card.training["images_seen"] == 2 * int(str(card.training["batch"]))
    assert 0 < float(card.quality["fd_digits_floor"]) < float(card.quality["fd_digits"])
    assert 0 <= float(card.quality["class_accuracy"]) < 0.9 < float(card.quality["class_accuracy_real"]) <= 1
    model = load_model(str(folder), _CPU)
    assert model.network.unet.config["block_out_channels"] == channels  # type: ignore[attr-defined]
    session = Session.load(load_study("quick", Overrides(model=str(folder), device="cpu")))
    assert session.reference is not None
    assert session.reference.count == 1797
    assert load_extractor(None, model, _CPU).folder == ZOO / "digits"


def test_the_command_s_short_training_has_the_steps_asked_for_and_goes_on_only_with_the_same_dropout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.train_embedded("digits-conditional-weak", out=tmp_path, steps=2) == 0
    assert load_card(tmp_path / "model").training["steps"] == 2
    assert "run quick --model" in capsys.readouterr().out
    monkeypatch.setattr(conditional, "LABEL_DROPOUT", 0.2)
    with pytest.raises(UsageError, match=r"made with label dropout 0\.1, but this training has label dropout 0\.2"):
        train.train_embedded("digits-conditional-weak", out=tmp_path, steps=2)


def _classes_of(name: str, labels: Tensor) -> Tensor:
    """What the extractor's classifier takes images of these labels for."""
    model = load_model(name, _CPU)
    denoiser = model.denoiser(model.card.clip, labels)
    drawn = draw(denoiser, SAMPLERS.make("ddim"), model.card.state_shape, 20, len(labels))
    logits = extract(load_extractor(None, model, _CPU), drawn).logits
    assert logits is not None
    return logits.argmax(1)


def test_images_of_a_class_look_like_it_and_those_of_no_class_like_any() -> None:
    labels = torch.arange(100) % 10
    assert float((_classes_of("digits-conditional", labels) == labels).double().mean()) > 0.95
    assert len(_classes_of("digits-conditional", torch.full((100,), NULL_LABEL)).unique()) == 10


def test_the_weak_model_is_a_smaller_and_worse_one_of_the_same_kind() -> None:
    card, weak = load_card(ZOO / "digits-conditional"), load_card(ZOO / "digits-conditional-weak")
    same = {"shape", "schedule", "parametrisation", "clip", "classes", "null_label", "value_range", "network"}
    assert card.model_dump(include=same) == weak.model_dump(include=same)
    sizes = [(ZOO / each.name / WEIGHTS).stat().st_size for each in (card, weak)]
    assert sizes[1] < sizes[0] / 3
    digits = load_card(ZOO / "digits")
    for each in (card, weak):
        assert each.quality["extractor_sha256"] == digits.files["extractor/model.safetensors"]
        assert each.quality["images"] == digits.quality["images"]
        assert each.quality["fd_digits_floor"] == pytest.approx(float(digits.quality["fd_digits_floor"]))
    assert float(card.quality["fd_digits"]) < float(weak.quality["fd_digits"]) / 2
    assert float(weak.quality["class_accuracy"]) < float(card.quality["class_accuracy"])
