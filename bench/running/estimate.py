"""What a study will take, before it takes it: its evaluations, and the time that a short calibration gives them."""

import json
from dataclasses import dataclass
from functools import partial

import torch

from bench.purity.unchanged import put_back
from bench.quality.decoding import Decoding
from bench.quality.features import Sees
from bench.running.fit import parts_of
from bench.running.session import PLAIN, Rate, Session
from bench.running.solution import evaluations, has_solver_error
from bench.running.stages import Stages
from bench.study.plan import Cell
from bench.timing.clock import Stopwatch
from bench.timing.memory import Halving
from models.loading.model import Model
from models.networks.modes import Mode, parse_mode

_CALIBRATION_S = 1.0
"""Of network evaluations, a model."""


@dataclass(frozen=True)
class Estimate:
    """What a study will take.

    Attributes:
        cells: with the network evaluations an image that each sampler declares; None where it cannot say.
        evaluations: of all images of all cells whose samplers can say, of the rounds of timing, and of the reference
            solutions that solver errors are measured from, and of fits.
        seconds: for those, and for decoding and the features of all images; metrics, compilation and loading not
            included, nor calls so short that a round of timing repeats them.
        rates: measured, by model and mode.
    """

    cells: list[tuple[Cell, int | None]]
    evaluations: int
    seconds: float
    rates: dict[str, Rate]


def estimate(session: Session) -> Estimate:
    """Count the evaluations of a study's cells, or of those of a part of it, and measure what one takes.

    Raises:
        UsageError: a cell whose sampler, grid and model do not fit together.
    """
    study, cells, before = session.study, list[tuple[Cell, int | None]](), dict[tuple[object, ...], tuple[str, int]]()
    for resolved in Stages.of(session, grow=False).cells[0].values():
        cell = resolved.cell
        with put_back(cell.sampler):
            cells.append((cell, resolved.declared().nfe))
        for part in parts_of(resolved):
            each = len(resolved.guidance.evaluated)
            count = each * part.thing.fit_evaluations(resolved.model.schedule, cell.steps)
            before["fit", json.dumps(part.content, sort_keys=True)] = cell.model, count
        if study.needs_solution and has_solver_error(resolved.sampler, resolved.model.card.is_generator):
            ends = resolved.levels[0], resolved.levels[-1]
            problem = ("flow", cell.model, cell.clip, cell.guidance, cell.seed, *ends)  # solved once for all its cells
            each = len(resolved.guidance.evaluated) * evaluations(ends[1], study.solver_steps)
            before[problem] = cell.model, min(study.solver_images, study.most_images) * each
    rates = {key: session.rate(model, _CALIBRATION_S) for key, model in session.models.items()}
    known = [(cell, nfe) for cell, nfe in cells if nfe is not None]
    timed = study.timing.repeats * sum({session.batch, *study.timing.batches})
    work = [(_key(cell), study.most_images * nfe) for cell, nfe in known]
    work += [(_key(cell), timed * nfe) for cell, nfe in {cell.setting: nfe for cell, nfe in known}.items()]
    work += [((name, PLAIN), count) for name, count in before.values()]
    sampling = sum(count * rates[key].seconds for key, count in work)
    features = len(cells) * study.most_images * _seconds_an_extraction(session)
    decoding = {name: _seconds_a_decoding(session, model) for (name, _), model in session.models.items()}
    compared = 2 * min(study.solver_images, study.most_images) if "psnr" in study.metrics else 0
    features += (study.most_images + compared) * sum(decoding[cell.model] for cell, _ in cells)
    named = {f"{name}, {mode}" if mode != PLAIN else name: rate for (name, mode), rate in rates.items()}
    return Estimate(cells, sum(count for _, count in work), sampling + features, named)


def _key(cell: Cell) -> tuple[str, Mode]:
    """Of the model that a cell is run on."""
    return cell.model, parse_mode(cell.mode)


def _seconds_an_extraction(session: Session) -> float:
    """Time of the features of one image, in one batch of the size of each that gives some, or the part that fits."""
    found = [each for each in (session.extractor, session.clip) if each is not None]
    return sum(Halving(each.batch)(partial(_extraction_s, session, each)) for each in found)


def _seconds_a_decoding(session: Session, model: Model) -> float:
    """Time of decoding one latent, in a batch as they are decoded in; 0 of a model of images."""
    decoding = Decoding(model)
    if decoding.batch is None:
        return 0.0
    batch = min(decoding.batch, session.batch)
    latents = torch.zeros((batch, *model.card.sample_shape), device=session.device)
    stopwatch = Stopwatch(session.device)
    with torch.inference_mode():
        _, second = (stopwatch.seconds(partial(decoding, latents)) for _ in range(2))  # the first picks kernels
    return second / batch


def _extraction_s(session: Session, extractor: Sees, batch: int) -> float:
    pixels = torch.zeros((batch, *session.subject.card.shape), dtype=torch.uint8, device=session.device)
    stopwatch = Stopwatch(session.device)
    _, second = (stopwatch.seconds(partial(extractor, pixels)) for _ in range(2))  # the first picks kernels
    return second / batch
