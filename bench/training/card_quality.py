"""The quality that a model's card reports: its Frechet distance to real data, beside the least that can be expected."""

import torch
from torch import Tensor

from bench.noise.stream import ImageNoise
from bench.quality.extractor import Extractor
from bench.quality.features import extract
from bench.quality.floors import between, halves
from bench.quality.images import to_uint8
from bench.quality.statistics import Moments
from bench.training.losses import Reporter
from models.denoiser import Denoiser
from models.grids import GRIDS
from models.loading.zoo import Model
from samplers import Sampler

_BATCH = 250


def card_quality(
    model: Model, sampler: Sampler, steps: int, seed: int, extractor: Extractor, images: Tensor, reporter: Reporter
) -> dict[str, float | int]:
    """Frechet distance of generated images to one half of the real ones, and the other half's: the floor.

    All are of the same count, and means over ten ways to halve.

    Args:
        model: what is described.
        sampler: what it is sampled with, on the trailing grid.
        steps: of that grid.
        seed: of the noise.
        extractor: gives the features.
        images: (N, C, H, W) uint8, the real data.
        reporter: shows progress.
    """
    count = len(images) // 2
    drawn = Moments.of(extract(extractor, _draw(model, sampler, steps, seed, count, reporter)).features)
    real = extract(extractor, images).features
    floors, distances = [], []
    for half, other in halves(real):
        floors.append(between(other, half))
        distances.append(between(drawn, half))
    return {
        "images": count,
        extractor.column(count): sum(distances) / len(distances),
        f"{extractor.column(count)}_floor": sum(floors) / len(floors),
    }


def _draw(model: Model, sampler: Sampler, steps: int, seed: int, count: int, reporter: Reporter) -> Tensor:
    levels = GRIDS.make("trailing")(model.schedule, steps)
    drawn = []
    with reporter("quality", -(-count // _BATCH)) as report, torch.inference_mode():
        for done, numbers in enumerate(torch.arange(count).split(_BATCH)):
            denoiser = Denoiser(model.network, model.card.parametrisation, model.schedule, model.card.clip)
            source = ImageNoise(seed, numbers)
            x = source(torch.empty(len(numbers), *model.card.state_shape)) * model.schedule.prior_std(levels[0])
            drawn.append(to_uint8(sampler.sample(denoiser, x, levels, source)))
            report(done + 1, 0.0)
    return torch.cat(drawn)
