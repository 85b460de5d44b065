"""Checks of what a sampler leaves behind: what all samplers share has to be as it found it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.conformance import laws
from bench.conformance.check import Check, require, sample
from bench.purity.aspect import Kind
from models.schedule import Level
from samplers import Sampler


class _Module(nn.Module):
    """A law in closed form that has what trained networks have: a parameter and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.law = laws.gaussian()
        self.shift = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.scale: Tensor
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        self.eval()

    def forward(self, x: Tensor, at: Level) -> Tensor:
        return self.scale * self.law(x, at) + self.shift


def _leaves(kind: Kind, instead: str) -> Callable[[Sampler], str]:
    def run(sampler: Sampler) -> str:
        changed = [change.words for change in sample(sampler, _Module()).changed if change.kind == kind]
        require(not changed, f"changes {', and '.join(changed)}; {instead}")
        return "as it was before"

    return run


_RESTORE = "whatever runs after it would run otherwise: leave it as it is, or put it back"
PURITY_CHECKS = (
    Check("leaves global random states untouched", _leaves("random", "use the noise argument")),
    Check("leaves the settings of torch untouched", _leaves("torch", _RESTORE)),
    Check("leaves the modes of autograd untouched", _leaves("autograd", _RESTORE)),
    Check("leaves the process untouched", _leaves("process", _RESTORE)),
    Check("leaves the network untouched", _leaves("weights", "it is not the sampler's")),
)
