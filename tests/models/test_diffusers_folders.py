"""A checkpoint of diffusers, given as its folder, predicts here what it predicts in diffusers."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers as untyped_diffusers
import numpy as np
import pytest
import torch
from checkpoints import CIFAR10, CPU, DDPM, images, make, network
from torch import Tensor

from models.cards.changes import Changes
from models.denoiser import Denoiser
from models.grids import GRIDS
from models.loading.model import Model
from models.loading.sources import describe_model
from models.loading.zoo import load_model
from samplers import SAMPLERS, Noise

diffusers: Any = untyped_diffusers  # no types

NoiseOf = Callable[[int], Noise]
_SCORE = {"time_embedding_type": "fourier"}


def _knows(beta_schedule: str) -> bool:
    try:
        diffusers.DDPMScheduler(beta_schedule=beta_schedule)
    except NotImplementedError:
        return False
    return True


_SINCE_LAPLACE = pytest.mark.skipif(not _knows("laplace"), reason="this version of diffusers has no such schedule")
_TRAINED = np.linspace(0.001, 0.03, 50).tolist()


def denoiser(model: Model) -> Denoiser:
    return Denoiser(model.network, model.card.parametrisation, model.schedule, model.card.clip)


def loaded(folder: Path, scheduler: dict[str, Any] | None = None, **unet: Any) -> Model:
    return load_model(str(make(folder, scheduler, **unet)), CPU)


@pytest.mark.parametrize("flat", [False, True])
def test_both_layouts_are_the_model_that_their_files_describe(tmp_path: Path, flat: bool) -> None:
    model = load_model(str(make(tmp_path / "ddpm-cifar10", flat=flat)), CPU)
    card = model.card
    assert (card.name, card.network, card.parametrisation) == ("ddpm-cifar10", "unet", "epsilon")
    assert (card.shape, card.classes, card.value_range) == ((3, 8, 8), None, (-1.0, 1.0))
    assert (card.clip, card.variance) == ((-1.0, 1.0), "fixed_large")
    assert card.schedule.model_dump() == {"kind": "linear", "train_steps": 1000, "beta_start": 1e-4, "beta_end": 0.02}
    assert model.source == str(tmp_path / "ddpm-cifar10")
    assert describe_model(model.source) == card.model_copy(update={"files": {}})
    x = images()
    for index in (0, 500, 999):
        found = model.network(x, model.schedule.level((index + 1) / 1000))
        torch.testing.assert_close(found, network()(x, index).sample, rtol=0.0, atol=1e-6)


def test_the_flat_layout_is_what_diffusers_own_pipeline_reads_too(tmp_path: Path) -> None:
    pipeline = diffusers.DDPMPipeline.from_pretrained(make(tmp_path / "flat", flat=True), local_files_only=True)
    assert dict(pipeline.scheduler.config)["variance_type"] == "fixed_large"
    torch.testing.assert_close(pipeline.unet(images(), 3).sample, network()(images(), 3).sample)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"prediction_type": "v_prediction", "beta_schedule": "squaredcos_cap_v2"},
        {"prediction_type": "sample", "clip_sample_range": 0.3, "beta_schedule": "scaled_linear", "beta_end": 0.012},
        {"clip_sample": False, "beta_schedule": "sigmoid"},
        pytest.param({"clip_sample": False, "beta_schedule": "laplace"}, marks=_SINCE_LAPLACE),
        {"clip_sample": False, "trained_betas": _TRAINED, "num_train_timesteps": 50},
    ],
)
def test_x0_is_what_the_scheduler_s_own_step_predicts(tmp_path: Path, changes: dict[str, Any]) -> None:
    model = loaded(tmp_path / "model", DDPM | changes)
    scheduler = diffusers.DDPMScheduler.from_config(DDPM | changes)
    total, x = scheduler.config.num_train_timesteps, images()
    for index in (0, total // 2, total - 1):
        at = model.schedule.level((index + 1) / total)
        theirs = scheduler.step(network()(x, index).sample, index, x).pred_original_sample
        scale = max(1.0, float(theirs.abs().max()))  # 1 / alpha of the float32 table at the last levels
        tolerance = 1e-5 if at.alpha > 0.01 else 1e-3
        torch.testing.assert_close(denoiser(model)(x, at).x0 / scale, theirs / scale, rtol=0.0, atol=tolerance)


def test_the_name_of_sample_prediction_before_diffusers_had_prediction_types_is_still_known(tmp_path: Path) -> None:
    assert loaded(tmp_path / "old", DDPM | {"predict_epsilon": False}).card.parametrisation == "sample"


def test_what_a_scheduler_s_file_leaves_out_is_its_class_s_default(tmp_path: Path) -> None:
    heun = {"_class_name": "HeunDiscreteScheduler", "num_train_timesteps": 1000}
    card = describe_model(str(make(tmp_path / "heun", heun)))
    assert card.schedule.model_dump() == {"kind": "linear", "train_steps": 1000, "beta_start": 85e-5, "beta_end": 0.012}
    assert (card.clip, card.variance) == (None, None)


def test_ddim_from_such_a_folder_ends_where_the_pipeline_s_own_loop_does(tmp_path: Path, noise: NoiseOf) -> None:
    model = loaded(tmp_path / "model")
    scheduler = diffusers.DDIMScheduler.from_config(DDPM, timestep_spacing="trailing")
    scheduler.set_timesteps(5)
    x = theirs = images()
    for index in scheduler.timesteps:
        theirs = scheduler.step(
            network()(theirs, index).sample, index, theirs, use_clipped_model_output=True
        ).prev_sample
    levels = GRIDS.make("trailing")(model.schedule, 5)
    ours = SAMPLERS.make("ddim").sample(denoiser(model), x, levels, noise(0))
    torch.testing.assert_close(ours, theirs, rtol=0.0, atol=2e-5)


@pytest.mark.parametrize("name", ["EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_edm_preconditioning_is_diffusers(tmp_path: Path, name: str, prediction: str) -> None:
    config = {"_class_name": name, "sigma_data": 0.7, "sigma_max": 60.0, "prediction_type": prediction}
    model = loaded(tmp_path / "model", config)
    scheduler = getattr(diffusers, name).from_config(config)
    assert model.card.schedule.model_dump() == {"kind": "ve", "sigma_min": 0.002, "sigma_max": 60.0}
    for sigma in (60.0, 1.0, 0.01):
        x = sigma * images()
        output = network()(scheduler.precondition_inputs(x, sigma), scheduler.precondition_noise(sigma)).sample
        theirs = scheduler.precondition_outputs(x, output, sigma)
        found = denoiser(model)(x, model.schedule.at_ratio(sigma)).x0
        torch.testing.assert_close(found, theirs, rtol=1e-4, atol=1e-5)


def test_a_flow_s_euler_steps_are_ddim_s_on_its_straight_path(tmp_path: Path, noise: NoiseOf) -> None:
    config = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 500, "shift": 3.0}
    model = loaded(tmp_path / "model", config)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_config(config)
    scheduler.set_timesteps(4)
    x = theirs = images()
    for t in scheduler.timesteps:
        theirs = scheduler.step(network()(theirs, t).sample, t, theirs).prev_sample
    levels = [model.schedule.level(min(float(sigma), 1.0)) for sigma in scheduler.sigmas]
    ours = SAMPLERS.make("ddim").sample(denoiser(model), x, levels, noise(0))
    torch.testing.assert_close(ours, theirs, rtol=0.0, atol=1e-5)


def test_a_flow_under_a_multistep_scheduler_is_the_same_flow(tmp_path: Path) -> None:
    flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    config = {"_class_name": "DPMSolverMultistepScheduler", "num_train_timesteps": 1000} | flow
    model = loaded(tmp_path / "model", config)
    scheduler = diffusers.DPMSolverMultistepScheduler.from_config(config)
    scheduler.set_timesteps(3)
    x, t, sigma = images(), scheduler.timesteps[1], float(scheduler.sigmas[1])
    scheduler._init_step_index(t)
    # the scheduler rounds its timesteps to integers; the network is asked at the level itself
    theirs = scheduler.convert_model_output(network()(x, torch.tensor(1000 * sigma)).sample, sample=x)
    torch.testing.assert_close(denoiser(model)(x, model.schedule.level(sigma)).x0, theirs, rtol=0.0, atol=1e-5)


def test_a_score_network_is_given_sigma_and_gives_the_score(tmp_path: Path) -> None:
    config = {"_class_name": "ScoreSdeVeScheduler", "sigma_min": 0.01, "sigma_max": 50.0}
    model = loaded(tmp_path / "model", config, **_SCORE)
    theirs = diffusers.ScoreSdeVeScheduler(sigma_min=0.01, sigma_max=50.0, num_train_timesteps=9)
    sigmas = [model.schedule.level(float(t)).sigma for t in np.linspace(1.0, 1e-5, 9)]
    np.testing.assert_allclose(sigmas, theirs.sigmas.double().numpy(), rtol=1e-5)
    assert model.card.value_range == (0.0, 1.0)  # ScoreSdeVePipeline clamps its images to it
    for sigma in (50.0, 0.5):
        x, at = sigma * images(), model.schedule.at_ratio(sigma)
        score = network(**_SCORE)(x, torch.full((3,), sigma)).sample
        torch.testing.assert_close(denoiser(model)(x, at).x0, x + sigma**2 * score, rtol=1e-4, atol=1e-4)


def test_a_consistency_model_s_function_is_diffusers_with_its_boundary_condition(tmp_path: Path) -> None:
    config = {"_class_name": "CMStochasticIterativeScheduler", "num_train_timesteps": 40, "clip_denoised": False}
    model = loaded(tmp_path / "model", config)
    assert model.card.is_generator
    scheduler = diffusers.CMStochasticIterativeScheduler.from_config(config)
    scheduler.set_timesteps(1)
    (t,), sigma = scheduler.timesteps, float(scheduler.sigmas[0])
    x = sigma * images()
    output = network()(scheduler.scale_model_input(x, t), t).sample
    theirs = scheduler.step(output, t, x).prev_sample
    at = model.schedule.at_ratio(sigma)
    torch.testing.assert_close(denoiser(model)(x, at).x0, theirs, rtol=1e-4, atol=1e-5)
    lowest = model.schedule.level(model.schedule.t_min)
    torch.testing.assert_close(denoiser(model)(images(), lowest).x0, images(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("variance", ["learned", "learned_range"])
def test_a_network_that_learns_the_variance_says_both_mean_and_variance(tmp_path: Path, variance: str) -> None:
    model = loaded(tmp_path / "model", DDPM | {"variance_type": variance}, out_channels=6)
    x = images()
    expected = network(out_channels=6)(x, 499).sample
    found = model.denoiser()(x, model.schedule.level(0.5))
    torch.testing.assert_close(found.eps, expected[:, :3])
    torch.testing.assert_close(found.variance, expected[:, 3:])


def test_a_class_conditional_network_is_given_its_labels(tmp_path: Path) -> None:
    model = loaded(tmp_path / "model", num_class_embeds=4)
    assert model.card.classes == 4
    x, labels = images(), torch.tensor([3, 0, 2])
    conditioned = Denoiser(model.network, "epsilon", model.schedule, None, labels)
    found = conditioned(x, model.schedule.level(0.5)).eps
    torch.testing.assert_close(found, network(num_class_embeds=4)(x, 499, class_labels=labels).sample)


def test_a_folder_without_a_scheduler_is_what_the_study_says(tmp_path: Path) -> None:
    folder = make(tmp_path / "bare", flat=True)
    for name in ("model_index.json", "scheduler_config.json"):
        (folder / name).unlink()
    said = {"parametrisation": "v_prediction", "schedule": {"kind": "cosine", "train_steps": 100}, "clip": False}
    model = load_model(str(folder), CPU, Changes.model_validate(said))
    assert (model.card.network, model.card.parametrisation, model.card.clip) == ("unet", "v_prediction", None)
    assert model.schedule.level(0.5).alpha == pytest.approx(
        math.cos((0.5 + 0.008) / 1.008 * math.pi / 2) / math.cos(0.008 / 1.008 * math.pi / 2), rel=1e-12
    )


def test_old_names_of_attention_weights_are_diffusers_business(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = make(tmp_path / "old", flat=True)
    path = folder / "diffusion_pytorch_model.safetensors"
    renamed = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state: dict[str, Tensor] = {}
    for name, tensor in load_file(path).items():
        for new, old in renamed.items():
            name = name.replace(new, old) if ".attentions." in name else name
        state[name] = tensor
    assert any(".query." in name for name in state)
    save_file(state, path)
    model = load_model(str(folder), CPU)
    torch.testing.assert_close(model.network(images(), model.schedule.level(0.5)), network()(images(), 499).sample)


def test_the_stand_in_has_the_keys_of_the_published_config(tmp_path: Path) -> None:
    written = json.loads((make(tmp_path / "flat", flat=True) / "config.json").read_text())
    assert written.keys() == CIFAR10.keys()


def test_an_average_beside_the_weights_that_are_used_is_told(tmp_path: Path) -> None:
    folder = make(tmp_path / "model")
    shutil.copytree(folder / "unet", folder / "unet_ema")
    with pytest.warns(UserWarning, match="not their average over the training in unet_ema/"):
        describe_model(str(folder))
