"""diffusers' schedulers on our levels, our start and our noise, so that what they make can be compared by numbers.

What a scheduler would choose itself is taken from it, because much of that is where diffusers is not right:

- Levels. Each places its steps by a rule of its own (`DDIMScheduler` looks up t - T // S whatever its timesteps are,
  the DPM-Solver family places "leading" and "linspace" for S + 1 steps and drops the last, `HeunDiscreteScheduler` does
  not round). So our levels are put in place after `set_timesteps`.
- End. With `set_alpha_to_one=False` the last level is not clean. Solvers for the noise prediction cannot go to the
  clean level in diffusers; they run on grids that end at a noisy one. `DDPMScheduler` leaves the noise out where the
  timestep is 0, not where the step is the last: right only for grids that end at index 0.
- Noise. The module's `randn_tensor` is replaced.
- Precision. The tables are float32, with 1 - alphas_cumprod four digits short at index 0, and many schedulers round the
  state to float32 in every step. For a state in float64 both are taken back; for float32 all is as shipped.
"""

import inspect
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.schedulers.deprecated.scheduling_karras_ve import KarrasVeScheduler
from diffusers.schedulers.scheduling_ipndm import IPNDMScheduler
from diffusers.schedulers.scheduling_k_dpm_2_ancestral_discrete import KDPM2AncestralDiscreteScheduler
from diffusers.schedulers.scheduling_k_dpm_2_discrete import KDPM2DiscreteScheduler
from safetensors.torch import load_file
from torch import Tensor, nn

import models.networks.network
from models.denoiser import ClipRange, Denoiser
from models.grids import GRIDS
from models.networks.network import IndexedUNet, call_diffusers, make_unet
from models.schedule import DiscreteVP, Level
from samplers import SAMPLERS, Noise

NoiseOf = Callable[[int], Noise]
Theirs = Callable[[Tensor, Sequence[Level], Noise], Tensor]
"""What diffusers makes of a state at the first of our levels, at the last of them."""

SCHEDULE = DiscreteVP.linear()
SHAPE = (2, 1, 8, 8)
_BETAS: dict[str, Any] = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
_EXACT_ABAR = np.cumprod(1.0 - np.linspace(1e-4, 0.02, 1000))
ZOO = Path(models.networks.network.__file__).parents[1] / "zoo" / "digits"


@cache
def digits(dtype: torch.dtype) -> IndexedUNet:
    """The digits checkpoint, which predicts eps for 8 x 8 images with one channel, traced: half the time, every bit."""
    unet = make_unet(json.loads((ZOO / "config.json").read_text()))
    unet.load_state_dict(load_file(ZOO / "diffusion_pytorch_model.safetensors"))
    unet = nn.Module.to(unet, dtype).eval().requires_grad_(requires_grad=False)
    given = torch.zeros(SHAPE, dtype=dtype), torch.zeros(SHAPE[0], dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is deprecated, and of what depends on the shape, which is this one
        traced = torch.jit.trace(call_diffusers(unet), given, check_trace=False)
    return IndexedUNet(traced, SCHEDULE, traced)


NetworkOf = Callable[[torch.dtype], IndexedUNet]


def difference(
    spec: str,
    grid: str,
    steps: int,
    theirs: Theirs,
    noise: NoiseOf,
    dtype: torch.dtype,
    clip: ClipRange | None = None,
    network: NetworkOf = digits,
    shape: Sequence[int] = SHAPE,
) -> float:
    """The largest difference between a sampler and what diffusers makes, relative to the largest pixel.

    A network other than the digits' is one that learned the variance; `theirs` has the same.
    """
    levels = GRIDS.make(grid)(SCHEDULE, steps)
    x = noise(1)(torch.empty(shape, dtype=dtype))
    model = Denoiser(network(dtype), "epsilon", SCHEDULE, clip, learns_variance=network is not digits)
    ours = SAMPLERS.make(spec).sample(model, x, levels, noise(2))
    expected = theirs(x, levels, noise(2))
    assert expected.dtype == ours.dtype == dtype
    return float((ours - expected).abs().max() / expected.abs().max())


@contextmanager
def draws_from(noise: Noise, scheduler: Any, dtype: torch.dtype) -> Iterator[None]:
    """Let the scheduler draw from `noise`, and round to `dtype` where it rounds to float32."""
    module = sys.modules[type(scheduler).__module__]
    with pytest.MonkeyPatch.context() as patch:
        draw = lambda shape, **_: noise(torch.empty(shape, dtype=dtype))  # noqa: E731
        patch.setattr(module, "randn_tensor", draw, raising=False)
        patch.setattr(torch, "float32", dtype)
        yield


def _indices(levels: Sequence[Level]) -> list[int]:
    return [round(SCHEDULE.index(level.t)) for level in levels if not level.is_clean]


def as_sigmas(scheduler: Any, levels: Sequence[Level], dtype: torch.dtype) -> None:
    """Place our levels in a scheduler that reads sigma / alpha from a list, 0 for a clean end."""
    at, steps = _indices(levels), len(levels) - 1
    scheduler.set_timesteps(steps)
    abar = _EXACT_ABAR if dtype == torch.float64 else scheduler.alphas_cumprod.numpy()
    ratios = np.sqrt((1.0 - abar[at]) / abar[at])
    scheduler.sigmas = torch.tensor(np.append(ratios, [0.0] * levels[-1].is_clean), dtype=dtype)
    scheduler.timesteps = torch.tensor(at[:steps], dtype=scheduler.timesteps.dtype)


def as_sigmas_twice(scheduler: Any, levels: Sequence[Level], dtype: torch.dtype) -> None:
    """The same for Heun's, which lists all but the first and last level twice."""
    as_sigmas(scheduler, levels, dtype)
    sigmas, timesteps = scheduler.sigmas, scheduler.timesteps
    scheduler.sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
    scheduler.timesteps = torch.cat([timesteps[:1], timesteps[1:].repeat_interleave(2)])


def as_table(scheduler: Any, levels: Sequence[Level], dtype: torch.dtype) -> None:
    """Place the levels of our "leading" grid in a scheduler that looks them up in alphas_cumprod, T // S apart."""
    if dtype == torch.float64:
        scheduler.alphas_cumprod = torch.from_numpy(_EXACT_ABAR)
        scheduler.final_alpha_cumprod = scheduler.one = torch.ones((), dtype=torch.float64)
    scheduler.set_timesteps(len(levels) - 1)
    assert list(dict.fromkeys(scheduler.timesteps.tolist()))[-1] == _indices(levels)[-1]
    assert set(_indices(levels)) <= set(scheduler.timesteps.tolist())


def as_timesteps(scheduler: Any, levels: Sequence[Level], dtype: torch.dtype) -> None:
    """Place our levels in a scheduler that looks them up in alphas_cumprod, wherever they lie."""
    if dtype == torch.float64:
        scheduler.alphas_cumprod = torch.from_numpy(_EXACT_ABAR)
        scheduler.one = torch.ones((), dtype=torch.float64)
    scheduler.set_timesteps(timesteps=_indices(levels))


@dataclass(frozen=True)
class Stepped:
    """The loop of diffusers' pipelines.

    Attributes:
        scheduler: its class.
        options: of its `__init__`.
        place: puts our levels into it.
        scaled: whether its state is x / alpha.
        output: the output that it expects, from the scheduler, the state and eps.
        before: called before every step; returns arguments of `step`.
        network: that is stepped.
    """

    scheduler: type[Any]
    options: dict[str, Any] = field(default_factory=dict)
    place: Callable[[Any, Sequence[Level], torch.dtype], None] = as_sigmas
    scaled: bool = False
    output: Callable[[Any, Tensor, Tensor], Tensor] = lambda scheduler, x, eps: eps
    before: Callable[[Any], dict[str, Any]] = lambda scheduler: {}
    network: NetworkOf = digits

    def __call__(self, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        known = inspect.signature(self.scheduler.__init__).parameters
        fixed = _BETAS | {"clip_sample": False, "set_alpha_to_one": True}
        scheduler = self.scheduler(**{name: fixed[name] for name in fixed if name in known} | self.options)
        self.place(scheduler, levels, x.dtype)
        unet = call_diffusers(self.network(x.dtype).unet) if self.network is not digits else digits(x.dtype).unet
        x = x / levels[0].alpha if self.scaled else x
        for t in scheduler.timesteps:
            eps = unet(scheduler.scale_model_input(x, t), t.to(x.dtype).expand(len(x)))
            with draws_from(noise, scheduler, x.dtype):
                output = self.output(scheduler, x, eps)
                x = scheduler.step(output, t, x, return_dict=False, **self.before(scheduler))[0]
        return x * levels[-1].alpha if self.scaled else x


def ipndm() -> Stepped:
    """It knows no betas: alpha and sigma of the levels are its own to choose, and the output is the velocity."""

    def place(scheduler: Any, levels: Sequence[Level], dtype: torch.dtype) -> None:
        scheduler.set_timesteps(len(levels) - 1)
        scheduler.alphas = torch.tensor([level.alpha for level in levels], dtype=dtype)
        scheduler.betas = torch.tensor([level.sigma for level in levels], dtype=dtype)
        scheduler.timesteps = torch.tensor([round(SCHEDULE.index(level.t)) for level in levels[:-1]])

    def velocity(scheduler: Any, x: Tensor, eps: Tensor) -> Tensor:
        at = scheduler.step_index or 0
        return (eps - float(scheduler.betas[at]) * x) / float(scheduler.alphas[at])

    return Stepped(IPNDMScheduler, place=place, output=velocity)


def karras_ve(
    s_churn: float, s_noise: float = 1.003, network: Callable[[Tensor, Level], Tensor] | None = None
) -> Theirs:
    """Algorithm 2 of EDM, whose network is asked at levels between the indices."""

    def run(x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        scheduler = KarrasVeScheduler(s_churn=s_churn, s_noise=s_noise, s_min=0.05, s_max=50.0)
        scheduler.num_inference_steps = len(levels) - 1

        def minus_eps(scaled: Tensor, ratio: float) -> Tensor:
            at = SCHEDULE.at_ratio(ratio)
            return -(digits(x.dtype) if network is None else network)(at.alpha * scaled, at)

        x = x / levels[0].alpha
        for t, s in pairwise(levels):
            hat = t.ratio
            if 0.05 <= t.ratio <= 50.0:  # it would draw where it adds nothing, too
                with draws_from(noise, scheduler, x.dtype):
                    x, hat = scheduler.add_noise_to_input(x, t.ratio)
            after, slope = scheduler.step(minus_eps(x, hat), hat, s.ratio, x, return_dict=False)
            if not s.is_clean:
                output = minus_eps(after, s.ratio)
                after = scheduler.step_correct(output, hat, s.ratio, x, after, slope, return_dict=False)[0]
            x = after
        return x

    return run


def kdpm2_ancestral(network: Callable[[Tensor, Level], Tensor] | None = None) -> Theirs:
    def place(scheduler: Any, rho: Tensor) -> Tensor:
        up = rho[1:] * (rho[:-1] ** 2 - rho[1:] ** 2).sqrt() / rho[:-1]
        down = (rho[1:] ** 2 - up**2).sqrt()
        between = (rho[:-1] * down).sqrt()
        scheduler.sigmas, scheduler.sigmas_interpol, scheduler.sigmas_up, scheduler.sigmas_down = (
            table.repeat_interleave(2) for table in (rho[:-1], between, up, down)
        )
        return between

    return _asked_between(KDPM2AncestralDiscreteScheduler, place, network)


def kdpm2(network: Callable[[Tensor, Level], Tensor] | None = None) -> Theirs:
    def place(scheduler: Any, rho: Tensor) -> Tensor:
        between = (rho[:-1] * rho[1:]).sqrt()
        scheduler.sigmas = torch.cat([rho[:1], rho[1:].repeat_interleave(2)])
        scheduler.sigmas_interpol = torch.cat([rho[:1], between.repeat_interleave(2)])
        return between

    return _asked_between(KDPM2DiscreteScheduler, place, network)


def _asked_between(
    cls: Any, place: Callable[[Any, Tensor], Tensor], network: Callable[[Tensor, Level], Tensor] | None
) -> Theirs:
    """Its step is asked for twice, with the network at the level between, which has no index.

    Args:
        cls: of the scheduler.
        place: puts sigma / alpha of the levels in its tables; returns that between them.
        network: the digits checkpoint if None.
    """

    def run(x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        scheduler = cls()
        middles = place(scheduler, torch.tensor([level.ratio for level in levels], dtype=x.dtype))
        scheduler._step_index = 0
        x = x / levels[0].alpha
        for t, between in zip(levels, middles.tolist(), strict=False):
            for ratio in (t.ratio, between):
                if ratio > 0.0:  # to the data it takes Euler's step
                    at = SCHEDULE.at_ratio(ratio)
                    with draws_from(noise, scheduler, x.dtype):
                        asked = digits(x.dtype) if network is None else network
                        x = scheduler.step(asked(at.alpha * x, at), 0, x, return_dict=False)[0]
        return x * levels[-1].alpha

    return run
