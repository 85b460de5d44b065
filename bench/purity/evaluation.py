"""That a network is evaluated as its mode says, and not as a sampler sets torch while it runs."""

from collections.abc import Callable

import torch
from torch import Tensor

from bench.purity.aspect import Aspect
from bench.purity.torch_settings import TORCH
from bench.purity.unchanged import Impure
from models.schedule import Level

_DECIDE = {"the number of threads", "the precision of float32"}
_DECIDE |= {f"torch.backends.{each}" for each in ("mkldnn.enabled", "cudnn.enabled", "cudnn.benchmark")}


def _autocast() -> list[str]:
    return [device for device in ("cpu", "cuda") if torch.is_autocast_enabled(device)]


_ASPECTS = (
    Aspect("autocast", "autograd", _autocast, lambda _: None),
    *(aspect for aspect in TORCH if aspect.name in _DECIDE),
)


def steady(network: Callable[..., Tensor], sampler: str) -> Callable[..., Tensor]:
    """The network, which raises Impure where a sampler has changed what decides on its precision or its speed since.

    `unchanged` sees only what is left so after the call; what is changed for its time would be in a row of the mode
    that the network was meant to run in.

    Args:
        network: what is evaluated.
        sampler: what it is called.
    """
    before = [(aspect, aspect.read()) for aspect in _ASPECTS]

    def evaluate(x: Tensor, at: Level, *labels: Tensor) -> Tensor:
        for aspect, value in before:
            if (now := aspect.read()) != value:
                raise Impure(
                    f"{sampler} evaluates the network with {aspect.name} changed{aspect.told(value, now)}: how it is "
                    "executed is said by the mode, and for all samplers alike"
                )
        return network(x, at, *labels)

    return evaluate
