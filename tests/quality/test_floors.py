"""What a distance is to be seen beside: that of pure noise, and that of two halves of the real images."""

import tomllib

import pytest
import torch

from bench.quality.extractors import load_extractor
from bench.quality.features import extract
from bench.quality.floors import measure_floors
from bench.quality.reference import load_reference
from bench.quality.statistics import Moments
from models.loading.sources import CARD, ZOO
from models.loading.zoo import load_model

CPU = torch.device("cpu")


def test_the_floors_are_the_distances_of_noise_and_of_the_halves_of_the_real_features() -> None:
    extractor = load_extractor(None, load_model("digits", CPU), CPU)
    reference = load_reference(None, extractor)
    found = measure_floors(extractor, reference, (1, 8, 8), 1000)
    assert (found.column, found.noise_images, found.real_images) == ("fd_digits", 1000, 898)
    generator = torch.Generator().manual_seed(0)
    noise = (torch.randn(1000, 1, 8, 8, generator=generator).clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8)
    expected = reference.target.distance(Moments.of(extract(extractor, noise).features))
    assert found.noise == pytest.approx(expected, rel=0.05)  # of other noise
    card = tomllib.loads((ZOO / "digits" / CARD).read_text())
    assert found.real == pytest.approx(card["quality"]["fd_digits_floor"], rel=1e-9)  # measured when it was trained
