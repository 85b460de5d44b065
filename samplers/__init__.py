"""Samplers, one file a method. `from samplers import StepSampler, register` is all that a plugin needs."""

from samplers.base import Noise, Sampler, StepSampler
from samplers.registry import SAMPLERS, register

from samplers import ddim, ddpm, dpmpp_2m, euler_maruyama, heun, langevin  # isort: skip  (each registers itself)

__all__ = ["SAMPLERS", "Noise", "Sampler", "StepSampler", "register"]
__all__ += ["ddim", "ddpm", "dpmpp_2m", "euler_maruyama", "heun", "langevin"]
