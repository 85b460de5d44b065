"""DDPM's U-Net for small photographs: its configuration, how it begins, and how it is compiled."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bench.training.data import Say, side_of

_HALVINGS = 8  # the sides of images are halved three times


def unet_config(width: int, shape: tuple[int, int, int]) -> dict[str, Any]:
    """DDPM's U-Net of a width for images (C, H, W), as diffusers' google/ddpm-cifar10-32 has it at 128."""
    side = side_of(shape, "the U-Net", _HALVINGS)
    return {
        "sample_size": side,
        "in_channels": shape[0],
        "out_channels": shape[0],
        "block_out_channels": [width, 2 * width, 2 * width, 2 * width],
        "layers_per_block": 2,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
        "attention_head_dim": None,  # one head
        "dropout": 0.1,
        "downsample_padding": 0,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "norm_eps": 1e-6,
        "norm_num_groups": math.gcd(32, width),
    }


def begin_at_zero(unet: nn.Module) -> nn.Module:
    """DDPM's initial weights: the last layer of the network, of each residual block and of each attention is zero."""
    for name, module in unet.named_modules():
        if name == "conv_out" or name.endswith((".conv2", ".to_out.0")):
            for parameter in module.parameters():
                nn.init.zeros_(parameter)
    return unet


def compiled(unet: nn.Module, shape: tuple[int, ...], bf16: bool, say: Say) -> Callable[..., Any] | None:
    """The network compiled, tried out forwards and backwards; None, and the reason said, if that does not work."""
    device = next(unet.parameters()).device
    try:
        predict: Callable[..., Any] = torch.compile(unet.train())
        index = torch.zeros(shape[0], dtype=torch.int64, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            output = predict(torch.zeros(shape, device=device), index, return_dict=False)[0]
        output.float().square().mean().backward()
    except Exception as error:  # a compiler may raise anything, and training goes without it
        torch.compiler.reset()
        say(f"torch.compile cannot be used here, training runs without: {type(error).__name__}: {str(error)[:300]}")
        return None
    finally:
        unet.zero_grad(set_to_none=True)
    return predict
