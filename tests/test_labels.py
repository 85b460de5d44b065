"""Labels of class-conditional models: a function of (seed, image) alone, even over the classes, unlike the noise."""

import torch
from scipy.stats import chisquare

from bench.labels import draw_labels
from bench.noise import philox


def test_an_images_label_depends_on_seed_and_image_alone() -> None:
    whole = draw_labels(7, torch.arange(100), 10)
    parts = torch.cat([draw_labels(7, part, 10) for part in torch.arange(100).split(33)])
    assert torch.equal(whole, parts)
    assert torch.equal(draw_labels(7, torch.tensor([42, 3]), 10), whole[[42, 3]])
    assert not torch.equal(draw_labels(8, torch.arange(100), 10), whole)


def test_labels_are_even_over_all_classes() -> None:
    counts = torch.bincount(draw_labels(0, torch.arange(70_000), 7), minlength=7)
    assert len(counts) == 7
    assert chisquare(counts.numpy()).pvalue > 0.01


def test_seeds_of_64_bits_are_all_told_apart() -> None:
    images = torch.arange(64)
    drawn = [draw_labels(seed, images, 1000) for seed in (0, 1, 2**32, 2**32 + 1, 2**64 - 1)]
    assert len({tuple(each.tolist()) for each in drawn}) == len(drawn)


def test_labels_and_noise_have_no_random_word_in_common() -> None:
    """The word behind a label is that of a counter whose fourth part no noise has."""
    images = torch.arange(1000)
    counter = torch.zeros(4, 1000, dtype=torch.int64)
    counter[1] = images
    of_noise = philox(counter, (5, 0))[0]
    of_labels = draw_labels(5, images, 2**31)
    assert not torch.any(of_labels == of_noise >> 1)
