"""What a Frechet distance is to be seen beside: that of pure noise, and that between two halves of the real images.

Without them a distance within 10 % of the baseline's looks good, whatever the baseline is worth.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from bench.model_record import Floors
from bench.noise import OWN_SEEDS
from bench.noise.stream import ImageNoise
from bench.quality.extractor import Extractor
from bench.quality.features import FeatureStream
from bench.quality.frechet import frechet
from bench.quality.images import to_uint8
from bench.quality.reference import Reference
from bench.quality.statistics import Moments

_NOISE = 1000
"""Images of noise at most: their distance is so large that more change nothing."""
_SEED = OWN_SEEDS + 2
"""Of the noise, which no study's seed block has."""


def measure_floors(extractor: Extractor, reference: Reference, shape: tuple[int, int, int], images: int) -> Floors:
    """The floors of distances of so many images (C, H, W)."""
    count, stream = noise_images(images), FeatureStream(extractor)
    for numbers in torch.arange(count).split(100):
        stream.add(to_uint8(ImageNoise(_SEED, numbers)(torch.empty(len(numbers), *shape))))
    noise = reference.target.distance(Moments.of(stream.finish().features))
    real, half = None, None
    if reference.features is not None and len(reference.features) >= 4:
        half = len(reference.features) // 2
        # the distance of wide features takes seconds
        splits = 10 if reference.features.shape[1] <= 256 else 2
        real = sum(between(one, other) for one, other in halves(reference.features, splits)) / splits
    return Floors(
        column=extractor.column(images),
        extractor_sha256=extractor.sha256,
        reference_sha256=reference.sha256,
        noise=noise,
        noise_images=count,
        real=real,
        real_images=half,
    )


def noise_images(images: int) -> int:
    """Of noise, for distances of so many images."""
    return min(images, _NOISE)


def halves(features: Tensor, splits: int = 10) -> Iterator[tuple[Moments, Moments]]:
    """Some ways to halve the rows (N, F), always the same; of an odd number one row is left out."""
    count = len(features) // 2
    for split in range(splits):
        order = torch.randperm(len(features), generator=torch.Generator().manual_seed(split))
        yield Moments.of(features[order[:count]]), Moments.of(features[order[count : 2 * count]])


def between(one: Moments, other: Moments) -> float:
    """Frechet distance between two sets of features."""
    return frechet(one.mean, one.covariance, other.mean, other.covariance)
