"""One cell: what determines its result, and the measurement itself."""

import dataclasses
import hashlib
import inspect
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench import features, images, metrics, noise, reference, timing
from bench.environment import device_name, pick_device, versions
from bench.features import Extractor, FeatureStream, load_extractor
from bench.images import QUANTISER, check_samples, to_uint8
from bench.metrics import quality
from bench.noise import ImageNoise
from bench.placement import place
from bench.reference import Reference, load_reference
from bench.study import Cell, Study, plan
from bench.timing import Stopwatch, Timed, TimedNetwork
from models import classifier, denoiser, grids, networks, schedule, vae
from models.denoiser import Denoiser
from models.grids import GRIDS
from models.schedule import Level
from models.zoo import Model, load_model
from samplers import Sampler, base

PREVIEW = 10
"""Images of every cell that are kept for the picture."""

# the code, besides this file and the sampler's own, that a number comes from: when it changes, cells are measured again
_MODELS = (classifier, denoiser, grids, networks, schedule, vae)
_CODE = (*_MODELS, base, features, images, metrics, noise, reference, timing)


@dataclass(frozen=True)
class Rig:
    """Everything that a study's cells share.

    Attributes:
        study: what is run.
        subject: the study's main model; extractor and reference are its own, whatever a cell's model.
        models: every model that a cell is run on, the subject too, by its spelling in the study.
    """

    study: Study
    subject: Model
    models: Mapping[str, Model]
    extractor: Extractor
    reference: Reference
    device: torch.device

    @classmethod
    def load(cls, study: Study) -> "Rig":
        """Load and check all that a study needs; UsageError names what is missing or damaged."""
        device = pick_device(study.device)
        if device.type == "cuda":
            torch.cuda.set_device(device)  # events are recorded on the current device
        models = {name: load_model(name, device) for name in dict.fromkeys(cell.model for cell in plan(study))}
        subject = models[study.model]
        extractor = load_extractor(subject, device)
        return cls(study, subject, models, extractor, load_reference(subject, extractor), device)

    def warm_up(self, seconds: float = 3.0) -> None:
        """Bring the process to the state that it stays in, so that the first cell is measured like all others.

        glibc gives every block above a threshold back to the system when it is freed, so that a network's activations
        cost page faults in each evaluation (10 % of its time on the digits), until one larger block has been freed:
        its size, at most 32 MiB, is the new threshold. Else the first metrics would do it, after the first cell.
        """
        torch.ones(31 * 2**20, dtype=torch.uint8)
        network, shape = TimedNetwork(self.subject.network, self.device), self.subject.card.state_shape
        state = torch.zeros((min(self.study.batch, self.study.images), *shape), device=self.device)
        level, stopwatch, spent = self.subject.schedule.level(0.5), Stopwatch(self.device), 0.0
        with torch.inference_mode():
            while spent < seconds:
                spent += stopwatch.time(lambda: network(state, level), network).seconds

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What determines the results of all cells alike."""
        study = self.study
        return {
            "subject_sha256": self.subject.sha256,
            "images": study.images,
            "batch": study.batch,
            "repeats": study.repeats,
            "dtype": study.precision,
            "metrics": list(study.metrics),
            "device_name": device_name(self.device),
            **{name: version for name, version in versions().items() if name != "version_sampler-bench"},
            "extractor": self.extractor.name,
            "extractor_sha256": self.extractor.sha256,
            "reference": self.reference.name,
            "reference_sha256": self.reference.sha256,
            "reference_count": self.reference.count,
            "quantiser": QUANTISER,
            "code_sha256": _hash_of([inspect.getsource(module) for module in (sys.modules[__name__], *_CODE)]),
        }


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
    identity = rig.identity | {
        "model": model.card.name,
        "model_sha256": model.sha256,
        "clip": model.card.clip if rig.study.clip else None,
        "sampler": cell.sampler,
        "sampler_parameters": dataclasses.asdict(sampler),  # type: ignore[call-overload]
        "family": sampler.family,
        "sampler_sha256": _hash_of(_sources(type(sampler))),
        "grid": cell.grid,
        "grid_parameters": dataclasses.asdict(GRIDS.make(cell.grid)),
        "steps": cell.steps,
        "seed": cell.seed,
    }
    return Resolved(model, sampler, levels, identity)


def _sources(cls: type[Sampler]) -> list[str]:
    """The text of the files that a sampler's class and its own base classes stand in."""
    own = [each for each in cls.__mro__ if issubclass(each, Sampler) and each.__module__ != base.__name__]
    return [Path(path).read_text() for path in dict.fromkeys(inspect.getfile(each) for each in own)]


def _hash_of(texts: list[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


class _Generator:
    """Draws batches of one cell, timed, and counts evaluations."""

    def __init__(self, resolved: Resolved, device: torch.device) -> None:
        model, clip = resolved.model, resolved.identity["clip"]
        self._resolved, self._device = resolved, device
        self._network = TimedNetwork(model.network, device)
        self.model = Denoiser(self._network, model.card.parametrisation, model.schedule, clip)
        self.stopwatch = Stopwatch(device)

    def draw(self, numbers: Tensor, levels: Sequence[Level]) -> Timed:
        """Images of these numbers, (N, C, H, W) in the network's value range, checked, and how long they took."""
        model, count = self._resolved.model, len(numbers)
        source = ImageNoise(self._resolved.identity["seed"], numbers.to(self._device))
        state = torch.empty((count, *model.card.state_shape), device=self._device)
        x = source(state) * model.schedule.prior_std(levels[0])
        timed = self.stopwatch.time(lambda: self._resolved.sampler.sample(self.model, x, levels, source), self._network)
        check_samples(timed.result, (count, *model.card.shape), state.dtype)
        return timed

    def warm_up(self, numbers: Tensor) -> float:
        """Seconds of a first call, on the same batch and at most two steps: allocations and kernel choices are done."""
        levels = self._resolved.levels
        whole = len(levels) <= 2 or self._resolved.sampler.places_steps  # which may not be able to place two
        return self.draw(numbers, levels if whole else [*levels[:2], levels[-1]]).seconds


@dataclass(frozen=True)
class Measurement:
    """What one cell gave.

    Attributes:
        columns: cost and quality, ready for the record.
        preview: the first images, uint8 (PREVIEW, C, H, W).
    """

    columns: dict[str, Any]
    preview: Tensor


def measure(resolved: Resolved, rig: Rig, advanced: Callable[[int], None]) -> Measurement:
    """Measure a cell; BadSamples and whatever the sampler raises go through.

    The generation batches are the timed repeats, after a warm-up; a last, smaller batch is left out of the timing, and
    the first batch is drawn again where there are too few full ones. No metric is computed inside a timed region.

    Args:
        resolved: the cell.
        rig: what it runs on.
        advanced: told how many images are done, between timed calls.
    """
    generator = _Generator(resolved, rig.device)
    declared = resolved.sampler.nfe(resolved.levels)
    batches = torch.arange(rig.study.images).split(rig.study.batch)
    first_call_s = generator.warm_up(batches[0])
    generator.model.evaluations = 0
    stream, timings, kept = FeatureStream(rig.extractor), list[_Times](), list[Tensor]()
    for numbers in batches:
        timed = generator.draw(numbers, resolved.levels)
        pixels = to_uint8(timed.result)
        kept = kept or [pixels[:PREVIEW]]
        if len(numbers) == len(batches[0]):
            timings.append(_Times.of(timed))
        stream.add(pixels)
        advanced(len(numbers))
    nfe = generator.model.evaluations / rig.study.images
    while len(timings) < rig.study.repeats:
        timings.append(_Times.of(generator.draw(batches[0], resolved.levels)))
    scores = quality(stream.finish(), rig.reference, rig.extractor.name, rig.study.metrics)
    counts = {"nfe": nfe, "nfe_declared": declared, "first_call_s": first_call_s, "preview_count": len(kept[0])}
    cost = _cost(timings, len(batches[0]), nfe)
    return Measurement(cost | scores | counts | {"note": _note(resolved, declared, nfe)}, kept[0])


def _note(resolved: Resolved, declared: int | None, nfe: float) -> str | None:
    """What whoever reads a cell's row must know."""
    sampler, remarks = resolved.sampler, list[str]()
    if declared is not None and nfe != declared:
        remarks.append(f"the sampler declares {declared} evaluations an image, but made {nfe:g}")
    if sampler.needs == "generator" and not resolved.model.card.is_generator:
        remarks.append("a denoiser's x_0 is a posterior mean, not a sample")
    return "; ".join(remarks + ([sampler.caveat] if sampler.caveat else [])) or None


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
