"""Full float32 where numbers are compared with published ones."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """No autocast and no TensorFloat-32, whose 10 bits of mantissa cuDNN's convolutions use unless told otherwise."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = (matmul.allow_tf32, cudnn.allow_tf32)
    matmul.allow_tf32, cudnn.allow_tf32 = False, False
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
