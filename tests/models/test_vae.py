"""The autoencoder: its loss is the evidence lower bound, and training it is resumable, seeded and makes a model."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from bench.cli import train
from bench.quality.datasets import load_digits
from bench.training.digits import Budget, train_digits_vae
from bench.training.losses import Recipe, Report, train_vae
from models.loading.sources import ZOO, load_card
from models.loading.zoo import load_model
from models.networks.vae import SIGMA, Decoder, Vae

_CONFIG = {"size": 8, "channels": 1, "width": 4, "latent": 6}
_RECIPE = Recipe(steps=12, batch=16, warmup=2, checkpoint_every=4)


class _Killed(Exception):
    pass


def _vae(seed: int = 0) -> Vae:
    torch.manual_seed(seed)
    return Vae(_CONFIG)


def _train(
    checkpoint: Path, recipe: Recipe = _RECIPE, stop_at: int | None = None
) -> tuple[list[float], dict[str, Tensor]]:
    losses: list[float] = []

    def report(step: int, loss: float) -> None:
        losses.append(loss)
        if step == stop_at:
            raise _Killed

    return losses, train_vae(_vae(recipe.seed), load_digits()[0], recipe, checkpoint, report).state


def test_the_loss_is_the_negative_evidence_lower_bound_a_pixel_up_to_the_gaussian_s_constant() -> None:
    vae, images = _vae(), load_digits()[0][:20]
    eps = torch.randn(20, 6, 1, 1, generator=torch.Generator().manual_seed(1))
    mean, log_variance = vae.encoder(images)
    posterior = Normal(mean, (0.5 * log_variance).exp())
    z = posterior.loc + posterior.scale * eps.flatten(1)
    likelihood = Normal(vae.decoder(z[:, :, None, None]), SIGMA).log_prob(images).flatten(1).sum(1)
    constant = Normal(0.0, SIGMA).log_prob(torch.tensor(0.0)) * 64
    bound = likelihood - constant - kl_divergence(posterior, Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(vae(images, eps), -bound.mean() / 64)


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (16, 3)])
def test_encoder_and_decoder_halve_and_double_three_times(size: int, channels: int) -> None:
    vae = Vae({"size": size, "channels": channels, "width": 4, "latent": 6})
    images = torch.zeros(2, channels, size, size)
    halvings = [layer for layer in vae.encoder.trunk if isinstance(layer, torch.nn.Conv2d)]
    assert [layer.stride for layer in halvings] == [(2, 2)] * 3
    assert [part.shape for part in vae.encoder(images)] == [(2, 6), (2, 6)]
    assert vae.decoder(torch.zeros(2, *vae.decoder.latent_shape)).shape == images.shape


def test_whatever_the_latent_the_decoder_s_images_lie_in_the_value_range() -> None:
    images = _vae().decoder(1e3 * torch.randn(64, 6, 1, 1, generator=torch.Generator().manual_seed(0)))
    assert images.abs().max() <= 1.0


@pytest.mark.parametrize("size", [0, 4, 12])
def test_sizes_that_cannot_be_halved_three_times_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="expected a multiple of 8"):
        Decoder(size=size, channels=1, width=4, latent=6)


def test_a_training_that_was_killed_and_resumed_walks_the_same_path(tmp_path: Path) -> None:
    losses, state = _train(tmp_path / "whole.pt")
    with pytest.raises(_Killed):
        _train(tmp_path / "killed.pt", stop_at=9)
    resumed, resumed_state = _train(tmp_path / "killed.pt")  # goes on from step 8
    assert resumed == pytest.approx(losses[8:], rel=1e-4)
    for name, value in state.items():
        torch.testing.assert_close(resumed_state[name], value, rtol=1e-3, atol=1e-4)


def test_the_seed_decides(tmp_path: Path) -> None:
    first, _ = _train(tmp_path / "a.pt")
    same, _ = _train(tmp_path / "b.pt")
    other, _ = _train(tmp_path / "c.pt", Recipe(steps=12, batch=16, warmup=2, checkpoint_every=4, seed=1))
    assert first == pytest.approx(same, rel=1e-5)
    assert first != pytest.approx(other, rel=1e-3)


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    losses, _ = _train(tmp_path / "c.pt", Recipe(steps=400, batch=32, warmup=10))
    assert losses[-1] < 0.8 * losses[0]


@contextmanager
def _silent(stage: str, steps: int) -> Iterator[Report]:
    yield lambda step, loss: None


def test_a_tiny_budget_makes_a_folder_of_the_decoder_alone(tmp_path: Path) -> None:
    folder = train_digits_vae(tmp_path, Budget(vae_steps=3), 0, _silent)
    card = load_card(folder)
    assert set(card.files) == {"config.json", "diffusion_pytorch_model.safetensors"}
    assert (card.network, card.state_shape, card.shape) == ("decoder", (128, 1, 1), (1, 8, 8))
    assert card.training["likelihood_sigma"] == SIGMA
    assert card.training["images_seen"] == 3 * 256
    assert 0 < float(card.quality["fd_digits_floor"]) < float(card.quality["fd_digits"])
    model = load_model(str(folder), torch.device("cpu"))
    level = model.schedule.level(1.0)
    assert model.network(torch.zeros(2, 128, 1, 1), level).shape == (2, 1, 8, 8)


def test_the_command_s_short_training_has_the_steps_asked_for_and_says_how_to_use_the_decoder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.train_model("digits-vae", tmp_path, 0, 2) == 0
    assert load_card(tmp_path / "model").training["steps"] == 2
    assert 'samplers = ["one-step"]' in capsys.readouterr().out


def test_the_shipped_decoder_is_small_and_measured_like_the_digits() -> None:
    vae, digits = load_card(ZOO / "digits-vae"), load_card(ZOO / "digits")
    assert vae.quality["extractor_sha256"] == digits.files["extractor/model.safetensors"]
    assert vae.quality["images"] == digits.quality["images"]
    assert vae.quality["fd_digits_floor"] == pytest.approx(float(digits.quality["fd_digits_floor"]))
    assert float(digits.quality["fd_digits"]) < float(vae.quality["fd_digits"]) < 10
    assert sum(path.stat().st_size for path in (ZOO / "digits-vae").iterdir()) < 2 * 2**20
