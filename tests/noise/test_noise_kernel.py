"""The fused kernel gives the noise of `bench.noise.stream`; run by Triton's interpreter, which needs no GPU."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

_COMPARISON = """
import torch
from bench.noise.stream import normal
from bench.noise.kernel import normal_by_one_kernel

images = torch.tensor([5, 0, 2**32 - 1, 16, 3])[1:]
for seed in (0, 1, 16, 2**33 + 7, 2**64 - 1):
    for size, draws in ((1, range(3)), (7, range(1, 2)), (64, range(2**32 - 3, 2**32)), (1030, range(16, 18))):
        expected = normal(seed, images, draws, size)
        drawn = normal_by_one_kernel(seed, images, draws, size, torch.float64)
        torch.testing.assert_close(drawn, expected, rtol=0.0, atol=1e-12)
        drawn = normal_by_one_kernel(seed, images, draws, size, torch.float32)
        torch.testing.assert_close(drawn, expected.float(), rtol=1.2e-7, atol=0.0)
print("alike")
"""


def test_the_kernel_draws_the_same_normals_of_any_seed_image_draw_and_size() -> None:
    """In a process of its own: Triton looks at the variable when it is imported."""
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run([sys.executable, "-c", _COMPARISON], env=environment, capture_output=True, text=True)
    assert ran.stdout == "alike\n", ran.stderr
