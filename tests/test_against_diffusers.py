"""Samplers against diffusers' schedulers on a U-Net: the same network, initial state, levels and noise.

The network is the digits checkpoint of the zoo when it is there, and one with random weights otherwise. diffusers
differs where it is not right, and is used here only with settings where it is:

- Levels. `DDIMScheduler` takes t - T // S for the previous timestep, which is the grid's own only for "leading" with S
  dividing T and no offset. `DPMSolverMultistepScheduler` places its "leading" for S + 1 steps, "linspace" likewise, and
  drops the last; `HeunDiscreteScheduler` does not round "linspace". All but DDIM therefore take their timesteps from
  our grid, which ends at index 0.
- End. With `set_alpha_to_one=False` the last level is not clean, and with `final_sigmas_type="sigma_min"` neither.
  `DDPMScheduler` leaves the noise out where the timestep is 0, not where the step is the last: right only for grids
  that end at index 0.
- Clipping. `DDIMScheduler` derives eps again from the clipped x_0 only with `use_clipped_model_output=True`.
  `DPMSolverMultistepScheduler` has no clipping, but `thresholding` with `sample_max_value=1` is one to -1 ... 1.
- Precision. The tables are float32, with 1 - alphas_cumprod four digits short at index 0. So they are replaced by
  float64 ones, the network runs in float64, and `DPMSolverMultistepScheduler`, which rounds the state to float32 in
  every step, is made to leave it alone: then all agree to round-off. As shipped, they stay within 1e-4 of our samplers.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.schedulers import scheduling_ddpm
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_heun_discrete import HeunDiscreteScheduler
from safetensors.torch import load_file
from torch import Tensor, nn

import models.networks
from models.denoiser import Denoiser
from models.grids import GRIDS
from models.networks import IndexedUNet, make_unet
from models.schedule import DiscreteVP, Level
from samplers import SAMPLERS, Noise

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

NoiseOf = Callable[[int], Noise]
Run = Callable[[nn.Module, Tensor, list[int], Noise, bool, bool], Tensor]

ZOO = Path(models.networks.__file__).parent / "zoo" / "digits"
SMALL = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [16, 32],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D"],
    "add_attention": False,
    "norm_num_groups": 8,
}
STEPS = 10
SCHEDULE = DiscreteVP.linear()
BETAS: dict[str, Any] = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    """A U-Net for 8 x 8 images with one channel."""
    trained = (ZOO / "diffusion_pytorch_model.safetensors").exists()
    torch.manual_seed(0)
    network = make_unet(json.loads((ZOO / "config.json").read_text()) if trained else SMALL)
    if trained:
        network.load_state_dict(load_file(ZOO / "diffusion_pytorch_model.safetensors"))
    return network.eval().requires_grad_(requires_grad=False)


@pytest.fixture(params=["float64", "as shipped"])
def exact(request: pytest.FixtureRequest, unet: nn.Module) -> Iterator[bool]:
    """Whether network and diffusers' tables are in float64; otherwise both are as shipped, in float32."""
    exact = request.param == "float64"
    _ = unet.double() if exact else unet.float()
    yield exact
    unet.float()


def with_exact_tables(scheduler: Any) -> Any:
    """Put float64 tables into a DDIM or DDPM scheduler."""
    scheduler.alphas_cumprod = torch.from_numpy(np.cumprod(1.0 - np.linspace(1e-4, 0.02, 1000)))
    scheduler.final_alpha_cumprod = scheduler.one = torch.ones((), dtype=torch.float64)
    return scheduler


def exact_sigmas(timesteps: Sequence[int]) -> Tensor:
    """sigma / alpha at the timesteps and 0 at the end, as the Heun and DPM-Solver schedulers keep them."""
    abar = np.cumprod(1.0 - np.linspace(1e-4, 0.02, 1000))[list(timesteps)]
    return torch.from_numpy(np.append(np.sqrt((1.0 - abar) / abar), 0.0))


def diffusers_ddim(eta: float) -> Run:
    def run(unet: nn.Module, x: Tensor, timesteps: list[int], noise: Noise, clip: bool, exact: bool) -> Tensor:
        scheduler = DDIMScheduler(
            **BETAS, clip_sample=clip, set_alpha_to_one=True, steps_offset=0, timestep_spacing="leading"
        )
        scheduler = with_exact_tables(scheduler) if exact else scheduler
        scheduler.set_timesteps(len(timesteps))
        assert scheduler.timesteps.tolist() == timesteps
        for t in scheduler.timesteps:
            z = noise(x) if eta > 0.0 else None
            output = unet(x, t, return_dict=False)[0]
            x = scheduler.step(
                output, t, x, eta=eta, use_clipped_model_output=True, variance_noise=z, return_dict=False
            )[0]
        return x

    return run


def diffusers_ddpm(variance: str) -> Run:
    def run(unet: nn.Module, x: Tensor, timesteps: list[int], noise: Noise, clip: bool, exact: bool) -> Tensor:
        scheduler = DDPMScheduler(**BETAS, clip_sample=clip, variance_type=variance)
        scheduler = with_exact_tables(scheduler) if exact else scheduler
        scheduler.set_timesteps(timesteps=timesteps)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                scheduling_ddpm, "randn_tensor", lambda shape, dtype, **_: noise(torch.empty(shape, dtype=dtype))
            )
            for t in scheduler.timesteps:
                x = scheduler.step(unet(x, t, return_dict=False)[0], t, x, return_dict=False)[0]
        return x

    return run


def diffusers_heun(unet: nn.Module, x: Tensor, timesteps: list[int], noise: Noise, clip: bool, exact: bool) -> Tensor:
    scheduler = HeunDiscreteScheduler(**BETAS, clip_sample=clip)
    scheduler.set_timesteps(timesteps=timesteps)
    if exact:
        sigmas = exact_sigmas(timesteps)
        scheduler.sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
    x = x * (scheduler.sigmas[0] ** 2 + 1.0) ** 0.5  # its state is x / alpha
    for t in scheduler.timesteps:
        output = unet(scheduler.scale_model_input(x, t), t, return_dict=False)[0]
        x = scheduler.step(output, t, x, return_dict=False)[0]
    return x


def diffusers_dpmpp_2m(
    unet: nn.Module, x: Tensor, timesteps: list[int], noise: Noise, clip: bool, exact: bool
) -> Tensor:
    scheduler = DPMSolverMultistepScheduler(
        **BETAS,
        algorithm_type="dpmsolver++",
        solver_type="midpoint",
        solver_order=2,
        final_sigmas_type="zero",
        thresholding=clip,
        sample_max_value=1.0,
    )
    scheduler.set_timesteps(timesteps=timesteps)
    if exact:
        scheduler.sigmas = exact_sigmas(timesteps)
    for t in scheduler.timesteps:
        output = unet(x, t, return_dict=False)[0]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "float32", x.dtype)  # what `step` rounds the state to
            x = scheduler.step(output, t, x, return_dict=False)[0]
    return x


@pytest.mark.parametrize("clip", [False, True], ids=["free", "clipped"])
@pytest.mark.parametrize(
    ("spec", "grid", "theirs"),
    [
        ("ddim", "leading", diffusers_ddim(eta=0.0)),
        ("ddim[eta=1.0]", "leading", diffusers_ddim(eta=1.0)),
        ("ddpm", "leading", diffusers_ddpm("fixed_small")),
        ("ddpm[variance=fixed_large]", "quad", diffusers_ddpm("fixed_large")),
        ("heun", "quad", diffusers_heun),
        ("dpm++2m", "quad", diffusers_dpmpp_2m),
    ],
)
def test_samplers_agree_with_diffusers(
    unet: nn.Module, exact: bool, clip: bool, spec: str, grid: str, theirs: Run, noise: NoiseOf
) -> None:
    """Relative to the largest pixel; what is different in diffusers, and why, stands at the top of this file."""
    levels: list[Level] = GRIDS.make(grid)(SCHEDULE, STEPS)
    timesteps = [round(SCHEDULE.index(level.t)) for level in levels[:-1]]
    x = noise(1)(torch.empty(4, 1, 8, 8, dtype=torch.float64 if exact else torch.float32))
    model = Denoiser(IndexedUNet(unet, SCHEDULE), "epsilon", SCHEDULE, clip=(-1.0, 1.0) if clip else None)
    ours = SAMPLERS.make(spec).sample(model, x, levels, noise(2))
    expected = theirs(unet, x, timesteps, noise(2), clip, exact)
    assert expected.dtype == ours.dtype == x.dtype
    difference = float((ours - expected).abs().max() / expected.abs().max())
    assert difference < (1e-11 if exact else 1e-4)
