"""A checkpoint that cannot be used as it is, is refused before anything is sampled, with the reason and what to do."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import CPU, DDPM, edit, images, make, network, write
from safetensors.torch import load_file, save_file

from models.cards.changes import Changes
from models.common.errors import UsageError
from models.loading.layout import WEIGHTS
from models.loading.model import Model
from models.loading.sources import describe_model
from models.loading.zoo import load_model

_UNET = f"unet/{WEIGHTS}"
_CONFIG, _SCHEDULER, _INDEX = "unet/config.json", "scheduler/scheduler_config.json", "model_index.json"


def _set(name: str, **changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / name, **changes)


def _of(scheduler: str, **config: Any) -> Callable[[Path], None]:
    return lambda folder: write(folder / _SCHEDULER, {"_class_name": f"{scheduler}Scheduler"} | config)


def _cut_short(folder: Path) -> None:
    content = (folder / _UNET).read_bytes()
    (folder / _UNET).write_bytes(content[: len(content) // 2])


def _state(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def make_it(folder: Path) -> None:
        state = load_file(folder / _UNET)
        change(state)
        save_file(state, folder / _UNET)

    return make_it


def _as_bin(content: Callable[[Any], Any]) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        (folder / _UNET).unlink()
        torch.save(content(network()), folder / "unet/diffusion_pytorch_model.bin")

    return save


def _as(dtype: torch.dtype) -> Callable[[Path], None]:
    return _state(lambda state: state.update({"conv_in.weight": (100 * state["conv_in.weight"]).to(dtype)}))


def _in_two_shards(folder: Path) -> None:
    """As where a checkpoint was saved over another that was cut otherwise."""
    state, names = load_file(folder / _UNET), [f"diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    save_file(state, folder / "unet" / names[0])
    save_file({"conv_in.bias": state["conv_in.bias"] + 1}, folder / "unet" / names[1])
    where = dict.fromkeys(state, names[0]) | {"conv_in.bias": names[1]}
    write(folder / f"{_UNET}.index.json", {"metadata": {}, "weight_map": where})
    (folder / _UNET).unlink()


_FLOW = {"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True, "prediction_type": "flow_prediction"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_cut_short, "damaged, cut short"),
        (_state(lambda state: state.pop("conv_in.bias")), "1 missing (conv_in.bias)"),
        (_state(lambda state: state.update(more=torch.zeros(1))), "1 not the network's (more)"),
        (
            _state(lambda state: state["conv_in.bias"].fill_(torch.nan)),
            "conv_in.bias has weights that are NaN or infinite",
        ),
        (_state(lambda state: state["conv_out.bias"].fill_(torch.inf)), "conv_out.bias has weights that are NaN or"),
        (_as(torch.int8), "1 of its tensors are no real numbers (conv_in.weight), as those of quantised"),
        (_as(torch.complex64), "no real numbers (conv_in.weight)"),
        (_in_two_shards, "conv_in.bias is in unet/diffusion_pytorch_model-00001-of-00002.safetensors and in"),
        (_set(_CONFIG, block_out_channels=[8, 32]), "cannot load the UNet2DModel"),
        (_as_bin(lambda unet: unet), "would run code: it is not read"),
        (
            _as_bin(lambda unet: {"ema": unet.state_dict()}),
            'is no state dict; it holds ema (OrderedDict). State dicts in it are "ema"',
        ),
        (lambda folder: (folder / _UNET).unlink(), "has no weights: expected diffusion_pytorch_model.safetensors"),
        (lambda folder: (folder / _UNET).rename(folder / "unet/w.fp16.safetensors"), "there is: config.json, w.fp16"),
    ],
)
def test_weights_that_are_not_the_network_s_are_refused(
    tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    folder = make(tmp_path / "model")
    change(folder)
    describe_model(str(folder))  # which reads no weights
    with pytest.raises(UsageError, match=re.escape(said)):
        load_model(str(folder), CPU)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set(_SCHEDULER, trained_betas=0.01), "trained_betas 0.01; expected a list of 1000 numbers"),
        (_set(_SCHEDULER, **_FLOW, num_train_timesteps=0), "num_train_timesteps 0; expected a whole number above zero"),
        (_set(_SCHEDULER, _class_name="EDMEulerScheduler", sigma_max=True), "sigma_max True; expected a finite number"),
        (_set(_CONFIG, out_channels=6), "Twice as many out belong to a network that predicts its variance too"),
        (
            _set(_CONFIG, out_channels=4),
            "has in/out channels (3, 4), but the card's shape is (3, 8, 8): expected (3, 3)",
        ),
        (
            _set(_SCHEDULER, variance_type="learned"),
            "with a variance that is 'learned': expected (3, 6). A network of as many out predicts no variance: say",
        ),
        (_set(_CONFIG, sample_size=None), "sample_size None; expected the height and width"),
        (_set(_CONFIG, class_embed_type="timestep"), "class_embed_type 'timestep' is conditioning on something else"),
        (
            _set(_CONFIG, _class_name="UNet2DConditionModel"),
            "is of class 'UNet2DConditionModel'; expected 'UNet2DModel'",
        ),
        (_set(_INDEX, vqvae=["diffusers", "VQModel"]), "has no vqvae/config.json, which model_index.json names"),
        (_set(_INDEX, unet=["diffusers", "UNet2DConditionModel"]), "unet (UNet2DConditionModel): a pipeline that"),
        (
            _set(_INDEX, unet=None, transformer=["diffusers", "DiTTransformer2DModel"]),
            "has no transformer/config.json, which model_index.json names",
        ),
        (
            _set(_SCHEDULER, prediction_type="eps"),
            "prediction_type 'eps'; expected one of epsilon, sample, v_prediction",
        ),
        (_set(_SCHEDULER, thresholding=True), "dynamic thresholding of x_0"),
        (_set(_SCHEDULER, rescale_betas_zero_snr=True), "a terminal SNR of exactly zero is not supported"),
        (_set(_SCHEDULER, beta_schedule="quad"), "quad is not implemented"),
        (_set(_SCHEDULER, beta_end=1.5), "betas must be"),
        (_set(_SCHEDULER, trained_betas=[0.1, 0.2]), "makes 2 other levels of it than a betas schedule of 1000"),
        (_set(_SCHEDULER, _class_name="IPNDMScheduler"), "unknown scheduler 'IPNDMScheduler'"),
        (lambda folder: (folder / _SCHEDULER).unlink(), "so what the network predicts and on which noise is not known"),
        (lambda folder: (folder / _SCHEDULER).write_text("[1]"), "holds a list; expected a JSON object"),
        (lambda folder: (folder / _CONFIG).unlink(), "has no unet/config.json, which model_index.json names"),
        # variants of a scheduler that change what the network means
        (_of("EDMEuler", prediction_type="sample"), "expected epsilon or v_prediction"),
        (_of("EDMEuler", sigma_data="half"), "sigma_data 'half'; expected a finite number above"),
        (_set(_SCHEDULER, clip_sample_range=[1.0]), "clip_sample_range [1.0]; expected a finite number above zero"),
        (_set(_SCHEDULER, clip_sample="false"), "clip_sample 'false'; expected true or false"),
        (_of("FlowMatchEulerDiscrete", invert_sigmas=0), "invert_sigmas 0; expected true or"),
        (_set(_SCHEDULER, _class_name=["DDPMScheduler"]), "unknown scheduler"),
        (_of("FlowMatchEulerDiscrete", invert_sigmas=True), "invert_sigmas, a path that runs"),
        (_of("DPMSolverMultistep", use_flow_sigmas=True), "expected 'flow_prediction'"),
        (_of("EulerDiscrete", timestep_type="continuous"), "continuous sigmas (timestep_type)"),
    ],
)
def test_what_a_configuration_says_and_cannot_be_represented_is_refused_without_weights(
    tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    folder = make(tmp_path / "model")
    change(folder)
    with pytest.raises(UsageError, match=re.escape(said)):
        describe_model(str(folder))


@pytest.mark.parametrize(
    ("scheduler", "said", "field", "expected"),
    [
        ({"prediction_type": "eps"}, {"parametrisation": "v_prediction"}, "parametrisation", "v_prediction"),
        ({"thresholding": True}, {"clip": [-2.0, 2.0]}, "clip", (-2.0, 2.0)),
        ({"thresholding": True}, {"clip": False}, "clip", None),
        ({}, {"clip": False}, "clip", None),
        ({}, {"value_range": [0.0, 1.0]}, "value_range", (0.0, 1.0)),
    ],
)
def test_what_the_study_says_is_taken_instead(
    tmp_path: Path, scheduler: dict[str, Any], said: dict[str, Any], field: str, expected: object
) -> None:
    folder = str(make(tmp_path / "model", DDPM | scheduler))
    changed = load_model(folder, CPU, Changes.model_validate(said))
    assert getattr(changed.card, field) == expected
    if not scheduler:
        assert changed.sha256 != load_model(folder, CPU).sha256


def test_a_variance_that_a_message_tells_to_give_is_taken_by_the_study_and_by_a_card(tmp_path: Path) -> None:
    wide, plain = make(tmp_path / "wide", out_channels=6), make(tmp_path / "plain", DDPM | {"variance_type": "learned"})
    for folder, variance, network_of in ((wide, "learned_range", {"out_channels": 6}), (plain, "fixed_large", {})):
        with pytest.raises(UsageError, match=rf"say variance = '{variance}' on the card, or in the study's"):
            describe_model(str(folder))
        model = load_model(str(folder), CPU, Changes.model_validate({"variance": variance}))
        assert model.card.variance == variance
        torch.testing.assert_close(_output(model), network(**network_of)(images(), 499).sample)


@pytest.mark.parametrize(("prefix", "safe"), [("module.", False), ("_orig_mod.", True)])
def test_weights_that_a_wrapped_network_wrote_are_read_and_nothing_is_said_but_that(
    tmp_path: Path, prefix: str, safe: bool, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make(tmp_path / "model")
    expected = _output(load_model(str(folder), CPU))
    state = {f"{prefix}{name}": tensor for name, tensor in load_file(folder / _UNET).items()}
    (folder / _UNET).unlink()
    if safe:
        save_file(state, folder / _UNET)
    else:
        torch.save(state, folder / "unet/diffusion_pytorch_model.bin")
    with pytest.warns(UserWarning, match=f"without the '{prefix[:-1]}' of"):
        model = load_model(str(folder), CPU)
    assert not caplog.records  # diffusers logs a page of names that it does not know
    torch.testing.assert_close(_output(model), expected, rtol=0.0, atol=0.0)


def test_a_schedule_that_the_study_gives_replaces_one_with_zero_terminal_snr(tmp_path: Path) -> None:
    folder = str(make(tmp_path / "model", DDPM | {"rescale_betas_zero_snr": True}))
    said = Changes.model_validate({"schedule": {"kind": "cosine", "train_steps": 1000}})
    assert describe_model(folder, said).schedule.kind == "cosine"
    with pytest.raises(UsageError, match="network 'unet' is conditioned on a schedule of kind linear"):
        describe_model(folder, Changes.model_validate({"schedule": {"kind": "ve"}}))


def _output(model: Model) -> torch.Tensor:
    return model.network(images(), model.schedule.level(0.5))


@pytest.mark.parametrize("kind", ["shards", "bin"])
def test_weights_in_shards_and_state_dicts_of_torch_are_the_same_weights(tmp_path: Path, kind: str) -> None:
    folder = make(tmp_path / "model")
    expected = load_model(str(folder), CPU)
    (folder / _UNET).unlink()
    network().save_pretrained(folder / "unet", max_shard_size="20KB", safe_serialization=kind == "shards")
    assert len(list((folder / "unet").glob("*-of-*"))) > 1
    model = load_model(str(folder), CPU)
    torch.testing.assert_close(_output(model), _output(expected), rtol=0.0, atol=0.0)
    assert model.sha256 != expected.sha256
    shard = next((folder / "unet").glob("*-00002-of-*"))
    shard.unlink()
    with pytest.raises(UsageError, match=f"lists {shard.name}, which is missing"):
        load_model(str(folder), CPU)


def test_an_index_of_shards_may_not_lead_out_of_its_folder(tmp_path: Path) -> None:
    folder = make(tmp_path / "model")
    write(folder / f"unet/{WEIGHTS}.index.json", {"weight_map": {"conv_in.bias": "../../elsewhere.safetensors"}})
    with pytest.raises(UsageError, match="the files of its weights lie beside it"):
        load_model(str(folder), CPU)


def test_an_index_of_safetensors_lists_no_other_kind_of_file(tmp_path: Path) -> None:
    folder = make(tmp_path / "model")
    torch.save(network().state_dict(), folder / "unet/weights.bin")
    write(folder / f"unet/{WEIGHTS}.index.json", {"weight_map": dict.fromkeys(network().state_dict(), "weights.bin")})
    with pytest.raises(UsageError, match=r"names 'weights.bin'; .* and are .safetensors too"):
        load_model(str(folder), CPU)
