"""Samplers, one file a method. `from samplers import StepSampler, register` is all that a plugin needs.

In the tree torch is imported for types alone, so that what only lists and plans samplers does not wait for it.
"""

# ruff: noqa: F401  (each registers itself)
from samplers import (
    afs,
    consistency,
    ddim,
    ddpm,
    deis,
    dpm_2_ancestral,
    dpm_adaptive,
    dpm_solver_2,
    dpm_solver_3,
    dpm_solver_multistep,
    dpm_solver_v3,
    dpmpp_2m,
    dpmpp_2m_sde,
    dpmpp_2s,
    dpmpp_2s_ancestral,
    dpmpp_3m,
    dpmpp_3m_sde,
    dpmpp_3s,
    dpmpp_sde,
    edm,
    er_sde,
    euler_maruyama,
    gradient_estimation,
    heun,
    ipndm,
    langevin,
    one_step,
    pf_euler,
    pndm,
    predictor_corrector,
    restart,
    reverse_diffusion,
    rk,
    rk45,
    sa_solver,
    seeds,
    stork,
    unipc,
)  # fmt: skip
from samplers.base import AdaptiveSampler, Noise, Sampler, StepSampler
from samplers.registry import SAMPLERS, register

__all__ = ["SAMPLERS", "AdaptiveSampler", "Noise", "Sampler", "StepSampler", "register"]
