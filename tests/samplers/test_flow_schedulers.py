"""diffusers' schedulers for flow matching as samplers, and which of ours each is, on our levels and theirs."""

import re
from collections.abc import Sequence
from itertools import pairwise

import diffusers
import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

import samplers.diffusers_schedulers as known
from bench.conformance import laws
from bench.noise.stream import ImageNoise
from bench.study.placement import misfit
from models.cards.card import Card
from models.common.errors import UsageError
from models.denoiser import Denoiser
from models.grids import GRIDS, Shift
from models.networks.network import counted
from models.schedule import DiscreteVP, Flow, Level
from samplers import SAMPLERS
from samplers.diffusers_schedulers import SCHEDULERS

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

FLOW = Flow()
NAMES = [name for name, each in SCHEDULERS.items() if each.flow]
EULER, HEUN, LCM = (f"diffusers:FlowMatch{each}Scheduler" for each in ("EulerDiscrete", "HeunDiscrete", "LCM"))
MIXTURE = laws.mixture_law().network


def model() -> Denoiser:
    return Denoiser(MIXTURE, "sample", FLOW)


def start(images: int = 3) -> tuple[Tensor, ImageNoise]:
    noise = ImageNoise(0, torch.arange(images))
    return noise(torch.empty(images, 1, 8, 8, dtype=torch.float64)), noise


def theirs(spec: str, steps: int) -> Tensor:
    """From the state that a study gives, whose deviation is that of the native grid's first level."""
    levels = GRIDS.make("native")(FLOW, steps)
    x, noise = start()
    return SAMPLERS.make(spec).sample(model(), x * FLOW.prior_std(levels[0]), levels, noise)


def ours(spec: str, levels: Sequence[Level]) -> Tensor:
    x, noise = start()
    return SAMPLERS.make(spec).sample(model(), x * FLOW.prior_std(levels[0]), levels, noise)


def as_placed(shift: float, steps: int) -> list[Level]:
    """The levels that a scheduler places alone: its lowest, 1/1000, is shifted twice."""
    grid = Shift(shift=shift, t_start=1.0)
    lowest = 0.001
    for _ in range(2):
        lowest = shift * lowest / (1 + (shift - 1) * lowest)
    return (grid if steps == 1 else Shift(shift=shift, t_start=1.0, t_end=lowest))(FLOW, steps)


def differs(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


each_steps = pytest.mark.parametrize("steps", [1, 2, 5, 10])
each_shift = pytest.mark.parametrize("shift", [1.0, 3.0])


@each_steps
@each_shift
def test_ddim_is_the_flow_matching_euler_of_diffusers(steps: int, shift: float) -> None:
    found = ours("ddim", as_placed(shift, steps))
    assert differs(found, theirs(f"{EULER}[shift={shift}]", steps)) < 1e-5


@each_steps
@each_shift
def test_consistency_is_the_flow_matching_lcm_and_the_stochastic_euler(steps: int, shift: float) -> None:
    found = ours("consistency", as_placed(shift, steps))
    assert differs(found, theirs(f"{LCM}[shift={shift}]", steps)) < 1e-5
    assert differs(found, theirs(f"{EULER}[shift={shift},stochastic_sampling=true]", steps)) < 1e-5


def velocity_heun(levels: Sequence[Level]) -> Tensor:
    """Heun's method on dx / dt = eps - x_0; the last step is Euler's."""
    x, _ = start()
    x, denoise = x * FLOW.prior_std(levels[0]), model()
    for t, s in pairwise(levels):
        slope = denoise(x, t).combine(x0=-1.0, eps=1.0)
        euler = x + (s.t - t.t) * slope
        if not s.is_clean:
            slope = 0.5 * (slope + denoise(euler, s).combine(x0=-1.0, eps=1.0))
        x = x + (s.t - t.t) * slope
    return x


@each_steps
@each_shift
def test_the_flow_matching_heun_is_in_time_and_ours_in_noise(steps: int, shift: float) -> None:
    """`heun` is EDM's: in sigma / alpha, of whose ODE it solves x / alpha. Both are of second order."""
    expected = theirs(f"{HEUN}[shift={shift}]", steps)
    assert differs(velocity_heun(as_placed(shift, steps)), expected) < 1e-5
    if steps > 2:
        levels = GRIDS.make("shift[shift=3]")(FLOW, steps)
        assert differs(ours("heun", levels), velocity_heun(levels)) > 1e-3


def test_on_a_flow_euler_in_time_is_ddim() -> None:
    levels = GRIDS.make("shift[shift=3]")(FLOW, 7)
    assert differs(ours("pf-euler", levels), ours("ddim", levels)) < 1e-12


@each_steps
def test_the_pipeline_of_flux_gives_it_levels_that_are_the_shift_grid(steps: int) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps).tolist())
    x, denoise = start()[0], model()
    for t in scheduler.timesteps:
        velocity = denoise(x, FLOW.level(float(t) / 1000)).combine(x0=-1.0, eps=1.0)
        x = scheduler.step(velocity, t, x, return_dict=False)[0]
    assert differs(ours("ddim", GRIDS.make("shift[shift=3,t_start=1]")(FLOW, steps)), x) < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_a_scheduler_for_flows_is_pure_and_counts_its_evaluations(name: str) -> None:
    sampler = SAMPLERS.make(f"diffusers:{name}")
    network, evaluated = counted(MIXTURE)
    seen: list[float] = []

    def watched(x: Tensor, at: Level) -> Tensor:
        seen.append(at.t)
        return network(x, at)

    levels, (x, noise) = GRIDS.make("native")(FLOW, 7), start()
    before = x.clone()
    with torch.inference_mode():
        found = sampler.sample(Denoiser(watched, "sample", FLOW), x, levels, noise)
    assert torch.equal(x, before)
    assert found.dtype == x.dtype
    assert bool(found.isfinite().all())
    assert evaluated() / len(x) == sampler.nfe(levels) == len(seen) == 7 + 6 * ("Heun" in name)
    assert (seen[0], seen[-1]) == pytest.approx((1.0, 0.001))
    assert torch.equal(theirs(f"diffusers:{name}", 7), theirs(f"diffusers:{name}", 7))
    assert sampler.stochastic == (name == "FlowMatchLCMScheduler")
    assert (known._TWICE.text in (sampler.caveat or "")) == ("Heun" in name)


@pytest.mark.parametrize("name", NAMES)
def test_its_caveats_say_where_its_levels_are_not_those_of_pipelines(name: str) -> None:
    assert known._ALONE.text in (SAMPLERS.make(f"diffusers:{name}").caveat or "")
    shifted = SAMPLERS.make(f"diffusers:{name}[shift=3]").caveat or ""
    assert known._TWICE_SHIFTED.text in shifted
    scheduler = getattr(diffusers, name)(shift=3.0)
    scheduler.set_timesteps(5)
    assert float(scheduler.sigmas[-2]) == pytest.approx(as_placed(3.0, 5)[-2].t, rel=1e-5)


@pytest.mark.parametrize("spec", ["use_karras_sigmas=true", "use_beta_sigmas=true", "shift_terminal=0.1"])
def test_other_placements_run(spec: str) -> None:
    assert bool(theirs(f"{EULER}[{spec}]", 5).isfinite().all())


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (f"{EULER}[shift=0]", "shift: Input should be greater than 0, got 0"),
        (f"{EULER}[use_dynamic_shifting=true]", "use_dynamic_shifting: Unexpected keyword argument"),
        (f"{HEUN}[s_churn=1]", "s_churn: Unexpected keyword argument. It takes: shift=1.0."),
        ("diffusers:HeliosScheduler", "it is made for the network of one pipeline"),
    ],
)
def test_what_a_scheduler_for_flows_cannot_be_given_is_a_usage_error(spec: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        SAMPLERS.make(spec)


def test_another_schedule_is_refused_before_anything_runs_and_by_the_sampler() -> None:
    sampler, schedule = SAMPLERS.make(EULER), DiscreteVP.linear()
    card = {
        "schema_version": 1,
        "name": "exact",
        "shape": (1, 8, 8),
        "network": "finite-data",
        "parametrisation": "sample",
        "files": {"points.safetensors": "0" * 64},
    }
    betas = Card.model_validate({**card, "schedule": {"kind": "linear", "train_steps": 1000}})
    assert "for a schedule of kind 'flow'; that of model 'exact' is of kind 'linear'" in (
        misfit(EULER, sampler, betas) or ""
    )
    assert misfit(EULER, sampler, Card.model_validate({**card, "schedule": {"kind": "flow"}})) is None
    with pytest.raises(UsageError, match="is for flow matching, but this model has DiscreteVP"):
        sampler.sample(Denoiser(MIXTURE, "sample", schedule), *_call(schedule))


def _call(schedule: DiscreteVP) -> tuple[Tensor, list[Level], ImageNoise]:
    x, noise = start()
    return x, GRIDS.make("native")(schedule, 5), noise


def test_a_step_that_cannot_be_placed_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="places 1 step at timesteps nan to nan, outside 1000 to 0"):
        theirs(f"{EULER}[shift_terminal=0.1]", 1)
