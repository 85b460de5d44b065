"""Running out of memory, on a GPU and on a CPU."""

import torch

from models.foreign import words

_SAID = (
    "DefaultCPUAllocator: ",
    "CUDA error: out of memory",
    "Triton Error [CUDA]: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "DEVICE_ALLOCATION_FAILED",  # the end of cuDNN 9's name
    # torch tries cuDNN's ways to convolve in turn, and leaves out each whose workspace does not fit
    "unable to find an engine to execute this computation",
)
"""What stands in the plain RuntimeErrors of those who take memory past torch's allocator for GPUs."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, by its class or its words."""
    told = words(error)
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(said in told for said in _SAID)


def release_cache() -> None:
    """Give memory that torch keeps for later back to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
