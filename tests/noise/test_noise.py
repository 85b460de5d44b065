"""The noise is Philox4x32-10 to the bit, normal, and a function of (seed, image, draw) alone."""

import numpy as np
import pytest
import torch
from scipy import stats

from bench.noise.philox import philox, philox_on_host
from bench.noise.stream import ImageNoise, normal

_ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((_ONES,) * 4, (_ONES,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_published_answers(counter: tuple[int, ...], key: tuple[int, int], expected: str) -> None:
    by_torch = philox(list(torch.tensor(counter)[:, None]), key)
    on_host = philox_on_host(list(np.array(counter)[:, None]), key)
    for words in (by_torch, on_host):
        assert " ".join(f"{word.item():08x}" for word in words) == expected


def test_words_on_the_host_are_those_of_tensors_bit_for_bit() -> None:
    shapes = [(1, 1, 5), (1, 7, 1), (3, 1, 1), (1, 7, 5)]
    counter = [torch.randint(2**32, shape, generator=torch.Generator().manual_seed(0)) for shape in shapes]
    expected = philox(counter, (_ONES, 5))
    for found, word in zip(philox_on_host([word.numpy() for word in counter], (_ONES, 5)), expected, strict=True):
        assert torch.equal(torch.from_numpy(found), word)


def test_noise_is_standard_normal() -> None:
    drawn = normal(7, torch.arange(4000), range(3, 4), size=64).flatten()
    assert stats.kstest(drawn.numpy(), "norm").pvalue > 1e-3
    assert drawn.mean().abs() < 4 / len(drawn) ** 0.5
    assert (drawn.square().mean() - 1).abs() < 4 * (2 / len(drawn)) ** 0.5


def test_elements_images_draws_and_seeds_are_uncorrelated() -> None:
    images = torch.arange(2000)
    base = normal(1, images, range(1), size=8)[0]
    correlation = torch.corrcoef(base.T) - torch.eye(8)
    assert correlation.abs().max() < 5 / 2000**0.5
    others = [
        normal(2, images, range(1), 8),
        normal(1, images + 2000, range(1), 8),
        normal(1, images, range(1, 2), 8),
        normal(1 + 2**32, images, range(1), 8),
    ]
    for other in others:
        assert torch.corrcoef(torch.stack([base.flatten(), other.flatten()]))[0, 1].abs() < 5 / 16000**0.5


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_an_image_has_the_same_noise_bit_for_bit_in_any_batch(batch: int) -> None:
    whole = ImageNoise(3, torch.arange(64))
    like = torch.empty(64, 1, 8, 8)
    expected = [whole(like) for _ in range(3)]
    for numbers in torch.arange(64).split(batch):
        source = ImageNoise(3, numbers)
        for draw in expected:
            assert torch.equal(source(like[: len(numbers)]), draw[numbers])


def test_sizes_that_four_does_not_divide_are_prefixes_of_larger_ones() -> None:
    assert torch.equal(normal(0, torch.arange(5), range(2), 7), normal(0, torch.arange(5), range(2), 8)[:, :, :7])


@pytest.mark.parametrize("size", [1, 64, 3072])
def test_draws_are_what_they_are_alone_however_many_are_made_at_once(size: int) -> None:
    images = torch.tensor([5, 0, 2**32 - 1])
    source, like = ImageNoise(3, images), torch.empty(3, size, 1, 1, dtype=torch.float64)
    for draw in range(40):
        assert torch.equal(source(like).flatten(1), normal(3, images, range(draw, draw + 1), size)[0])


def test_a_draw_is_the_same_whatever_the_size_of_those_before() -> None:
    source = ImageNoise(0, torch.arange(4))
    for draw, size in enumerate([8, 8, 3, 8, 12]):
        drawn = source(torch.empty(4, size, dtype=torch.float64))
        assert torch.equal(drawn, normal(0, torch.arange(4), range(draw, draw + 1), size)[0])


def test_the_noise_of_a_seed_never_changes() -> None:
    """Recorded cells depend on it: these are the first normals of image 3 of seed 2^33 + 7 in draws 0 and 9."""
    found = normal(2**33 + 7, torch.tensor([3]), range(10), 4)[:, 0].tolist()
    assert found[0] == pytest.approx([0.6624130600867404, -1.3189931981197363, 0.18637482338223024, -0.046179174170138])
    assert found[9] == pytest.approx([0.7784940266588345, -1.5430239717445389, 1.3157783332203061, 0.6636849804868619])


def test_noise_from_a_later_draw_on_is_what_follows_the_earlier_ones() -> None:
    images, like = torch.arange(4), torch.empty(4, 1, 8, 8)
    whole, rest = ImageNoise(5, images), ImageNoise(5, images, first=1)
    whole(like)
    for _ in range(12):
        assert torch.equal(rest(like), whole(like))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_state_has_the_noise_in_its_dtype_whatever_that_before_it_had(dtype: torch.dtype) -> None:
    source, images = ImageNoise(5, torch.arange(4)), torch.arange(4)
    for draw in range(10):
        like = torch.empty(4, 6, dtype=dtype if draw % 2 else torch.float64)
        drawn = source(like)
        assert drawn.dtype == like.dtype
        assert torch.equal(drawn, normal(5, images, range(draw, draw + 1), 6)[0].to(like.dtype))


def test_noise_of_another_number_of_images_is_refused() -> None:
    with pytest.raises(ValueError, match="noise for 4 images was asked for a state of shape"):
        ImageNoise(0, torch.arange(4))(torch.empty(5, 1, 8, 8))
