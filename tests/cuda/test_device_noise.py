"""Noise on the device is that of the CPU: a function of (seed, image, draw) and of nothing else."""

import pytest
import torch

from bench.noise.stream import ImageNoise, _fused, normal

_CPU = torch.device("cpu")


def test_triton_compiles_the_kernel_and_no_slower_way_is_taken(cuda: torch.device) -> None:
    assert _fused(cuda.type) is not None


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, 2**33 + 7, 2**64 - 1])
@pytest.mark.parametrize(
    ("size", "draws"),
    [
        *((1, range(3)), (7, range(1, 2)), (64, range(2**32 - 3, 2**32)), (1030, range(16, 18))),
        *((3072, range(2)), (255, range(2**31 - 1, 2**31 + 2))),
    ],
    ids=lambda value: str(value),
)
def test_normals_are_those_of_the_cpu(device: torch.device, seed: int, size: int, draws: range) -> None:
    """To 1e-12 in float64, and rounded to float32 to the last digit, as in `test_noise_kernel.py`."""
    images = torch.tensor([5, 0, 2**32 - 1, 16, 3, 2**31])[1:]  # begins at an address that 16 does not divide
    on_device = torch.tensor([5, 0, 2**32 - 1, 16, 3, 2**31], device=device)[1:]
    expected = normal(seed, images, draws, size)
    found = normal(seed, on_device, draws, size)
    assert found.device == on_device.device
    torch.testing.assert_close(found.cpu(), expected, rtol=0.0, atol=1e-12)
    found = normal(seed, on_device, draws, size, torch.float32)
    torch.testing.assert_close(found.cpu(), expected.float(), rtol=1.2e-7, atol=0.0)


def test_more_blocks_than_32_bits_of_elements_hold_no_other_numbers(cuda: torch.device) -> None:
    """The last of 700,000 images of 32 x 32, whose elements are counted beyond 2^31: 8.6 GB."""
    if torch.cuda.mem_get_info(cuda)[0] < 2**34:
        pytest.skip("needs 16 GiB of free memory")
    images = torch.arange(700_000, device=cuda)
    last = normal(3, images, range(1), 3072, torch.float32)[0, -1]
    torch.testing.assert_close(last.cpu(), normal(3, images[-1:].cpu(), range(1), 3072)[0, 0].float())


@pytest.mark.parametrize("batch", [1, 7, 33])
def test_an_image_has_the_same_noise_bit_for_bit_in_any_batch(device: torch.device, batch: int) -> None:
    like = torch.empty(66, 3, 5, 7, device=device)
    whole = ImageNoise(3, torch.arange(66, device=device))
    expected = [whole(like) for _ in range(9)]
    for numbers in torch.arange(66, device=device).split(batch):
        source = ImageNoise(3, numbers)
        for draw in expected:
            assert torch.equal(source(like[: len(numbers)]), draw[numbers])


@pytest.mark.parametrize("shape", [(4, 1, 8, 8), (3, 3, 32, 32)])
def test_every_draw_of_a_stream_is_that_of_the_cpu(device: torch.device, shape: tuple[int, ...]) -> None:
    here, there = (ImageNoise(9, torch.arange(shape[0], device=at), first=1) for at in (device, _CPU))
    for _ in range(12):
        found, expected = here(torch.empty(shape, device=device)), there(torch.empty(shape))
        torch.testing.assert_close(found.cpu(), expected, rtol=1.2e-7, atol=0.0)
