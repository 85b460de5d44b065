"""Networks in an execution mode: cast, laid out in memory and compiled as a `Mode` says."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from models.cards.card import Card
from models.common.errors import UsageError
from models.networks.modes import Mode, Precision

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
"""What weights and activations are stored in."""

_ONEDNN = ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE")
"""Variables that have oneDNN, which computes on CPUs, round float32 to other types."""

_COMPILED_FOR = 64
"""Batch shapes and networks that one piece of code may be compiled for; the usual 8 are soon met by a batch sweep."""


def check_mode(mode: Mode, card: Card, device: torch.device) -> None:
    """UsageError for a mode that the device or the model does not have, or that the environment makes another."""
    _check_environment(mode, device)
    if card.is_exact and (mode.precision != "fp32" or mode.channels_last or mode.compile):
        raise UsageError(
            f"model {card.name!r} is a law in closed form, worked out in float64: it takes the modes fp32 and "
            f"fp32+graph, not {mode}; name the modes of its cells in a block of their own"
        )
    if mode.compile and (torch._dynamo.config.disable or os.environ.get("TORCHDYNAMO_DISABLE") == "1"):
        raise UsageError(
            f"mode {mode}: torch.compile is switched off in this process, and would leave the network as it is; unset "
            "TORCH_COMPILE_DISABLE and TORCHDYNAMO_DISABLE, or leave the mode out"
        )
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if mode.precision in ("tf32", "bf16") and capability < (8, 0):
            raise UsageError(
                f"mode {mode}: {mode.precision} needs tensor cores of compute capability 8.0, and "
                f"{torch.cuda.get_device_name(device)} has {capability[0]}.{capability[1]}; take fp32 or fp16"
            )
    elif mode.precision == "tf32" or mode.graph:
        what = "a CUDA graph" if mode.graph else "TensorFloat-32"
        raise UsageError(f"mode {mode}: {what} needs a CUDA device, and this one is {device.type}; leave the mode out")


def _check_environment(mode: Mode, device: torch.device) -> None:
    """UsageError for a variable by which libraries multiply float32 otherwise than a mode says, whatever torch asks."""
    libraries = {"NVIDIA_TF32_OVERRIDE": ("0",)} if device.type == "cuda" else dict.fromkeys(_ONEDNN, ("STRICT",))
    for name, strict in libraries.items():
        value = os.environ.get(name, "")
        as_said = value.upper() in ("", *strict)
        if not as_said or (value == "0" and mode.precision == "tf32"):
            raise UsageError(
                f"mode {mode}: the environment variable {name} is {value!r}, so that products of float32 may be made "
                "with another precision than the mode says, and no row would tell; unset it"
            )


def prepared(module: nn.Module, mode: Mode) -> nn.Module:
    """The module cast and laid out in place, and compiled if the mode says so.

    A compiled module that meets more shapes than it may be compiled for raises, where torch would go on uncompiled.
    """
    if mode.channels_last:
        nn.Module.to(module, memory_format=torch.channels_last)
    if mode.casts:
        nn.Module.to(module, DTYPES[mode.precision])  # not the override of diffusers, which logs a warning
    if not mode.compile:
        return module
    torch._dynamo.config.recompile_limit = _COMPILED_FOR
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    torch._dynamo.config.suppress_errors = False  # which a variable in the environment sets: it goes on uncompiled
    return cast(nn.Module, torch.compile(module, dynamic=False))


def in_mode(call: Callable[..., Tensor], mode: Mode) -> Callable[..., Tensor]:
    """A prepared module's call on states as samplers have them: the state is cast for it, its output cast back.

    The condition stays as it is, float32: an index of 999 has no place in the 8 bits of bfloat16's significand.
    """
    if not mode.casts and not mode.channels_last:
        return call
    layout = torch.channels_last if mode.channels_last else torch.preserve_format
    narrow = DTYPES[mode.precision] if mode.casts else None

    def convert(x: Tensor, *rest: Tensor) -> Tensor:
        output = call(x.to(dtype=narrow or x.dtype, memory_format=layout), *rest)
        return output.to(dtype=x.dtype, memory_format=torch.contiguous_format)

    return convert


@contextmanager
def arithmetic(precision: Precision) -> Iterator[None]:
    """TensorFloat-32 for the products of float32 on CUDA inside in mode tf32, and in no other.

    Every mode has to say so: cuDNN's convolutions use it unless told otherwise, and oneDNN's products on a CPU bfloat16
    once a network has asked for products of "medium" precision as it was built.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    products = [getattr(torch.backends.mkldnn, name) for name in ("matmul", "conv", "rnn")]
    before, kept = (matmul.allow_tf32, cudnn.allow_tf32), [each.fp32_precision for each in products]
    matmul.allow_tf32 = cudnn.allow_tf32 = precision == "tf32"
    for each in products:
        each.fp32_precision = "ieee"
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
        for each, precision_before in zip(products, kept, strict=True):
            each.fp32_precision = precision_before
