"""Guidance: how the outputs of several evaluations at one state become one. An axis of a study, as samplers are.

`base` says what a guidance is, one file a method; `guided` evaluates and joins, between a network and the denoiser;
`registry` has them by name. `from models.guidance import Guidance, register` is all that a plugin needs.
"""

# ruff: noqa: F401  (each registers itself)
from models.guidance import apg, auto, cfg, none, rescale
from models.guidance.base import Branch, Guidance
from models.guidance.registry import GUIDANCES, register

__all__ = ["GUIDANCES", "Branch", "Guidance", "register"]
