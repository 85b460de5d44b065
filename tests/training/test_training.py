"""What the embedded models are made of is trained as if it was never interrupted, by its seed alone, and learns."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from photographs import Killed, silent
from torch import Tensor, nn

from bench.quality.datasets import load_digits
from bench.quality.images import to_uint8
from bench.running.session import Session
from bench.study.file import load_study
from bench.study.overrides import Overrides
from bench.training.digits import Budget, train_digits, train_digits_vae
from bench.training.loop import Keeping, train
from bench.training.losses import Labels, denoising_loss, shifting_loss, vae_loss
from bench.training.recipe import Recipe
from models.common.errors import UsageError
from models.loading.sources import load_card
from models.loading.zoo import load_model
from models.networks.classifier import Classifier
from models.networks.network import make_unet
from models.networks.vae import SIGMA, Vae
from models.schedule import DiscreteVP

_UNET = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [8],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"],
    "add_attention": False,
    "norm_num_groups": 4,
}
_RECIPE = Recipe(steps=12, batch=16, warmup=2, checkpoint_every=4)
_Made = tuple[nn.Module, Callable[[int], Tensor]]


def _denoiser(recipe: Recipe) -> _Made:
    unet = make_unet(_UNET)
    return unet, denoising_loss(unet, load_digits()[0], DiscreteVP.linear(), recipe)


def _conditional(recipe: Recipe) -> _Made:
    unet, (images, classes) = make_unet(_UNET | {"num_class_embeds": 11}), load_digits()
    return unet, denoising_loss(unet, images, DiscreteVP.linear(), recipe, labels=Labels(classes, 10, 0.1))


def _autoencoder(recipe: Recipe) -> _Made:
    vae = Vae({"size": 8, "channels": 1, "width": 4, "latent": 6})
    return vae, vae_loss(vae, load_digits()[0], recipe)


def _classifier(recipe: Recipe) -> _Made:
    network, (images, labels) = Classifier(size=8, channels=1, width=8, features=32, classes=10), load_digits()
    return network, shifting_loss(network, to_uint8(images), labels, recipe)


_ALL = pytest.mark.parametrize("make", [_denoiser, _conditional, _autoencoder, _classifier])


def _train(
    checkpoint: Path, make: Callable[[Recipe], _Made], recipe: Recipe = _RECIPE, stop_at: int | None = None
) -> tuple[list[float], dict[str, Tensor]]:
    losses: list[float] = []

    def report(step: int, loss: float) -> None:
        losses.append(loss)
        if step == stop_at:
            raise Killed

    torch.manual_seed(recipe.seed)
    network, loss_of = make(recipe)
    return losses, train(network, loss_of, recipe, Keeping(checkpoint, report)).state


@_ALL
def test_a_training_that_was_killed_and_resumed_walks_the_same_path(
    tmp_path: Path, make: Callable[[Recipe], _Made]
) -> None:
    losses, state = _train(tmp_path / "whole", make)
    with pytest.raises(Killed):
        _train(tmp_path / "killed", make, stop_at=9)
    resumed, resumed_state = _train(tmp_path / "killed", make)  # goes on from step 8
    assert resumed == losses[8:]
    for name, value in state.items():
        assert torch.equal(resumed_state[name], value), name


@_ALL
def test_the_seed_decides_and_training_lowers_the_loss(tmp_path: Path, make: Callable[[Recipe], _Made]) -> None:
    recipe = Recipe(steps=100 if make in (_denoiser, _conditional) else 400, batch=32, warmup=10)
    first, _ = _train(tmp_path / "a", make, recipe)
    assert first[-1] < 0.8 * first[0]
    short = Recipe(steps=12, batch=32, warmup=10)
    same, other = (_train(tmp_path / f"{seed}", make, Recipe(**vars(short) | {"seed": seed}))[0] for seed in (0, 1))
    again, _ = _train(tmp_path / "again", make, short)
    assert same == pytest.approx(again, rel=1e-5)
    assert same != pytest.approx(other, rel=1e-3)


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    _train(tmp_path / "c", _denoiser)
    with pytest.raises(UsageError, match="was made with steps 12, but this training has steps 13;"):
        _train(tmp_path / "c", _denoiser, Recipe(steps=13, batch=16, warmup=2, checkpoint_every=4))


def test_a_tiny_budget_makes_a_folder_that_a_study_can_use(tmp_path: Path) -> None:
    folder = train_digits(tmp_path, Budget(denoiser_steps=3, classifier_steps=150, quality_steps=2), 0, silent)
    card = load_card(folder)
    assert card.training["images_seen"] == 3 * 256
    assert card.extractor is not None
    assert card.extractor.test_accuracy > 0.5
    assert 0 < float(card.quality["fd_digits_floor"]) < float(card.quality["fd_digits"])
    session = Session.load(load_study("quick", Overrides(model=str(folder), device="cpu")))
    assert session.reference is not None
    assert session.reference.count == 1797


def test_a_tiny_budget_makes_a_folder_of_the_decoder_alone(tmp_path: Path) -> None:
    folder = train_digits_vae(tmp_path, Budget(vae_steps=3), 0, silent)
    card = load_card(folder)
    assert set(card.files) == {"config.json", "diffusion_pytorch_model.safetensors"}
    assert (card.network, card.state_shape, card.shape) == ("decoder", (128, 1, 1), (1, 8, 8))
    assert card.training["likelihood_sigma"] == SIGMA
    assert card.training["images_seen"] == 3 * 256
    assert 0 < float(card.quality["fd_digits_floor"]) < float(card.quality["fd_digits"])
    model = load_model(str(folder), torch.device("cpu"))
    assert model.network(torch.zeros(2, 128, 1, 1), model.schedule.level(1.0)).shape == (2, 1, 8, 8)
