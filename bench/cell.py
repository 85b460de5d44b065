"""One cell: what determines its result, and the measurement itself."""

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.environment import device_name, versions
from bench.generator import Generator
from bench.images import QUANTISER, to_uint8
from bench.placement import place
from bench.plan import Cell
from bench.rig import Rig
from bench.score import Score
from bench.solution import Problem, Solutions, has_solver_error
from bench.sources import architecture_sha256, code_sha256, sampler_sha256
from bench.timing import Timed
from models.grids import GRIDS
from models.schedule import Level
from models.zoo import Model
from samplers import Sampler

_FLOW_DEPENDS_ON = (
    *("model_sha256", "architecture_sha256", "clip", "labels"),
    *("dtype", "device_name", "version_torch", "code_sha256"),
)
PREVIEW = 10
"""Images of every cell that are kept for the picture."""


@dataclass(frozen=True)
class Resolved:
    """A cell with its model, sampler and levels made."""

    model: Model
    sampler: Sampler
    levels: Sequence[Level]
    identity: dict[str, Any]


def resolve(cell: Cell, rig: Rig) -> Resolved:
    """Make a cell's sampler and levels; UsageError if sampler, grid and model do not fit together."""
    model = rig.models[cell.model]
    sampler, levels = place(cell, model.card, rig.subject.card)
    identity = _shared(rig) | {
        "model": model.card.name,
        "model_sha256": model.sha256,
        "architecture_sha256": architecture_sha256(model),
        "value_range": list(model.card.value_range),
        "labels": _label_rule(rig, model),
        "clip": model.card.clip if cell.clip else None,
        "sampler": cell.sampler,
        "sampler_parameters": dataclasses.asdict(sampler),  # type: ignore[call-overload]
        "family": sampler.family,
        "sampler_sha256": sampler_sha256(type(sampler)),
        "grid": cell.grid,
        "grid_parameters": dataclasses.asdict(GRIDS.make(cell.grid)),
        "steps": cell.steps,
        "seed": cell.seed,
    }
    return Resolved(model, sampler, levels, identity)


def _shared(rig: Rig) -> dict[str, Any]:
    """What determines the results of all cells of a study alike."""
    study = rig.study
    return {
        "subject_sha256": rig.subject.sha256,
        "images": study.images,
        "batch": study.batch,
        "repeats": study.repeats,
        "dtype": study.precision,
        "metrics": list(study.metrics),
        "solver_images": min(study.solver_images, study.images) if "solver_error" in study.metrics else None,
        "device_name": device_name(rig.device),
        **{name: version for name, version in versions().items() if name != "version_sampler-bench"},
        **rig.protocol,
        "quantiser": QUANTISER,
        "code_sha256": code_sha256(),
    }


def _label_rule(rig: Rig, model: Model) -> str | None:
    """How the classes of images were chosen."""
    if model.card.classes is None:
        return None
    return "drawn" if rig.study.label is None else str(rig.study.label)


@dataclass(frozen=True)
class Measurement:
    """What one cell gave.

    Attributes:
        columns: cost and quality, ready for the record.
        preview: the first images, uint8 (PREVIEW, C, H, W).
    """

    columns: dict[str, Any]
    preview: Tensor


def measure(resolved: Resolved, rig: Rig, solutions: Solutions, advanced: Callable[[int], None]) -> Measurement:
    """Measure a cell; BadSamples and whatever the sampler raises go through.

    The generation batches are the timed repeats, after a warm-up; a last, smaller batch is left out of the timing, and
    the first batch is drawn again where there are too few full ones. No metric is computed inside a timed region.

    Args:
        resolved: the cell.
        rig: what it runs on.
        solutions: where reference solutions of the probability flow are kept.
        advanced: told how many images are done, between timed calls.
    """
    identity = resolved.identity
    generator = Generator(rig, resolved.model, resolved.sampler, identity["seed"], identity["clip"])
    declared = resolved.sampler.nfe(resolved.levels)
    batches = torch.arange(rig.study.images).split(rig.study.batch)
    first_call_s = generator.warm_up(batches[0], resolved.levels)
    generator.evaluations = 0
    score, timings, kept = Score(rig, resolved.model), list[_Times](), list[Tensor]()
    for numbers in batches:
        timed = generator.draw(numbers, resolved.levels)
        pixels = to_uint8(timed.result, resolved.model.card.value_range)
        kept = kept or [pixels[:PREVIEW]]
        if len(numbers) == len(batches[0]):
            timings.append(_Times.of(timed))
        score.add(timed.result, pixels)
        advanced(len(numbers))
    nfe = generator.evaluations / rig.study.images
    while len(timings) < rig.study.repeats:
        timings.append(_Times.of(generator.draw(batches[0], resolved.levels)))
    quality, remarks = score.columns(identity["seed"])
    quality |= _solver_error(resolved, rig, generator, solutions, score)
    counts = {"nfe": nfe, "nfe_declared": declared, "first_call_s": first_call_s, "preview_count": len(kept[0])}
    note = "; ".join([*_remarks(resolved, declared, nfe), *remarks]) or None
    return Measurement(_cost(timings, len(batches[0]), nfe) | quality | counts | {"note": note}, kept[0])


def _solver_error(
    resolved: Resolved, rig: Rig, generator: Generator, solutions: Solutions, score: Score
) -> dict[str, Any]:
    """The distance to the tight solution from the same noise, of a sampler for which that means anything."""
    model, identity = resolved.model, resolved.identity
    if not score.first or not has_solver_error(resolved.sampler, model.card.is_generator):
        return {}
    samples = torch.cat(score.first)
    problem = Problem(
        identity={key: identity[key] for key in _FLOW_DEPENDS_ON},
        denoiser=generator.denoiser,
        shape=model.card.state_shape,
        first=resolved.levels[0],
        last=resolved.levels[-1],
        seed=identity["seed"],
        count=identity["solver_images"],
        batch=rig.study.batch,
        device=rig.device,
    )
    return dict(solutions.columns(problem, samples))


def _remarks(resolved: Resolved, declared: int | None, nfe: float) -> list[str]:
    """What whoever reads a cell's row must know."""
    sampler, remarks = resolved.sampler, list[str]()
    if declared is not None and nfe != declared:
        remarks.append(f"the sampler declares {declared} evaluations an image, but made {nfe:g}")
    if sampler.needs == "generator" and not resolved.model.card.is_generator:
        remarks.append("a denoiser's x_0 is a posterior mean, not a sample")
    return remarks + ([sampler.caveat] if sampler.caveat else [])


class _Times(NamedTuple):
    """What is kept of a timed call: everything but its images."""

    seconds: float
    network_seconds: float
    peak_mem_mib: float | None

    @classmethod
    def of(cls, timed: Timed) -> "_Times":
        return cls(timed.seconds, timed.network_seconds, timed.peak_mem_mib)


def _cost(timings: list[_Times], batch: int, nfe: float) -> dict[str, Any]:
    total = [timed.seconds for timed in timings]
    network = [timed.network_seconds for timed in timings]
    q1, median, q3 = (float(value) for value in np.quantile(total, (0.25, 0.5, 0.75)))
    network_median = statistics.median(network)
    return {
        "timed_batch": batch,
        "latency_s": total,
        "network_s": network,
        "latency_s_median": median,
        "latency_s_q1": q1,
        "latency_s_q3": q3,
        "throughput_img_per_s": batch / median,
        "eval_ms_median": 1000.0 * network_median / nfe if nfe else None,
        "network_s_median": network_median,
        "peak_mem_mib": max((timed.peak_mem_mib for timed in timings if timed.peak_mem_mib is not None), default=None),
        "overhead_s_median": statistics.median(a - b for a, b in zip(total, network, strict=True)),
    }
