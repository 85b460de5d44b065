"""A lack of memory is told by an error's class or its words, and nothing else is taken for one."""

import pytest
import torch

from bench.timing.memory import is_out_of_memory


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        RuntimeError("FIND was unable to find an engine to execute this computation"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    ],
    ids=str,
)
def test_what_torch_and_cudnn_say_where_memory_does_not_suffice_is_understood(error: BaseException) -> None:
    """The engines' words stand in torch's library for CUDA: it swallows each workspace's lack of memory before."""
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "said", ["called a synchronizing CUDA operation", "operation not permitted when stream is capturing", "broke"]
)
def test_other_errors_of_a_device_are_none(said: str) -> None:
    assert not is_out_of_memory(RuntimeError(said))
