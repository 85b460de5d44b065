"""Whether a latent model is what its card says: its latents are scaled as those that it was trained with."""

from pathlib import Path
from typing import Any

import pytest
import torch
from latents import LATENT, ldm, make_vae, noise, write_card
from torch import Tensor, nn

from bench.conformance.model_check import check_model
from models import architectures
from models.loading.zoo import load_model

CPU = torch.device("cpu")
TRAINED_WITH = 0.18215


class _Normal(nn.Module):
    """The best flow there is for latents whose numbers are independent and normal."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.std = nn.Parameter(torch.zeros(1, *LATENT)), nn.Parameter(torch.ones(1, *LATENT))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        t = t[:, None, None, None]
        excess = (x - (1 - t) * self.mean) / ((1 - t) ** 2 * self.std**2 + t**2)
        return t * excess - self.mean - (1 - t) * self.std**2 * excess


def _normal(config: dict[str, Any]) -> nn.Module:
    return _Normal()


def _images(count: int = 64) -> Tensor:
    """Pictures (N, 3, 16, 16) uint8, smooth and of many shades."""
    rough = noise(count, (3, 4, 4), seed=5)
    smooth = nn.functional.interpolate(rough, size=16, mode="bilinear")
    return ((smooth.tanh() + 1.0) * 127.5).round().to(torch.uint8)


def _folder(path: Path, factor: float) -> Path:
    """A flow that was trained on the latents of such pictures, and a card with this factor."""
    vae, network = make_vae(), _Normal()
    with torch.inference_mode():
        z = vae.encode(_images(256).float() / 127.5 - 1.0).latent_dist.mode() * TRAINED_WITH
    network.mean.data, network.std.data = z.mean(0, keepdim=True), z.std(0, keepdim=True)
    vae.save_pretrained(path / "vae")
    torch.save(network.state_dict(), path / "flow.pt")
    decoder = f'kind = "autoencoder-kl"\nscaling_factor = {factor}'
    write_card(path, "test-normal-latents", decoder, "time_scale = 1.0")
    return path


def test_a_factor_that_latents_were_not_trained_with_is_told(tmp_path: Path) -> None:
    model = load_model(str(_folder(tmp_path / "wrong", 1.0)), CPU)
    said = [each.text for each in check_model(model, CPU, "pictures", _images()).verdicts if not each.good]
    assert any("its latents have scaling_factor = 0.18215, the card's decoder has 1" in each for each in said)


def test_the_right_factor_is_right(tmp_path: Path) -> None:
    model = load_model(str(_folder(tmp_path / "right", TRAINED_WITH)), CPU)
    found = check_model(model, CPU, "pictures", _images())
    assert not any("scaling_factor" in each.text for each in found.verdicts)
    assert "this network predicts a flow's velocity eps - x_0, as the card says" in [e.text for e in found.verdicts]


@pytest.mark.parametrize("images", [None, _images()])
def test_what_is_said_of_a_range_is_said_of_decoded_images(images: Tensor | None) -> None:
    model = load_model(str(ldm()), CPU)
    found = check_model(model, CPU, None if images is None else "pictures", images)
    assert found.samples is not None
    with torch.inference_mode():
        decoded = model.decoded(noise(8, (3, 8, 8)))
    assert abs(found.samples[0]) < 10.0 * float(decoded.abs().max())
    assert any("the range of its images is [-1, 1]" in each.text for each in found.verdicts)


@pytest.fixture(autouse=True)
def _networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of this file, which are gone after each test."""
    makers = {"test-normal-latents": _normal}
    monkeypatch.setattr(architectures, "_makers", architectures._makers | makers)
