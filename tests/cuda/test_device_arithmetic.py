"""TensorFloat-32 is used where a mode says so and nowhere else, and the flags are afterwards what they were before."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import device_cells
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from bench.quality.exact_arithmetic import exact_arithmetic
from models.loading.zoo import load_model
from models.networks.execution import arithmetic
from models.networks.modes import Precision, parse_mode

_Operation = Callable[[Tensor], Tensor]


def _convolution(x: Tensor) -> Tensor:
    return functional.conv2d(x, x[:64, :, :3, :3].contiguous(), padding=1)


def _product(x: Tensor) -> Tensor:
    return x.reshape(1024, 1024) @ x.reshape(1024, 1024)


def _error(operation: _Operation, x: Tensor) -> float:
    """Of float32, relative to the largest number of the result, against float64."""
    exact = operation(x.double())
    return float((operation(x).double() - exact).abs().max() / exact.abs().max())


def _flags() -> tuple[object, ...]:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    return matmul.allow_tf32, cudnn.allow_tf32, torch.get_float32_matmul_precision()


@pytest.mark.parametrize("operation", [_convolution, _product])
def test_products_have_24_bits_in_fp32_and_11_in_tf32(cuda: torch.device, operation: _Operation) -> None:
    x = torch.randn(64, 64, 16, 16, generator=torch.Generator().manual_seed(0)).to(cuda)
    with arithmetic("fp32"):
        assert _error(operation, x) < 1e-5
    with arithmetic("tf32"):
        assert 2e-5 < _error(operation, x) < 1e-2
        with exact_arithmetic(cuda):
            assert _error(operation, x) < 1e-5


def test_flags_are_what_they_were_after_a_mode_and_after_an_error_in_it(device: torch.device) -> None:
    before = _flags()
    precisions: tuple[Precision, ...] = ("fp32", "tf32", "bf16", "fp16")
    for precision in precisions:
        with suppress(ZeroDivisionError), arithmetic(precision), exact_arithmetic(device):
            assert _flags() == (False, False, "highest")
            raise ZeroDivisionError
        assert _flags() == before
    with arithmetic("tf32"):
        assert _flags() == (True, True, "high")


def test_a_network_in_fp32_is_that_of_the_cpu_and_tf32_is_near_it(cuda: torch.device, tmp_path: Path) -> None:
    folder = device_cells.cifar_shaped(tmp_path / "model")
    x = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def output(mode: str, device: torch.device) -> Tensor:
        model = load_model(folder, device, mode=parse_mode(mode))
        with torch.inference_mode(), arithmetic(model.mode.precision):
            return model.network(x.to(device), model.schedule.level(0.5)).cpu()

    expected = output("fp32", torch.device("cpu"))
    scale = float(expected.square().mean().sqrt())
    assert device_cells.apart(output("fp32", cuda), expected) / scale < 1e-5
    assert 1e-5 < device_cells.apart(output("tf32", cuda), expected) / scale < 1e-2
    for mode in ("bf16", "bf16+channels_last"):
        assert 1e-4 < device_cells.apart(output(mode, cuda), expected) / scale < 1e-1
