"""Samplers against diffusers' schedulers on the digits checkpoint: the same network, initial state, levels and noise.

All that have a counterpart there agree to round-off in float64, and in float32 to within 1e-4 of the largest pixel with
diffusers' tables as shipped. Where a scheduler does something else whatever its settings, the difference is named and
undone in test_differences_from_diffusers.py. How levels and noise get into a scheduler stands in diffusers_runs.py.
"""

from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_deis_multistep import DEISMultistepScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_dpmsolver_singlestep import DPMSolverSinglestepScheduler
from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_heun_discrete import HeunDiscreteScheduler
from diffusers.schedulers.scheduling_lcm import LCMScheduler
from diffusers.schedulers.scheduling_lms_discrete import LMSDiscreteScheduler
from diffusers.schedulers.scheduling_pndm import PNDMScheduler
from diffusers.schedulers.scheduling_sasolver import SASolverScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from diffusers_runs import (
    NoiseOf,
    Stepped,
    Theirs,
    as_sigmas_twice,
    as_table,
    as_timesteps,
    difference,
    ipndm,
    karras_ve,
    kdpm2,
    kdpm2_ancestral,
)  # fmt: skip

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*dpmsolver.* is deprecated:FutureWarning"),
]

TO_DATA, TO_NOISE = "quad", "quad[clean=false]"
"""Grids that go to the clean level, and to index 0."""
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-4}


def ddim(eta: float, *, clip: bool = False) -> Stepped:
    arguments = {"eta": eta, "use_clipped_model_output": True}  # otherwise eps is not that of the clipped x_0
    return Stepped(DDIMScheduler, {"clip_sample": clip}, as_table, before=lambda scheduler: arguments)


def ddpm(variance: str, *, clip: bool = False) -> Stepped:
    return Stepped(DDPMScheduler, {"variance_type": variance, "clip_sample": clip}, as_timesteps)


def heun(*, clip: bool = False) -> Stepped:
    return Stepped(HeunDiscreteScheduler, {"clip_sample": clip}, as_sigmas_twice, scaled=True)


def multistep(**options: Any) -> Stepped:
    return Stepped(DPMSolverMultistepScheduler, options)


def of_noise(order: int, solver_type: str) -> Stepped:
    options = {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min", "lower_order_final": False}
    return multistep(solver_order=order, solver_type=solver_type, **options)


def dpm_solver_2() -> Stepped:
    """Without `lower_order_final`, which would take two first-order steps at the end of an even number."""
    options = {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min", "lower_order_final": False}
    return Stepped(DPMSolverSinglestepScheduler, {"solver_order": 2, **options})


def deis(degree: int) -> Stepped:
    """Its `solver_order` counts values."""
    return Stepped(DEISMultistepScheduler, {"solver_order": degree + 1, "lower_order_final": False})


def unipc(order: int, variant: str, end: str, **options: Any) -> Stepped:
    options |= {"solver_order": order, "solver_type": variant, "final_sigmas_type": end}
    return Stepped(UniPCMultistepScheduler, options)


def sa_solver(**options: Any) -> Stepped:
    return Stepped(SASolverScheduler, {"tau_func": lambda t: 1.0, "lower_order_final": False, **options})


def lcm() -> Stepped:
    """Without its skip connection, which is part of the network that it was made for."""
    return Stepped(LCMScheduler, {"timestep_scaling": 1e12, "original_inference_steps": 100}, as_table)


AGREE: list[tuple[str, str, Theirs]] = [
    ("ddim", "leading", ddim(eta=0.0)),
    ("ddim", TO_DATA, Stepped(EulerDiscreteScheduler, scaled=True)),
    ("ddim[eta=0.5]", "leading", ddim(eta=0.5)),
    ("ddim[eta=1]", "leading", ddim(eta=1.0)),
    ("ddim[eta=1]", TO_DATA, Stepped(EulerAncestralDiscreteScheduler, scaled=True)),
    ("ddpm", "leading", ddpm("fixed_small")),
    ("ddpm[variance=fixed_large]", TO_DATA, ddpm("fixed_large")),
    ("heun", TO_DATA, heun()),
    ("edm[s_churn=0]", TO_DATA, heun()),
    ("edm[s_churn=40,s_min=0.05,s_max=50,s_noise=1.003]", TO_DATA, karras_ve(s_churn=40.0)),
    ("edm[s_churn=2,s_min=0.05,s_max=50,s_noise=1.003]", TO_DATA, karras_ve(s_churn=2.0)),
    ("dpm-solver-2", TO_NOISE, dpm_solver_2()),
    ("dpm++2s", TO_DATA, Stepped(DPMSolverSinglestepScheduler, {"solver_order": 2})),
    ("dpm++2m[lower_order_below=0]", TO_DATA, multistep(solver_order=2)),
    ("dpm++2m", TO_NOISE, multistep(solver_order=2, euler_at_final=True, final_sigmas_type="sigma_min")),
    ("dpm++2m-sde", TO_DATA, multistep(algorithm_type="sde-dpmsolver++", lower_order_final=False)),
    (
        "dpm++2m-sde[solver=heun]",
        TO_DATA,
        multistep(algorithm_type="sde-dpmsolver++", solver_type="heun", lower_order_final=False),
    ),
    ("dpm-2-ancestral", TO_DATA, kdpm2_ancestral()),
    ("dpm-2-ancestral[eta=0]", TO_DATA, kdpm2()),
    ("dpm++2m[solver_type=taylor,lower_order_below=0]", TO_DATA, multistep(solver_order=2, solver_type="heun")),
    ("dpm-solver-multistep[lower_order_below=0]", TO_NOISE, of_noise(2, "midpoint")),
    ("dpm-solver-multistep[solver_type=taylor,lower_order_below=0]", TO_NOISE, of_noise(2, "heun")),
    ("dpm-solver-multistep[solver_order=3,halved=true,lower_order_below=0]", TO_NOISE, of_noise(3, "midpoint")),
    ("deis[degree=1,variable=log-rho]", TO_NOISE, deis(1)),
    ("deis[degree=2,variable=log-rho]", TO_NOISE, deis(2)),
    ("deis[degree=3,variable=rho]", TO_NOISE, Stepped(LMSDiscreteScheduler, scaled=True)),
    *((f"unipc[solver_order={p},variant=bh1]", TO_NOISE, unipc(p, "bh1", "sigma_min")) for p in (1, 2, 3)),
    *((f"unipc[solver_order={p},first_order_to=clean]", TO_DATA, unipc(p, "bh2", "zero")) for p in (1, 2, 3)),
    *(
        (f"unipc[solver_order={p},prediction=noise]", TO_NOISE, unipc(p, "bh2", "sigma_min", predict_x0=False))
        for p in (1, 2, 3)
    ),
    ("ipndm[variant=exact]", TO_DATA, Stepped(LMSDiscreteScheduler, scaled=True)),
    ("pndm", "leading", Stepped(PNDMScheduler, place=as_table)),
    ("ipndm", TO_DATA, ipndm()),
    (
        "sa-solver[predictor_order=1,corrector_order=1,t_min=0,t_max=1]",
        TO_NOISE,
        sa_solver(predictor_order=1, corrector_order=1),
    ),
    ("consistency", "trailing", lcm()),
]

CLIPPED: list[tuple[str, str, Theirs]] = [
    ("ddim", "leading", ddim(eta=0.0, clip=True)),
    ("ddim[eta=1]", "leading", ddim(eta=1.0, clip=True)),
    ("ddpm", "leading", ddpm("fixed_small", clip=True)),
    ("ddpm[variance=fixed_large]", TO_DATA, ddpm("fixed_large", clip=True)),
    ("heun", TO_DATA, heun(clip=True)),
    # it has no clipping, but thresholding to a maximum of 1 is one to -1 ... 1
    ("dpm++2m[lower_order_below=0]", TO_DATA, multistep(solver_order=2, thresholding=True, sample_max_value=1.0)),
]


# few steps, where diffusers falls to lower orders of its own, and many: to round-off once, and as shipped once
@pytest.mark.parametrize(("dtype", "steps"), [(torch.float64, 10), (torch.float32, 20)])
@pytest.mark.parametrize(("spec", "grid", "theirs"), AGREE, ids=[spec for spec, _, _ in AGREE])
def test_samplers_agree_with_diffusers(
    spec: str, grid: str, theirs: Theirs, dtype: torch.dtype, steps: int, noise: NoiseOf
) -> None:
    assert difference(spec, grid, steps, theirs, noise, dtype) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("spec", "grid", "theirs"), CLIPPED, ids=[spec for spec, _, _ in CLIPPED])
def test_samplers_agree_with_diffusers_where_x_0_is_clipped(
    spec: str, grid: str, theirs: Theirs, dtype: torch.dtype, noise: NoiseOf
) -> None:
    assert difference(spec, grid, 10, theirs, noise, dtype, clip=(-1.0, 1.0)) < TOLERANCE[dtype]
