"""What a study will take, before it takes it: its evaluations, and the time that a short calibration gives them."""

from dataclasses import dataclass
from functools import partial

import torch

from bench.placement import place
from bench.plan import Cell, plan
from bench.rig import Rig
from bench.solution import evaluations, has_solver_error
from bench.timing import Stopwatch

_CALIBRATION_S = 1.0
"""Of network evaluations, a model."""


@dataclass(frozen=True)
class Estimate:
    """What a study will take.

    Attributes:
        cells: with the network evaluations an image that each sampler declares; None where it cannot say.
        evaluations: of all images of all cells whose samplers can say, repeated timings included, and of the reference
            solutions that solver errors are measured from.
        seconds: for those, and for the features of all images; metrics and loading not included.
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
    study, cells, solutions = rig.study, list[tuple[Cell, int | None]](), dict[tuple[object, ...], int]()
    for cell in plan(study):
        sampler, levels = place(cell, rig.models[cell.model].card, rig.subject.card)
        cells.append((cell, sampler.nfe(levels)))
        if "solver_error" in study.metrics and has_solver_error(sampler, rig.models[cell.model].card.is_generator):
            problem = (cell.model, cell.clip, cell.seed, levels[0], levels[-1])  # solved once for all its cells
            solutions[problem] = min(study.solver_images, study.images) * evaluations(levels[-1])
    rates = {name: rig.seconds_an_evaluation(model, _CALIBRATION_S) for name, model in rig.models.items()}
    batch = min(study.batch, study.images)
    drawn = study.images + max(0, study.repeats - study.images // batch) * batch  # batches drawn again to be timed
    known = [(cell, nfe) for cell, nfe in cells if nfe is not None]
    work = [(cell.model, drawn * nfe) for cell, nfe in known] + [(str(key[0]), n) for key, n in solutions.items()]
    sampling = sum(count * rates[model] for model, count in work)
    features = len(cells) * study.images * _seconds_an_extraction(rig)
    return Estimate(cells, sum(count for _, count in work), sampling + features, rates)


def _seconds_an_extraction(rig: Rig) -> float:
    """Time of the features of one image, in one batch of the extractor's fixed size."""
    if rig.extractor is None:
        return 0.0
    pixels = torch.zeros((rig.extractor.batch, *rig.subject.card.shape), dtype=torch.uint8, device=rig.device)
    stopwatch = Stopwatch(rig.device)
    _, second = (stopwatch.seconds(partial(rig.extractor, pixels)) for _ in range(2))  # the first picks kernels
    return second / rig.extractor.batch
