"""Latent models beside diffusers' own pipelines of the same weights, noise and classes."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from latents import LATENT, dit, ldm, make_dit, make_vae, noise, rewritten, write_card
from torch import Tensor, nn

from models import architectures
from models.cards.changes import Changes
from models.common.errors import UsageError
from models.grids import GRIDS
from models.guidance import GUIDANCES
from models.loading.model import Model
from models.loading.sources import describe_model
from models.loading.zoo import load_model
from samplers import SAMPLERS

CPU = torch.device("cpu")
CLASSES = [0, 7, 999]
TEN = 10


def sampled(model: Model, x: Tensor, labels: Tensor | None, guidance: str, sampler: str = "ddim") -> Tensor:
    """Images of ours, of unit noise, on ten trailing steps."""
    levels = GRIDS.make("trailing")(model.schedule, TEN)
    denoiser = model.denoiser(model.card.clip, labels, model.guided(GUIDANCES.make(guidance)))
    with torch.inference_mode():
        start = x * model.schedule.prior_std(levels[0])
        return model.decoded(
            SAMPLERS.make(sampler).sample(denoiser, start, levels, lambda like: torch.zeros_like(like))
        )


def shown(images: Tensor) -> Tensor:
    """As pipelines give images."""
    return (images / 2 + 0.5).clamp(0.0, 1.0)


def pipeline_images(kind: Any, folder: Path, module: str, x: Tensor, **given: Any) -> Tensor:
    """What diffusers' pipeline makes of this noise."""
    pipeline = kind.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    with mock.patch(f"{module}.randn_tensor", return_value=x.clone()):
        images = pipeline(num_inference_steps=TEN, output_type="np", **given).images
    return torch.as_tensor(images).movedim(3, 1)


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_a_dit_makes_the_images_of_diffusers_pipeline(scale: float) -> None:
    from diffusers import DiTPipeline

    x, module = noise(3, LATENT), "diffusers.pipelines.dit.pipeline_dit"
    given = {"class_labels": CLASSES, "guidance_scale": scale}
    theirs = pipeline_images(DiTPipeline, dit(), module, x, **given)
    ours = shown(sampled(load_model(str(dit()), CPU), x, torch.tensor(CLASSES), f"cfg[scale={scale}]"))
    assert ours.shape == (3, 3, 16, 16)
    assert float(theirs.std()) > 0.1
    assert float((ours - theirs).abs().max()) < 1e-5


def test_an_ldm_makes_the_images_of_diffusers_pipeline() -> None:
    from diffusers import LDMPipeline

    module = "diffusers.pipelines.deprecated.latent_diffusion_uncond.pipeline_latent_diffusion_uncond"
    x = noise(3, (3, 8, 8))
    theirs = pipeline_images(LDMPipeline, ldm(), module, x, batch_size=3)
    ours = shown(sampled(load_model(str(ldm()), CPU), x, None, "none"))
    assert float(theirs.std()) > 0.1
    assert float((ours - theirs).abs().max()) < 1e-5


def test_three_channels_are_guided_as_dit_s_authors_do() -> None:
    """forward_with_cfg of their code: eps of the first three channels is joined, the rest is the conditional's."""
    model = load_model(str(dit()), CPU, Changes(guided_channels=3))
    module, at, x = make_dit(), model.schedule.level(0.5), noise(2, LATENT)
    index, labels = torch.full((2,), 499.0), torch.tensor([3, 4])
    found = model.guided(GUIDANCES.make("cfg[scale=4]"))(x, at, labels)
    with torch.inference_mode():
        first, second = (module(x, index, class_labels=each).sample for each in (labels, torch.full((2,), 1000)))
    joined = second[:, :3] + 4.0 * (first[:, :3] - second[:, :3])
    torch.testing.assert_close(found[:, :3], joined, rtol=0.0, atol=1e-5)
    torch.testing.assert_close(found[:, 3:], first[:, 3:], rtol=0.0, atol=1e-5)
    whole = load_model(str(dit()), CPU).guided(GUIDANCES.make("cfg[scale=4]"))(x, at, labels)
    assert float((whole[:, 3] - found[:, 3]).abs().max()) > 1e-2


def test_a_dit_is_read_as_older_releases_wrote_it(tmp_path: Path) -> None:
    folder = shutil.copytree(dit(), tmp_path / "dit")
    rewritten(folder / "model_index.json", lambda index: index.update(transformer=["diffusers", "Transformer2DModel"]))
    rewritten(
        folder / "transformer/config.json",
        lambda config: config.update(_class_name="Transformer2DModel", norm_type="ada_norm_zero"),
    )
    x, labels = noise(2, LATENT), torch.tensor([1, 2])
    old, new = (sampled(load_model(str(each), CPU), x, labels, "none") for each in (folder, dit()))
    assert torch.equal(old, new)


def test_what_a_folder_says_of_latents_stands_on_the_card() -> None:
    card = describe_model(str(dit()))
    assert (card.shape, card.state_shape, card.sample_shape, card.output_shape) == (
        (3, 16, 16),
        LATENT,
        LATENT,
        (8, 8, 8),
    )
    assert (card.classes, card.null_label, card.variance) == (1000, 1000, "learned_range")
    assert card.decoder is not None
    assert (card.decoder.kind, card.decoder.scaling_factor, card.decoder.folder) == ("autoencoder-kl", 0.18215, "vae")
    other = describe_model(str(ldm()))
    assert (other.shape, other.state_shape, other.classes) == ((3, 16, 16), (3, 8, 8), None)
    assert other.decoder is not None
    assert (other.decoder.kind, other.decoder.folder) == ("vq", "vqvae")


def test_all_files_are_hashed_and_any_other_decoder_is_another_model(tmp_path: Path) -> None:
    model = load_model(str(dit()), CPU)
    expected = [f"{part}/{name}" for part in ("transformer", "vae") for name in _FILES]
    assert sorted(model.card.files) == sorted(expected)
    folder = shutil.copytree(dit(), tmp_path / "dit")
    rewritten(folder / "vae/config.json", lambda config: config.update(scaling_factor=0.5))
    other = load_model(str(folder), CPU)
    assert other.sha256 != model.sha256
    assert other.weights_sha256 == model.weights_sha256


_FILES = ("config.json", "diffusion_pytorch_model.safetensors")


def test_the_encoder_gives_the_mode_and_no_sample() -> None:
    model, images = load_model(str(dit()), CPU), noise(2, (3, 16, 16)).clamp(-1.0, 1.0)
    assert model.decoder is not None
    with torch.inference_mode():
        found, again = (model.decoder.encode(images) for _ in range(2))
        expected = make_vae().encode(images).latent_dist.mode() * 0.18215
    assert torch.equal(found, again)
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-6)


def test_latents_of_old_vq_models_are_not_scaled_unless_the_study_says_so(tmp_path: Path) -> None:
    folder = shutil.copytree(ldm(), tmp_path / "ldm")
    rewritten(folder / "vqvae/config.json", lambda config: config.pop("scaling_factor"))
    found = [load_model(str(folder), CPU, Changes(scaling_factor=each)) for each in (None, 0.25)]
    z = noise(2, (3, 8, 8))
    with torch.inference_mode():
        plain = found[0].decoder.module.decode(z).sample  # type: ignore[union-attr, operator]
        assert torch.equal(found[0].decoded(z), plain)
        assert torch.equal(found[1].decoded(z * 0.25), plain)
    assert found[0].sha256 != found[1].sha256


@pytest.mark.parametrize(("dtype", "far"), [("fp32", 0.0), ("bf16", 0.05)])
def test_a_card_names_the_decoder_of_a_flow_that_a_plugin_builds(tmp_path: Path, dtype: str, far: float) -> None:
    folder = tmp_path / "flow"
    make_vae(shift_factor=0.1, scaling_factor=0.4).save_pretrained(folder / "vae")
    torch.save(_Flow().state_dict(), folder / "flow.pt")
    write_card(
        folder,
        "test-latent-flow",
        f'kind = "autoencoder-kl"\nscaling_factor = 0.4\nshift_factor = 0.1\ndtype = "{dtype}"',
    )
    model, x = load_model(str(folder), CPU), noise(2, LATENT)
    with torch.inference_mode():
        found, expected = model.decoded(x), make_vae().decode(x / 0.4 + 0.1).sample
    assert found.dtype == torch.float32
    assert (0.0 if far == 0.0 else 1e-6) <= float((found - expected).abs().max()) <= far
    assert sampled(model, x, None, "none").shape == (2, 3, 16, 16)


def test_a_plugin_builds_a_decoder(tmp_path: Path) -> None:
    folder = tmp_path / "flow"
    (folder / "own").mkdir(parents=True)
    torch.save(_Flow().state_dict(), folder / "flow.pt")
    torch.save(_Doubling().state_dict(), folder / "own/diffusion_pytorch_model.bin")
    write_card(folder, "test-latent-flow", 'kind = "test-doubling"\nfolder = "own"')
    model, x = load_model(str(folder), CPU), noise(2, LATENT)
    torch.testing.assert_close(model.decoded(x), 3.0 * x[:, :3].repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert model.decoder is not None
    with pytest.raises(UsageError, match="decoder 'test-doubling' has no encoder"):
        model.decoder.encode(x)


class _Flow(nn.Module):
    """A flow that shrinks its state."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return self.scale * x


class _Doubling(nn.Module):
    """Twice as many pixels, three times as bright, of the first three channels."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(3.0))

    def forward(self, z: Tensor) -> Tensor:
        return self.gain * nn.functional.interpolate(z[:, :3], scale_factor=2)


def _flow(config: dict[str, Any]) -> nn.Module:
    return _Flow()


def _doubling(config: dict[str, Any]) -> nn.Module:
    return _Doubling()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: shutil.rmtree(folder / "vae"), "has no vae/config.json, which model_index.json names"),
        (
            lambda folder: (folder / "vae/diffusion_pytorch_model.safetensors").unlink(),
            "vae has no weights: expected diffusion_pytorch_model.safetensors",
        ),
        (
            lambda folder: rewritten(folder / "vae/config.json", lambda config: config.update(latent_channels=8)),
            "latents of 8 channels, but the network beside it works on 4; they do not belong together",
        ),
        (
            lambda folder: rewritten(folder / "vae/config.json", lambda config: config.update(_class_name="VideoVAE")),
            "is of class 'VideoVAE'; expected AutoencoderKL or VQModel or AutoencoderTiny",
        ),
        (
            lambda folder: rewritten(
                folder / "vae/config.json", lambda config: config.update(block_out_channels=[8, 8, 8])
            ),
            "do not fit the network of its config: 4 missing",
        ),
        (
            lambda folder: rewritten(folder / "model_index.json", lambda index: index.update(refiner=["x", "Refiner"])),
            "refiner \\(Refiner\\).*a pipeline that does more than step a scheduler",
        ),
    ],
)
def test_a_latent_model_that_is_not_whole_is_refused(
    tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    folder = shutil.copytree(dit(), tmp_path / "dit")
    change(folder)
    with pytest.raises(UsageError, match=message):
        load_model(str(folder), CPU)


def test_a_decoder_that_gives_other_images_than_the_card_says_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "flow"
    make_vae().save_pretrained(folder / "vae")
    torch.save(_Flow().state_dict(), folder / "flow.pt")
    write_card(folder, "test-latent-flow", 'kind = "autoencoder-kl"')
    card = (folder / "card.toml").read_text()
    (folder / "card.toml").write_text(card.replace("shape = [3, 16, 16]", "shape = [3, 32, 32]"))
    with pytest.raises(UsageError, match=r"gave images of shape \(1, 3, 16, 16\); expected \(1, 3, 32, 32\)"):
        load_model(str(folder), CPU)
    (folder / "card.toml").write_text(card.replace('"vae/config.json"', '"vae/other.json"'))
    with pytest.raises(UsageError, match=r"files does not list 'vae/config.json' with its sha256"):
        load_model(str(folder), CPU)


@pytest.fixture(autouse=True)
def _networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of this file, which are gone after each test."""
    makers = {"test-latent-flow": _flow, "test-doubling": _doubling}
    monkeypatch.setattr(architectures, "_makers", architectures._makers | makers)
