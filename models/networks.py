"""Networks as samplers' models see them: a function of the state and its noise level.

The blocks are diffusers'; what stands here is only the conversion from a `Level` to what a network is conditioned on.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from models.schedule import DiscreteVP, Level


class Network(Protocol):
    """Anything that maps a state x (N, C, H, W) at a level to an output, of the same shape unless it is a decoder."""

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


class LevelBlind:
    """A network that is given the state alone, such as a decoder, whose state is its latent at any level."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def __call__(self, x: Tensor, at: Level) -> Tensor:
        output: Tensor = self.network(x)
        return output


class EDMPreconditioned:
    """A network in EDM's preconditioning (arXiv 2206.00364, table 1), which makes of its output the expected x_0.

    D = c_skip y + c_out F(c_in y, c_noise) for the scaled state y = x / alpha and its noise level sigma / alpha, so it
    runs on every schedule; written so that nothing is divided by alpha.

    Args:
        network: F, called with the scaled state (N, C, H, W) and c_noise = log(sigma / alpha) / 4, (N,).
        sigma_data: standard deviation of the data, for which alone the network's input and target have variance 1.
    """

    def __init__(self, network: Callable[[Tensor, Tensor], Tensor], sigma_data: float = 0.5) -> None:
        self.network = network
        self.sigma_data = sigma_data

    def __call__(self, x: Tensor, at: Level) -> Tensor:
        std = math.hypot(at.sigma, at.alpha * self.sigma_data)
        c_noise = torch.full((x.shape[0],), -0.25 * at.logsnr, dtype=x.dtype, device=x.device)
        output = self.network(x / std, c_noise)
        skip, out = at.alpha * self.sigma_data**2 / std**2, at.sigma * self.sigma_data / std
        return skip * x + out * output


def make_unet(config: dict[str, Any]) -> nn.Module:
    """A diffusers `UNet2DModel` from its `config.json` (keys that start with an underscore are diffusers' notes)."""
    from diffusers.models.unets.unet_2d import UNet2DModel  # several seconds of import: only where a U-Net is made

    unet: nn.Module = UNet2DModel(**{key: value for key, value in config.items() if not key.startswith("_")})
    return unet
