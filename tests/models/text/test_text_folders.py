"""A text-to-image pipeline is described from its files, and one that does more than step a scheduler is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import edit, into_cache
from huggingface_hub import constants
from text_pipelines import loaded, of_prompts

from models.cards.changes import Changes
from models.common.errors import UsageError
from models.loading.sources import describe_model
from models.loading.zoo import load_model

Tiny = Callable[[str], tuple[Path, Any]]
Copied = Callable[[str], Path]
CPU = torch.device("cpu")
_INDEX, _UNET, _TRANSFORMER, _VAE = "model_index.json", "unet/config.json", "transformer/config.json", "vae/config.json"


@pytest.fixture(autouse=True)
def _own_cache(encoded_once: None) -> None:
    pass


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sd", ("unet", "epsilon", None, None, "scaled_linear")),
        ("sd-v", ("unet", "v_prediction", None, None, "scaled_linear")),
        ("sdxl", ("unet", "epsilon", None, None, "scaled_linear")),
        ("sd3", ("flow", "flow", 1000.0, None, "flow")),
        ("flux-dev", ("flow", "flow", 1.0, 3.5, "flow")),
        ("flux-schnell", ("flow", "flow", 1.0, None, "flow")),
    ],
)
def test_the_card_follows_from_the_files(tiny: Tiny, tmp_path: Path, name: str, expected: tuple[object, ...]) -> None:
    card = describe_model(str(tiny(name)[0]), of_prompts(tmp_path, negative="bad"))
    told = (card.network, card.parametrisation, card.time_scale, card.guidance_embedding, card.schedule.kind)
    assert told == expected
    assert (card.shape, card.state_shape, card.value_range) == ((3, 16, 16), (4, 8, 8), (-1.0, 1.0))
    assert (card.classes, card.null_label, card.takes_classes, card.clip) == (3, 3, False, None)
    assert card.decoder is not None
    assert card.decoder.kind == "autoencoder-kl"


def test_a_clip_of_the_schedulers_file_is_switched_off_as_the_pipeline_does(copied: Copied, tmp_path: Path) -> None:
    folder = copied("sd")
    edit(folder / "scheduler/scheduler_config.json", clip_sample=True)
    assert describe_model(str(folder), of_prompts(tmp_path)).clip is None


@pytest.mark.parametrize(("name", "side"), [("sd", 16), ("sd3", 16), ("flux-dev", 256)])
def test_images_are_of_the_size_that_the_pipeline_makes_unless_it_is_said(
    tiny: Tiny, tmp_path: Path, name: str, side: int
) -> None:
    changes = of_prompts(tmp_path)
    plain = describe_model(str(tiny(name)[0]), changes.model_copy(update={"resolution": None}))
    assert plain.shape == (3, side, side)
    other = describe_model(str(tiny(name)[0]), changes.model_copy(update={"resolution": (32, 8)}))
    assert (other.shape, other.state_shape) == ((3, 32, 8), (4, 16, 4))
    with pytest.raises(UsageError, match=r"resolution 15 x 16 with .*: expected multiples of "):
        describe_model(str(tiny(name)[0]), changes.model_copy(update={"resolution": (15, 16)}))


def test_sizes_are_told_to_sdxl(tiny: Tiny, tmp_path: Path) -> None:
    changes = of_prompts(tmp_path).model_copy(update={"resolution": (32, 8)})
    model = load_model(str(tiny("sdxl")[0]), CPU, changes)
    sizes = model.network.module.get_buffer("time_ids")  # type: ignore[attr-defined]
    assert sizes.tolist() == [[32.0, 8.0, 0.0, 0.0, 32.0, 8.0]]


def test_without_prompts_it_is_said_how_they_are_given(tiny: Tiny) -> None:
    with pytest.raises(UsageError, match="StableDiffusionPipeline, which makes images of prompts: say which, as prom"):
        describe_model(str(tiny("sd")[0]))


def test_results_depend_on_prompts_and_not_on_where_they_are(tiny: Tiny, tmp_path: Path) -> None:
    one = loaded(tiny("sd")[0], tmp_path)
    (tmp_path / "other").mkdir()
    assert loaded(tiny("sd")[0], tmp_path / "other").sha256 == one.sha256
    assert loaded(tiny("sd")[0], tmp_path, negative="bad").sha256 != one.sha256


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"classes": 7}, "its labels are the numbers of prompts; leave classes and null_label out"),
        ({"guidance_embedding": 4.0}, "guidance_embedding = 4, but the network is given no guidance scale"),
        ({"guided_channels": 5}, "guided_channels = 5, but states have 4"),
    ],
)
def test_what_a_study_says_otherwise_has_to_fit(tiny: Tiny, tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        describe_model(str(tiny("sd")[0]), of_prompts(tmp_path).model_copy(update=changed))


def test_a_scale_that_a_study_says_is_given_to_the_network(tiny: Tiny, tmp_path: Path) -> None:
    changes = of_prompts(tmp_path).model_copy(update={"guidance_embedding": 2.0})
    assert describe_model(str(tiny("flux-dev")[0]), changes).guidance_embedding == 2.0


@pytest.mark.parametrize("changed", [{"guidance_embedding": 4.0}, {"resolution": (8, 8)}])
def test_other_models_take_none_of_it(changed: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="leave it out"):
        describe_model("digits", Changes(**changed))


def _set(name: str, **changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / name, **changes)


def _without(name: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return remove


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("sd", _set(_UNET, time_cond_proj_dim=256), "time_cond_proj_dim 256; expected None .*: the network is an LCM"),
        ("sd", _set(_UNET, in_channels=9), "given 9 channels and makes 4.*it is for inpainting"),
        ("sd", _set(_UNET, in_channels=8), "given 8 channels and makes 4.*the image that it edits"),
        ("sd", _set(_UNET, in_channels=7), "given 7 channels and makes 4.*the image that it enlarges"),
        ("sd", _set(_UNET, in_channels=5), "given 5 channels and makes 4.*the depth of an image"),
        ("sd", _set(_VAE, latent_channels=16), "given 4 channels and makes 4, but the decoder's latents have 16"),
        ("flux-dev", _set(_TRANSFORMER, in_channels=384), "given 384 channels .*, 16 as they are packed"),
        ("sd", _set(_UNET, encoder_hid_dim_type="ip_image_proj"), "encoder_hid_dim_type .*given embeddings of images"),
        ("sd", _set(_UNET, addition_embed_type="text"), "addition_embed_type 'text'; expected None"),
        ("sdxl", _set(_UNET, addition_embed_type=None), "addition_embed_type None; expected 'text_time'"),
        ("sdxl", _set(_INDEX, requires_aesthetics_score=True), "is SDXL's refiner"),
        ("sdxl", _set(_INDEX, text_encoder=[None, None]), "is SDXL's refiner"),
        ("sdxl", _set(_VAE, latents_mean=[0.0] * 4), "scaled by channel .latents_mean. are not supported"),
        ("sd", _set(_INDEX, image_encoder=["transformers", "CLIPVisionModel"]), "has image_encoder .CLIPVisionModel."),
        (
            "sd",
            _set(_INDEX, text_encoder=["transformers", "T5EncoderModel"]),
            "is a T5EncoderModel; expected CLIPTextM",
        ),
        ("sd", _set(_INDEX, tokenizer=[None, None]), "needs unet, vae, .* but it has no tokenizer"),
        ("sd", _set(_INDEX, vae=[None, None]), "but it has no vae"),
        ("sd", _set(_INDEX, _class_name="LatentConsistencyModelPipeline"), "an LCM is given the guidance scale"),
        ("sd", _set(_INDEX, _class_name="StableDiffusionInpaintPipeline"), "it fills in a part of an image"),
        ("sd", _set(_INDEX, _class_name="StableDiffusionImg2ImgPipeline"), "it starts from an image"),
        ("sd", _set(_INDEX, _class_name="StableDiffusionControlNetPipeline"), "is given another image for control"),
        ("sd", _set(_INDEX, _class_name="KandinskyPipeline"), "a pipeline with text that is not known"),
        ("sd", _without("vae"), "has no vae/config.json, which model_index.json names. Download the whole"),
        ("sd", _without("unet"), "has no unet/config.json, which model_index.json names"),
        ("sd", _without("text_encoder"), "has no text_encoder/config.json, which .* prompts cannot be encoded"),
        ("sdxl", _without("tokenizer_2"), "has no tokenizer_2, which .* prompts cannot be encoded"),
        ("sd3", _without("text_encoder_3"), "has no text_encoder_3/config.json"),
        ("sd", _set(_VAE, _class_name="AsymmetricAutoencoderKL"), "is of class 'AsymmetricAutoencoderKL'; expected 'A"),
        ("sd", _set(_UNET, sample_size="64"), "sample_size '64'; expected the height and width of a latent"),
        ("sd", _without("scheduler"), "so what the network predicts and on which noise is not known"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(
    copied: Copied, tmp_path: Path, name: str, spoil: Callable[[Path], None], said: str
) -> None:
    folder, changes = copied(name), of_prompts(tmp_path).model_copy(update={"resolution": None})
    spoil(folder)
    with pytest.raises(UsageError, match=said) as refused:
        describe_model(str(folder), changes)
    assert str(folder) in str(refused.value)


def test_parts_that_look_at_finished_images_are_passed_over(copied: Copied, tmp_path: Path) -> None:
    folder = copied("sd")
    edit(folder / _INDEX, safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
    edit(folder / _INDEX, feature_extractor=["transformers", "CLIPImageProcessor"])
    assert describe_model(str(folder), of_prompts(tmp_path)).classes == 3


def test_the_weights_of_a_decoder_have_to_be_there(copied: Copied, tmp_path: Path) -> None:
    folder = copied("sd")
    (folder / "vae/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(UsageError, match="vae has no weights: expected diffusion_pytorch_model"):
        loaded(folder, tmp_path)


def test_of_the_hub_configurations_come_first_and_encoders_with_the_weights(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder = tiny("sd")[0]
    into_cache(tmp_path / "hub", folder, "owner/sd")
    changes = of_prompts(tmp_path)
    card = describe_model("hf:owner/sd", changes)
    model, local = load_model("hf:owner/sd", CPU, changes), load_model(str(folder), CPU, changes)
    assert (model.card.shape, model.sha256) == (card.shape, local.sha256)
    snapshot = model.folder
    (snapshot / "text_encoder/model.safetensors").unlink()
    describe_model("hf:owner/sd", changes)
    with pytest.raises(UsageError, match="text_encoder has no weights that are read here"):
        load_model("hf:owner/sd", CPU, changes)


def test_force_zeros_is_part_of_the_model(copied: Copied, tmp_path: Path) -> None:
    folder = copied("sdxl")
    before = loaded(folder, tmp_path)
    index = json.loads((folder / _INDEX).read_text())
    edit(folder / _INDEX, force_zeros_for_empty_prompt=not index["force_zeros_for_empty_prompt"])
    after = loaded(folder, tmp_path)
    assert before.sha256 != after.sha256
    none = torch.full((1,), 3)
    x, level = torch.ones(1, 4, 8, 8), before.schedule.level(0.5)
    assert float((before.network(x, level, none) - after.network(x, level, none)).abs().max()) > 1e-3  # type: ignore[call-arg]
