"""The autoencoder: its loss is the evidence lower bound, and its decoder is a model of one evaluation."""

from pathlib import Path

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from bench.cli import train
from bench.quality.datasets import load_digits
from models.loading.sources import ZOO, load_card
from models.networks.vae import SIGMA, Decoder, Vae

_CONFIG = {"size": 8, "channels": 1, "width": 4, "latent": 6}


def _vae(seed: int = 0) -> Vae:
    torch.manual_seed(seed)
    return Vae(_CONFIG)


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


def test_the_command_s_short_training_has_the_steps_asked_for_and_says_how_to_use_the_decoder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.train_embedded("digits-vae", out=tmp_path, steps=2) == 0
    assert load_card(tmp_path / "model").training["steps"] == 2
    assert 'samplers = ["one-step"]' in capsys.readouterr().out


def test_the_shipped_decoder_is_small_and_measured_like_the_digits() -> None:
    vae, digits = load_card(ZOO / "digits-vae"), load_card(ZOO / "digits")
    assert vae.quality["extractor_sha256"] == digits.files["extractor/model.safetensors"]
    assert vae.quality["images"] == digits.quality["images"]
    assert vae.quality["fd_digits_floor"] == pytest.approx(float(digits.quality["fd_digits_floor"]))
    assert float(digits.quality["fd_digits"]) < float(vae.quality["fd_digits"]) < 10
    assert sum(path.stat().st_size for path in (ZOO / "digits-vae").iterdir()) < 2 * 2**20
