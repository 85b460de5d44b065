"""The arithmetic of networks is what can be worked out by hand, and devices' peaks are those of their data sheets."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.timing.flops import gflop_per_evaluation, vendor_peak_tflops
from models.networks.network import call_diffusers, make_unet

_META = torch.device("meta")
_CIFAR10 = {
    "sample_size": 32,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [128, 256, 256, 256],
    "layers_per_block": 2,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
}
"""google/ddpm-cifar10-32."""


def test_a_convolution_takes_two_operations_a_weight_and_pixel() -> None:
    network = nn.Conv2d(3, 5, 3, padding=1)
    gflop = gflop_per_evaluation(network, (3, 8, 6), torch.device("cpu"))
    assert gflop == pytest.approx(2 * (3 * 5 * 3 * 3) * (8 * 6) / 1e9)


def test_ddpms_u_net_takes_12_444_gflop_of_which_attention_multiplies_0_336() -> None:
    """The 12.108 that is often quoted leaves attention's two products out."""
    with _META:
        unet = make_unet(_CIFAR10)
        at = torch.zeros(1)
    assert sum(each.numel() for each in unet.parameters()) == 35_746_307
    call = call_diffusers(unet)
    found = gflop_per_evaluation(lambda x: call(x, at), (3, 32, 32), _META)
    # six blocks of one head: five on 16 x 16 pixels, one on 4 x 4, all with 256 channels; q k and (q k) v
    attention = 2 * 2 * 256 * (5 * 256**2 + 16**2) / 1e9
    assert found == pytest.approx(12.4437, abs=1e-4)
    assert found - attention == pytest.approx(12.108, abs=5e-4)


def test_counting_leaves_no_counter_behind() -> None:
    network = nn.Conv2d(1, 1, 1)
    with FlopCounterMode(display=False) as outer:
        gflop_per_evaluation(network, (1, 4, 4), torch.device("cpu"))
        counted = outer.get_total_flops()
        network(torch.zeros(1, 1, 4, 4))
    assert outer.get_total_flops() == counted + 32


@pytest.mark.parametrize(
    ("name", "tf32", "bf16"),
    [("NVIDIA H200", 494.7, 989.4), ("NVIDIA H100 80GB HBM3", 494.7, 989.4), ("NVIDIA A100-SXM4-80GB", 156.0, 312.0)],
)
def test_peaks_are_those_of_dense_products(name: str, tf32: float, bf16: float) -> None:
    assert vendor_peak_tflops(name, "tf32") == tf32
    assert vendor_peak_tflops(name, "bf16") == vendor_peak_tflops(name, "fp16") == bf16


@pytest.mark.parametrize(
    "name", ["NVIDIA H200 NVL", "NVIDIA H100 PCIe", "NVIDIA GeForce RTX 4090", "AMD EPYC, 2 threads"]
)
def test_the_peak_of_any_other_device_is_not_guessed(name: str) -> None:
    assert vendor_peak_tflops(name, "fp32") is None
