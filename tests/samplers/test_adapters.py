"""Schedulers of diffusers as samplers: what they do in a loop of their own, on our betas, network and noise."""

import inspect
import json
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import numpy as np
import pytest
import torch
from torch import Tensor

import samplers.diffusers_schedulers as known
from bench.conformance import laws
from bench.conformance.repeat_checks import repeats_at_ends
from bench.noise.stream import ImageNoise
from bench.record import RunFolder
from bench.running.runner import run_study
from bench.running.session import Session
from bench.study.file import parse_study
from bench.study.overrides import Overrides
from models.common.errors import UsageError
from models.denoiser import Denoiser
from models.grids import GRIDS
from models.loading.model import Model
from models.loading.zoo import load_model
from models.networks.network import IndexedUNet, counted
from models.schedule import VE, DiscreteVP, Level
from samplers import SAMPLERS, Noise, Sampler
from samplers.diffusers_schedulers import REFUSED, SCHEDULERS

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

LINEAR = DiscreteVP.linear()
OF_BETAS = [name for name, each in SCHEDULERS.items() if not each.flow]
"""Those for flow matching are in test_flow_schedulers.py."""


def levels_of(steps: int) -> list[Level]:
    return GRIDS.make("native")(LINEAR, steps)


@pytest.fixture(scope="module")
def digits() -> Model:
    return load_model("digits", torch.device("cpu"))


class _Counting:
    """Counter-based noise that counts its draws."""

    def __init__(self, numbers: Tensor) -> None:
        self._source, self.draws = ImageNoise(0, numbers), -1  # the initial state is no draw of the sampler's

    def __call__(self, like: Tensor) -> Tensor:
        self.draws += 1
        return self._source(like)


class _Run(NamedTuple):
    result: Tensor
    evaluations: float
    draws: int


def run(sampler: Sampler, numbers: Tensor, steps: int = 8) -> _Run:
    """A sampler on Gaussian data."""
    network, evaluated = counted(laws.gaussian())
    noise, model = _Counting(numbers), Denoiser(network, "sample", LINEAR)
    x = noise(torch.empty(len(numbers), 1, 8, 8, dtype=torch.float64))
    start = x.clone()
    with torch.inference_mode():
        result = sampler.sample(model, x, levels_of(steps), noise)
    assert torch.equal(x, start)
    return _Run(result, evaluated() / len(numbers), noise.draws)


@pytest.mark.parametrize("name", ["DDIMScheduler", "DPMSolverMultistepScheduler", "EulerDiscreteScheduler"])
def test_a_scheduler_that_was_made_before_gives_the_same_images(name: str) -> None:
    """The adapter keeps one for a schedule, and schedulers keep what they have seen."""
    assert repeats_at_ends(SAMPLERS.make(f"diffusers:{name}")).startswith("bit for bit")


@pytest.mark.parametrize("name", OF_BETAS)
def test_a_scheduler_is_pure_counts_its_evaluations_and_keeps_images_apart(name: str) -> None:
    sampler = SAMPLERS.make(f"diffusers:{name}")
    before = (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())  # type: ignore[index]
    whole = run(sampler, torch.arange(5))
    assert torch.equal(whole.result, run(sampler, torch.arange(5)).result)
    parts = torch.cat([run(sampler, part).result for part in torch.arange(5).split(2)])
    torch.testing.assert_close(parts, whole.result, rtol=0, atol=1e-6)  # some round the state to float32
    assert whole.evaluations == sampler.nfe(levels_of(8))
    assert (whole.draws > 0) == sampler.stochastic
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (np.random.get_state()[1].tolist(), random.getstate())  # type: ignore[index]


SPECS = [f"diffusers:{name}" for name in OF_BETAS if not name.startswith("KDPM2A")] + [
    "diffusers:KDPM2AncestralDiscreteScheduler[timestep_spacing=trailing]",
    "diffusers:DDIMScheduler[eta=1.0,timestep_spacing=trailing]",
    "diffusers:DDIMScheduler[clip_sample=true,use_clipped_model_output=true]",
    "diffusers:DDPMScheduler[variance_type=fixed_small_log]",
    "diffusers:DPMSolverMultistepScheduler[algorithm_type=sde-dpmsolver++,use_karras_sigmas=true]",
    "diffusers:DPMSolverSinglestepScheduler[algorithm_type=sde-dpmsolver++]",
    "diffusers:EulerDiscreteScheduler[s_churn=4.0,s_noise=1.003,timestep_spacing=leading,steps_offset=1]",
    "diffusers:LMSDiscreteScheduler[solver_order=2]",
    "diffusers:UniPCMultistepScheduler[disable_corrector=[0,1],solver_order=3]",
]


def plain_loop(sampler: Sampler, model: Model, x: Tensor, steps: int, noise: Noise) -> Tensor:
    """What a pipeline does, with the betas by name, as the digits were trained on them."""
    cls: Any = getattr(diffusers, type(sampler).__name__)
    taken = inspect.signature(cls.step).parameters
    parameters = {key: value for key, value in vars(sampler).items() if value is not None}
    if type(sampler).__name__.startswith("LMS"):
        parameters["order"] = parameters.pop("solver_order")
    arguments = {key: parameters.pop(key) for key in list(parameters) if key in taken}
    assert isinstance(model.network, IndexedUNet)
    scheduler = cls(beta_schedule="linear", beta_start=1e-4, beta_end=0.02, **parameters)
    scheduler.set_timesteps(steps)
    x = x * scheduler.init_noise_sigma
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sys.modules[cls.__module__],
            "randn_tensor",
            lambda shape, dtype, **_: noise(torch.empty(shape, dtype=dtype)),
            raising=False,
        )
        for t in scheduler.timesteps:
            output = model.network.unet(scheduler.scale_model_input(x, t), t.float(), return_dict=False)[0]
            x = scheduler.step(output, t, x, return_dict=False, **arguments)[0]
    return x


@pytest.mark.parametrize("spec", SPECS)
def test_a_scheduler_draws_the_digits_that_a_plain_loop_draws(digits: Model, spec: str) -> None:
    """To round-off in float32: the betas have been through our levels, so their last digit may differ."""
    sampler, numbers, steps = SAMPLERS.make(spec), torch.arange(2), 6
    noise = ImageNoise(0, numbers)
    x = noise(torch.empty(2, 1, 8, 8))
    model = Denoiser(digits.network, "epsilon", digits.schedule)
    with torch.inference_mode():
        ours = sampler.sample(model, x, levels_of(steps), noise)
        again = ImageNoise(0, numbers)
        theirs = plain_loop(sampler, digits, again(x), steps, again)
    assert bool(ours.isfinite().all())
    assert ours.dtype == x.dtype
    difference = float((ours - theirs).abs().max() / theirs.abs().max())
    assert difference < 1e-4


def test_every_scheduler_that_diffusers_exports_is_supported_or_refused_with_a_reason() -> None:
    # older versions have copies for Flax
    exported = {name for name in dir(diffusers) if name.endswith("Scheduler") and not name.startswith("Flax")}
    assert exported <= SCHEDULERS.keys() | REFUSED.keys()
    assert not SCHEDULERS.keys() & REFUSED.keys()
    for name, reason in REFUSED.items():
        with pytest.raises(UsageError, match=f"diffusers' {name} cannot be a sampler here: {re.escape(reason)}"):
            SAMPLERS.make(f"diffusers:{name}")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("DDIMSchedular", "unknown sampler 'diffusers:DDIMSchedular'. Did you mean 'diffusers:DDIMScheduler'?"),
        ("DDIMScheduler[timestep_spacing=trailling]", "'leading', 'linspace' or 'trailing', got 'trailling'"),
        ("DDIMScheduler[beta_start=0.1]", "beta_start: Unexpected keyword argument. It takes: clip_sample=False"),
        ("DDIMScheduler[eta=2]", "eta: Input should be less than or equal to 1, got 2"),
        ("LCMScheduler[timestep_spacing=leading]", "timestep_spacing: Unexpected keyword argument"),
        ("DDPMScheduler[variance_type=fixed_large_log]", "'fixed_small_log' or 'fixed_large', got 'fixed_large_log'"),
        ("EulerDiscreteScheduler[use_karras_sigmas=true,use_beta_sigmas=true]", "Only one of"),
        ("DPMSolverMultistepScheduler[algorithm_type=dpmsolver]", "`final_sigmas_type` zero is not supported"),
    ],
)
def test_what_a_scheduler_cannot_be_given_is_a_usage_error(spec: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        SAMPLERS.make(f"diffusers:{spec}")
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("spec", "steps", "levels", "said"),
    [
        ("PNDMScheduler", 3, 1000, "PNDMScheduler cannot place 3 steps"),
        ("LCMScheduler", 51, 1000, "LCMScheduler cannot place 51 steps: The combination of"),
        ("DDIMScheduler[steps_offset=1]", 1000, 1000, "places 1,000 steps at timesteps 1000 to 1, outside 999 to 0"),
        ("DDIMScheduler[timestep_spacing=trailing]", 29, 100, "at timesteps 99 to -1, outside 99 to 0"),
        ("KDPM2AncestralDiscreteScheduler", 2, 1000, "at timesteps nan to nan"),
    ],
)
def test_steps_that_a_scheduler_cannot_place_are_a_usage_error(spec: str, steps: int, levels: int, said: str) -> None:
    schedule = DiscreteVP.linear(levels)
    model, x = Denoiser(laws.gaussian(), "sample", schedule), torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    with pytest.raises(UsageError) as error:
        SAMPLERS.make(f"diffusers:{spec}").sample(
            model, x, GRIDS.make("native")(schedule, steps), ImageNoise(0, torch.arange(1))
        )
    assert said in str(error.value)


MULTISTEP = [name for name in SCHEDULERS if name.startswith(("DEIS", "DPMSolver", "SASolver", "UniPC"))]


@pytest.mark.parametrize("name", MULTISTEP)
def test_a_first_timestep_that_is_placed_twice_is_said(name: str) -> None:
    """diffusers begins at the second of the two, and ends in an IndexError or an AssertionError without a word."""
    sampler, schedule = SAMPLERS.make(f"diffusers:{name}[use_karras_sigmas=true]"), DiscreteVP.cosine()
    model, x = Denoiser(laws.gaussian(), "sample", schedule), torch.ones(1, 1, 8, 8, dtype=torch.float64)
    few, many = (GRIDS.make("native")(schedule, steps) for steps in (5, 50))
    assert bool(sampler.sample(model, x, few, ImageNoise(0, torch.arange(1))).isfinite().all())
    with pytest.raises(UsageError, match="places 50 steps with its first timestep, 999, twice"):
        sampler.sample(model, x, many, ImageNoise(0, torch.arange(1)))


def test_a_schedule_without_betas_is_a_usage_error() -> None:
    model = Denoiser(laws.gaussian(), "sample", VE())
    with pytest.raises(UsageError, match="needs betas, so a discrete variance-preserving schedule; this model has VE"):
        SAMPLERS.make("diffusers:DDIMScheduler").sample(
            model, torch.zeros(1, 1, 8, 8), GRIDS.make("native")(VE(), 5), ImageNoise(0, torch.arange(1))
        )


def test_diffusers_draws_its_own_noise_again_after_a_network_fails() -> None:
    module = sys.modules["diffusers.schedulers.scheduling_ddpm"]
    theirs = module.randn_tensor

    def network(x: Tensor, at: Level) -> Tensor:
        assert module.randn_tensor is not theirs
        raise RuntimeError("a network broke")

    with pytest.raises(RuntimeError, match="a network broke"):
        SAMPLERS.make("diffusers:DDPMScheduler").sample(
            Denoiser(network, "sample", LINEAR),
            torch.zeros(1, 1, 8, 8),
            levels_of(5),
            ImageNoise(0, torch.arange(1)),
        )
    assert module.randn_tensor is theirs


def test_parameters_survive_json_and_the_source_of_a_class_is_the_adapter() -> None:
    for spec in SPECS:
        sampler = SAMPLERS.make(spec)
        text = ",".join(f"{key}={json.dumps(value)}" for key, value in vars(sampler).items())
        assert SAMPLERS.make(f"{SAMPLERS.name_of(sampler)}[{text}]") == sampler
        assert SAMPLERS.make(SAMPLERS.spec_of(sampler)) == sampler
        assert Path(inspect.getfile(type(sampler))).name == "diffusers_adapter.py"


def test_diffusers_is_imported_only_when_one_of_its_schedulers_is_asked_for() -> None:
    code = """
import sys
import bench.study.study
from samplers import SAMPLERS
assert len(SAMPLERS.families()["diffusers"]) > 10
assert "diffusers" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


_STUDY = """
name = "test"
title = "Test"
model = "digits"
images = 16
batch = 16
timing = { repeats = 1, seconds = 0.0 }
device = "cpu"
metrics = ["fd"]
baseline = { sampler = "ddim", grid = "leading", steps = 5 }
[[block]]
samplers = ["diffusers:DDIMScheduler", "diffusers:UniPCMultistepScheduler[use_karras_sigmas=true]"]
grids = ["leading", "trailing"]
steps = [5]
"""


class _Silent:
    def planned(self, cells: int, evaluations: int) -> None: ...
    def advanced(self, evaluations: int) -> None: ...
    def finished(self, cell: object, record: object, kept: bool) -> None: ...

    def timed(self, cell: object, record: object) -> None: ...


def test_a_study_runs_schedulers_on_their_own_grid_and_says_what_to_know_of_them(tmp_path: Path) -> None:
    study, folder = parse_study(_STUDY, "test", Overrides()), RunFolder(tmp_path)
    outcome = run_study(study, Session.load(study), folder, False, _Silent())
    assert (outcome.measured, outcome.failed) == (3, 0)
    rows = folder.load().set_index("sampler")
    theirs, unipc = rows.loc["diffusers:DDIMScheduler"], rows.iloc[2]
    assert (theirs["grid"], theirs["family"], theirs["nfe"], theirs["nfe_declared"]) == ("native", "library", 5, 5)
    assert known._LOW_START in theirs["note"]
    assert known._TOLD in unipc["note"]
    assert theirs["fd_digits"] == pytest.approx(rows.loc["ddim"]["fd_digits"], rel=1e-3)  # the same grid and noise
