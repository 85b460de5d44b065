"""Networks as samplers' models see them: a function of the state and its noise level.

The blocks are diffusers'; what stands here is only the conversion from a `Level` to what a network is conditioned on.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from models.schedule import DiscreteVP, Level


class Network(Protocol):
    """Anything that maps a state x (N, C, H, W) at a level to an output of the same shape."""

    def __call__(self, x: Tensor, at: Level) -> Tensor: ...


class IndexedUNet:
    """A diffusers `UNet2DModel` trained on T discrete levels, given the (fractional) index of the level."""

    def __init__(self, unet: nn.Module, schedule: DiscreteVP) -> None:
        self.unet = unet
        self.schedule = schedule

    def __call__(self, x: Tensor, at: Level) -> Tensor:
        # a fill on the device: diffusers would cut a Python float to an integer index
        index = torch.full((x.shape[0],), self.schedule.index(at.t), dtype=torch.float32, device=x.device)
        output: Tensor = self.unet(x, index, return_dict=False)[0]
        return output


def make_unet(config: dict[str, Any]) -> nn.Module:
    """A diffusers `UNet2DModel` from its `config.json` (keys that start with an underscore are diffusers' notes)."""
    from diffusers.models.unets.unet_2d import UNet2DModel  # several seconds of import: only where a U-Net is made

    unet: nn.Module = UNet2DModel(**{key: value for key, value in config.items() if not key.startswith("_")})
    return unet
