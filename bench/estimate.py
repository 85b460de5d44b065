"""What a study will take, before it takes it: its evaluations, and the time that a short calibration gives them."""

from dataclasses import dataclass
from functools import partial

import torch

from bench.placement import place
from bench.plan import Cell, plan
from bench.rig import Rig
from bench.timing import Stopwatch

_CALIBRATION_S = 1.0
"""Of network evaluations, a model."""


@dataclass(frozen=True)
class Estimate:
    """What a study will take.

    Attributes:
        cells: with the network evaluations an image that each sampler declares; None where it cannot say.
        evaluations: of all images of all cells whose samplers can say, repeated timings included.
        seconds: for those, and for the features of all images; metrics, reference solutions and loading not included.
        seconds_an_evaluation: measured, of one image in a full batch, by model.
    """

    cells: list[tuple[Cell, int | None]]
    evaluations: int
    seconds: float
    seconds_an_evaluation: dict[str, float]


def estimate(rig: Rig) -> Estimate:
    """Count the evaluations of a study's cells and measure what one takes.

    Raises:
        UsageError: a cell whose sampler, grid and model do not fit together.
    """
    study, cells = rig.study, list[tuple[Cell, int | None]]()
    for cell in plan(study):
        sampler, levels = place(cell, rig.models[cell.model].card, rig.subject.card)
        cells.append((cell, sampler.nfe(levels)))
    rates = {name: rig.seconds_an_evaluation(model, _CALIBRATION_S) for name, model in rig.models.items()}
    batch = min(study.batch, study.images)
    drawn = study.images + max(0, study.repeats - study.images // batch) * batch  # batches drawn again to be timed
    known = [(cell, nfe) for cell, nfe in cells if nfe is not None]
    sampling = sum(drawn * nfe * rates[cell.model] for cell, nfe in known)
    features = len(cells) * study.images * _seconds_an_extraction(rig)
    return Estimate(cells, sum(drawn * nfe for _, nfe in known), sampling + features, rates)


def _seconds_an_extraction(rig: Rig) -> float:
    """Time of the features of one image, in one batch of the extractor's fixed size."""
    if rig.extractor is None:
        return 0.0
    pixels = torch.zeros((rig.extractor.batch, *rig.subject.card.shape), dtype=torch.uint8, device=rig.device)
    stopwatch = Stopwatch(rig.device)
    _, second = (stopwatch.seconds(partial(rig.extractor, pixels)) for _ in range(2))  # the first picks kernels
    return second / rig.extractor.batch
