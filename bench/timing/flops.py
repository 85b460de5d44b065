"""The arithmetic of a network, counted, and the most that a device can do: the limit that a rate is a fraction of."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from models.networks.modes import Precision

_HOPPER: dict[Precision, float] = {"fp32": 66.9, "tf32": 494.7, "bf16": 989.4, "fp16": 989.4}
"""NVIDIA H100 Tensor Core GPU Architecture (white paper), H100 SXM5; the H200's data sheet has the same, rounded."""
_AMPERE: dict[Precision, float] = {"fp32": 19.5, "tf32": 156.0, "bf16": 312.0, "fp16": 312.0}
"""NVIDIA A100 Tensor Core GPU (data sheet); the same for all its forms."""
_PEAKS = {
    "NVIDIA H200": _HOPPER,
    "NVIDIA H100 80GB HBM3": _HOPPER,
    "NVIDIA A100-SXM4-40GB": _AMPERE,
    "NVIDIA A100-SXM4-80GB": _AMPERE,
    "NVIDIA A100-PCIE-40GB": _AMPERE,
    "NVIDIA A100 80GB PCIe": _AMPERE,
}
"""Dense TFLOP/s, without sparsity. Whole names: an H100 PCIe or an H200 NVL has less than the SXM form."""


def gflop_per_evaluation(network: Callable[[Tensor], object], shape: Sequence[int], device: torch.device) -> float:
    """GFLOP of one evaluation of one image: convolutions and matrix products, those of attention too.

    A multiplication and an addition are two. The network is called with a state of (1, *shape), shape (C, H, W); it has
    to be eager, since what runs inside a compiled module cannot be counted.
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(torch.zeros((1, *shape), device=device))
    return counter.get_total_flops() / 1e9


def vendor_peak_tflops(device_name: str, precision: Precision) -> float | None:
    """Dense peak of a device, by its name in torch.cuda, in TFLOP/s; None where that is not known, as for all CPUs.

    It is its vendor's data sheet's for products in this precision; fp32 means without tensor cores.
    """
    return _PEAKS[device_name][precision] if device_name in _PEAKS else None
