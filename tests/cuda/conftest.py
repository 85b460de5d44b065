"""What only a GPU can show. `uv run pytest tests/cuda -n 0` on a machine with one; elsewhere these tests are skipped.

With SAMPLER_BENCH_TEST_DEVICE=cpu those that make sense on a CPU run there, so that their own logic can be tried.
"""

import os
from pathlib import Path

import pytest
import torch

_VARIABLE = "SAMPLER_BENCH_TEST_DEVICE"
_ORDER = ("noise", "arithmetic", "clock", "samplers", "graphs", "statistics", "memory", "study", "training")
"""The cheap and fundamental first: where those fail, the others need no look."""


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Where the tests run; a skip where there is no such device."""
    name = os.environ.get(_VARIABLE, "cuda")
    if name.startswith("cuda") and not torch.cuda.is_available():
        pytest.skip(f"needs a CUDA device; {_VARIABLE}=cpu tries on a CPU what can be tried there")
    return torch.device("cuda", 0) if name == "cuda" else torch.device(name)


@pytest.fixture(scope="session")
def cuda(device: torch.device) -> torch.device:
    """The device, of tests that mean nothing on a CPU."""
    if device.type != "cuda":
        pytest.skip(f"means nothing on {device}, only on CUDA")
    return device


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put this folder's tests in order, in the places that they have among all."""
    places = [n for n, item in enumerate(items) if item.path.parent == Path(__file__).parent]
    for place, item in zip(places, sorted((items[n] for n in places), key=_rank), strict=True):
        items[place] = item


def _rank(item: pytest.Item) -> int:
    name = item.path.stem.removeprefix("test_device_")
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)
