"""One cell: what determines its result, and the measurement itself."""

import dataclasses
import hashlib
import inspect
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench import features, images, metrics, noise, reference, timing
from bench.environment import device_name, pick_device
from bench.features import Extractor, FeatureStream, load_extractor
from bench.images import QUANTISER, check_samples, save_preview, to_uint8
from bench.metrics import quality
from bench.noise import ImageNoise
from bench.reference import Reference, load_reference
from bench.study import Cell, Study
from bench.timing import Stopwatch, Timed, TimedNetwork
from models import classifier, denoiser, grids, networks, schedule
from models.denoiser import ClipRange, Denoiser
from models.grids import GRIDS
from models.schedule import Level
from models.zoo import Model, load_model
from samplers import SAMPLERS, Sampler, base

PREVIEW = 10
"""Images of every cell that are kept for the picture."""

# the code, besides the sampler's own file, that a number comes from: when it changes, cells are measured again
_CODE = (base, classifier, denoiser, features, grids, images, metrics, networks, noise, reference, schedule, timing)


@dataclass(frozen=True)
class Rig:
    """Everything that a study's cells share."""

    study: Study
    model: Model
    extractor: Extractor
    reference: Reference
    device: torch.device

    @classmethod
    def load(cls, study: Study) -> "Rig":
        """Load and check all that a study needs; UsageError names what is missing or damaged."""
        device = pick_device(study.device)
        model = load_model(study.model, device)
        extractor = load_extractor(model, device)
        return cls(study, model, extractor, load_reference(model, extractor), device)

    @property
    def clip(self) -> ClipRange | None:
        """The range that predictions of x_0 are clamped to."""
        return self.model.card.clip if self.study.clip else None

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What determines the results of all cells alike."""
        study = self.study
        return {
            "model": self.model.card.name,
            "model_sha256": self.model.sha256,
            "images": study.images,
            "batch": study.batch,
            "repeats": study.repeats,
            "dtype": study.precision,
            "clip": self.clip,
            "metrics": list(study.metrics),
            "device_name": device_name(self.device),
            "version_torch": torch.__version__,
            "extractor": self.extractor.name,
            "extractor_sha256": self.extractor.sha256,
            "reference": self.reference.name,
            "reference_sha256": self.reference.sha256,
            "reference_count": self.reference.count,
            "quantiser": QUANTISER,
            "code_sha256": _hash_of([inspect.getsource(module) for module in _CODE]),
        }


@dataclass(frozen=True)
class Resolved:
    """A cell with its sampler and levels made."""

    sampler: Sampler
    levels: Sequence[Level]
    identity: dict[str, Any]
    evaluations: int

    @property
    def counts(self) -> dict[str, Any]:
        return {"intervals": len(self.levels) - 1, "nfe_declared": self.sampler.nfe(self.levels)}


def resolve(cell: Cell, rig: Rig) -> Resolved:
    """Make a cell's sampler and levels; UsageError if the grid cannot be placed on the model's schedule."""
    sampler, grid = SAMPLERS.make(cell.sampler), GRIDS.make(cell.grid)
    try:
        levels = grid(rig.model.schedule, cell.steps)
    except ValueError as error:
        raise type(error)(f"{cell}: {error}") from None
    identity = rig.identity | {
        "sampler": cell.sampler,
        "sampler_parameters": dataclasses.asdict(sampler),  # type: ignore[call-overload]
        "sampler_sha256": _hash_of([Path(inspect.getfile(type(sampler))).read_text()]),
        "grid": cell.grid,
        "grid_parameters": dataclasses.asdict(grid),
        "steps": cell.steps,
        "seed": cell.seed,
    }
    return Resolved(sampler, levels, identity, sampler.nfe(levels) * rig.study.images)


def _hash_of(texts: list[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


class _Generator:
    """Draws batches of one cell, timed, and counts evaluations."""

    def __init__(self, resolved: Resolved, rig: Rig) -> None:
        self._resolved, self._rig = resolved, rig
        self._network = TimedNetwork(rig.model.network, rig.device)
        self.model = Denoiser(self._network, rig.model.card.parametrisation, rig.clip)
        self.stopwatch = Stopwatch(rig.device)

    def draw(self, numbers: Tensor, levels: Sequence[Level]) -> Timed:
        """Images of these numbers, (N, C, H, W) in the network's value range, checked, and how long they took."""
        source = ImageNoise(self._resolved.identity["seed"], numbers.to(self._rig.device))
        state = torch.empty((len(numbers), *self._rig.model.card.shape), device=self._rig.device)
        x = source(state) * self._rig.model.schedule.prior_std(levels[0])
        timed = self.stopwatch.time(lambda: self._resolved.sampler.sample(self.model, x, levels, source), self._network)
        check_samples(timed.result, state)
        return timed

    def warm_up(self, numbers: Tensor) -> float:
        """Seconds of a first call, on the same batch and at most two steps: allocations and kernel choices are done."""
        levels = self._resolved.levels
        return self.draw(numbers, [*levels[:2], levels[-1]] if len(levels) > 2 else levels).seconds


def measure(resolved: Resolved, rig: Rig, preview: Path, advanced: Callable[[int], None]) -> dict[str, Any]:
    """Cost and quality columns of a cell; BadSamples and whatever the sampler raises go through.

    The generation batches are the timed repeats, after a warm-up; a last, smaller batch is left out of the timing, and
    the first batch is drawn again where there are too few full ones. No metric is computed inside a timed region.
    """
    generator = _Generator(resolved, rig)
    batches = torch.arange(rig.study.images).split(rig.study.batch)
    first_call_s = generator.warm_up(batches[0])
    generator.model.evaluations = 0
    generator.stopwatch.reset_peak_memory()
    stream = FeatureStream(rig.extractor)
    timings: list[Timed] = []
    for numbers in batches:
        timed = generator.draw(numbers, resolved.levels)
        pixels = to_uint8(timed.result)
        if not timings:
            save_preview(pixels[:PREVIEW], preview)
        if len(numbers) == len(batches[0]):
            timings.append(timed)
        stream.add(pixels)
        advanced(resolved.evaluations * len(numbers) // rig.study.images)
    nfe = generator.model.evaluations / rig.study.images
    while len(timings) < rig.study.repeats:
        timings.append(generator.draw(batches[0], resolved.levels))
    peak = generator.stopwatch.peak_memory_mib()
    cost = _cost(timings, len(batches[0]), nfe) | {"first_call_s": first_call_s, "peak_mem_mib": peak}
    scores = quality(stream.finish(), rig.reference, rig.extractor.name, rig.study.metrics)
    declared = resolved.counts["nfe_declared"]
    note = None if nfe == declared else f"the sampler declares {declared} evaluations an image, but made {nfe:g}"
    return cost | scores | {"nfe": nfe, "note": note, "preview_count": min(PREVIEW, rig.study.images, rig.study.batch)}


def _cost(timings: list[Timed], batch: int, nfe: float) -> dict[str, Any]:
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
        "overhead_s_median": statistics.median(a - b for a, b in zip(total, network, strict=True)),
    }
