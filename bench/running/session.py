"""What the cells of a study share: models, extractor, reference and device, loaded and checked before anything runs."""

import statistics
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bench.environment import device_name, pick_device
from bench.noise.class_labels import balanced_labels, draw_labels
from bench.noise.stream import ImageNoise
from bench.purity.weights import KeptWeights
from bench.quality.clip_model import ClipModel, load_clip
from bench.quality.extractor import Extractor
from bench.quality.extractors import load_extractor
from bench.quality.metrics import PARAMETERS
from bench.quality.reference import Reference, load_reference
from bench.record import ImageFiles
from bench.study.placement import no_classes, no_label, no_law, no_prompts, prompts_of
from bench.study.plan import Cell, StudyPart, plan
from bench.study.study import Study
from bench.timing.clock import Stopwatch
from bench.timing.memory import Halving, fastest_batch
from models.common.errors import UsageError
from models.denoiser import Clip, Denoiser
from models.fitted import takes_fit
from models.grids import GRIDS
from models.guidance import GUIDANCES
from models.guidance.guided import Guided
from models.loading.model import Model
from models.loading.zoo import load_model
from models.networks.execution import arithmetic
from models.networks.modes import Mode, parse_mode
from samplers import SAMPLERS

PLAIN = Mode()
"""The mode of reference solutions and of fits: float32, nothing compiled."""

FIT_PROMPTS = 64
"""The first prompts, which what is fitted to a model of text is fitted with."""

_TRIAL_S = 0.5
"""Of evaluations at each batch size that "auto" tries."""


class Rate(NamedTuple):
    """How fast a network is evaluated.

    Attributes:
        seconds: median of an evaluation of one image.
        batch: images at a time: a full batch, or the largest part of one that fits into the memory.
    """

    seconds: float
    batch: int


@dataclass(frozen=True)
class Session:
    """Everything that a study's cells share.

    Attributes:
        study: what is run.
        subject: the study's main model, in the baseline's mode.
        models: every model that a cell is run on, the subject too, by its spelling in the study and its mode.
        extractor, reference: what all cells are measured with, whatever their model; None where no metric needs them.
        clip: what tells how well images fit their prompts; None where that is not measured.
        device: what samples.
        batch: images generated and timed at a time.
        processor: the model of the processor that cells are measured on, as records have it (`device_name`).
        given: the name or file that the study was read from, as it was typed; None: not known.
        part: of the study's settings that is run; None: all are.
        save_images: how all images of cells are saved beside their records; None: they are not.
    """

    study: Study
    subject: Model
    models: Mapping[tuple[str, Mode], Model]
    extractor: Extractor | None
    reference: Reference | None
    device: torch.device
    batch: int
    processor: str
    given: str | None = None
    part: StudyPart | None = None
    save_images: ImageFiles | None = None
    clip: ClipModel | None = None

    @classmethod
    def load(cls, study: Study, batch: int | None = None, processor: str | None = None) -> "Session":
        """Load and check all that a study needs; UsageError names what is missing or damaged.

        Args:
            study: what is to be run.
            batch: what "auto" stands for, where that was found out before.
            processor: that others measure the cells on; then this is a session to plan with, on the CPU, whose
                networks are in no mode and are not evaluated. None: they are measured with this session.
        """
        device = pick_device(study.device if processor is None else "cpu")
        if device.type == "cuda":
            torch.cuda.set_device(device)  # events are recorded on the current device
        if study.threads is not None:
            torch.set_num_threads(study.threads)
        wanted = dict.fromkeys((cell.model, parse_mode(cell.mode)) for cell in plan(study))
        wanted |= dict.fromkeys(
            (weaker, parse_mode(cell.mode)) for cell in plan(study) if (weaker := weaker_of(cell)) is not None
        )
        if study.needs_solution:
            wanted |= dict.fromkeys((name, PLAIN) for name, _ in wanted)
        fitted = [cell for cell in plan(study) if is_fitted(cell)]
        wanted |= dict.fromkeys((name, PLAIN) for cell in fitted for name in (cell.model, weaker_of(cell)) if name)
        models = dict[tuple[str, Mode], Model]()
        for name, mode in wanted:
            images, in_mode = (study.most_made, mode) if processor is None else (0, PLAIN)
            images = max(images, FIT_PROMPTS) if images and fitted else images
            loaded = load_model(name, device, study.changes_of(name), in_mode, images)
            decoder = next((each.decoder for (other, _), each in models.items() if other == name), loaded.decoder)
            models[name, mode] = replace(loaded, mode=mode, decoder=decoder)  # one for all modes
        subject = models[study.model, parse_mode(study.modes[0])]
        _check_fit(study, {name: model for (name, _), model in models.items()})
        extractor, reference = None, None
        if study.needs_features:
            extractor = load_extractor(study.extractor, subject, device)
            extractor.check(study.metrics, subject.card.shape)
            if "class_accuracy" in study.metrics:
                for (name, _), model in models.items():
                    extractor.check_classes(name, model.card.classes if model.card.takes_classes else None)
            reference = load_reference(study.reference, extractor, study.metrics).beside(subject.card.shape)
        clip = load_clip(study.clip_model, device) if "clip_score" in study.metrics else None
        if clip is not None:
            clip.check(subject.card.shape)
        given = study.batch if isinstance(study.batch, int) else batch
        known = processor or device_name(device)
        size = min(given or 1, study.most_images)
        session = cls(study, subject, models, extractor, reference, device, size, known, clip=clip)
        if given is not None:
            return session
        return replace(
            session,
            batch=fastest_batch(partial(session.seconds_an_evaluation, session.plainest, _TRIAL_S), study.most_images),
        )

    @property
    def plainest(self) -> Model:
        """The subject, or another model if that needs no compilation, which takes long and is measured elsewhere."""
        plain = [model for model in self.models.values() if not model.mode.compile]
        return self.subject if self.subject in plain or not plain else plain[0]

    def model_of(self, cell: Cell) -> Model:
        """The model of a cell, in its mode."""
        return self.models[cell.model, parse_mode(cell.mode)]

    @cached_property
    def weights(self) -> KeptWeights:
        """All networks as they are when this is first asked for: before anything is sampled.

        What they change themselves when they are evaluated is not looked at: no sampler is to be accused of it.
        """
        networks: dict[str, object] = {"the extractor": self.extractor}
        if self.clip is not None:
            networks["the CLIP"] = self.clip.model
        for (name, mode), each in self.models.items():
            networks[f"{name} in {mode}"] = {"network": each.network, "schedule": each.schedule}
        return KeptWeights.settled(networks, self._try)

    def _try(self) -> None:
        """Evaluate each network that is not compiled, which takes long, at two levels and batches."""
        for model in self.models.values():
            for batch, t in ((1, 0.5), (2, 0.4)) if not model.mode.compile else ():
                # what it raises here its cells will raise, too
                with torch.inference_mode(), arithmetic(model.mode.precision), suppress(Exception):
                    self._evaluation(model, batch, t)()

    @property
    def protocol(self) -> dict[str, Any]:
        """Record columns: what quality is measured with; all None where no metric needs it."""
        return self._features | ({} if self.clip is None else self.clip.columns)

    @property
    def _features(self) -> dict[str, Any]:
        if self.extractor is None or self.reference is None:
            return dict.fromkeys(
                (
                    "extractor",
                    "extractor_sha256",
                    "reference",
                    "reference_sha256",
                    "reference_count",
                    "reference_features",
                )
            )
        return {**self.extractor.columns, **self.reference.columns, **PARAMETERS}

    def weaker_of(self, cell: Cell, mode: Mode | None = None) -> Model | None:
        """The weaker model of a cell's guidance, if it has one, in the cell's mode or another."""
        weaker = weaker_of(cell)
        return None if weaker is None else self.models[weaker, mode or parse_mode(cell.mode)]

    def denoiser(
        self,
        model: Model,
        seed: int,
        numbers: Tensor,
        clip: Clip | None,
        guided: Guided | None = None,
        fitted: Any = None,
    ) -> Denoiser:
        """A model as samplers see it, for images (N,) of a seed; under guidance, if there is one."""
        return model.denoiser(clip, self.labels(model, seed, numbers), guided, fitted=fitted)

    def labels(self, model: Model, seed: int, numbers: Tensor) -> Tensor | None:
        """The classes of images of a seed, (N,) int64, or the numbers of their prompts; None for a model without."""
        if model.card.classes is None:
            return None
        if model.card.prompts is not None:
            return numbers % model.card.classes
        if self.study.label is not None:
            return torch.full_like(numbers, self.study.label)
        rule = balanced_labels if self.study.labels == "balanced" else draw_labels
        return rule(seed, numbers, model.card.classes)

    def warm_up(self, seconds: float = 3.0) -> None:
        """Bring the process and the device to the state that they stay in: the first cell is timed like all others."""
        self.settle()
        if not self.plainest.mode.compile:
            self.rate(self.plainest, seconds)

    def settle(self) -> None:
        """Bring the process to the state that it stays in.

        glibc gives every block above a threshold back to the system when it is freed, so that a network's activations
        cost page faults in each evaluation (10 % of its time on the digits), until one larger block has been freed:
        its size, at most 32 MiB, is the new threshold. Else the first metrics would do it, after the first cell.

        Noise is drawn once, so that what Triton sets in the process where it compiles a kernel is no sampler's doing.
        """
        torch.ones(31 * 2**20, dtype=torch.uint8)
        like = torch.empty((1, *self.subject.card.state_shape), device=self.device)
        ImageNoise(0, torch.arange(1, device=self.device))(like)

    def rate(self, model: Model, seconds: float) -> Rate:
        """How fast a network is evaluated in so many seconds of full batches, halved where they do not fit."""
        fitting = Halving(self.batch)
        return Rate(fitting(partial(self.seconds_an_evaluation, model, seconds)), fitting.size)

    def seconds_an_evaluation(self, model: Model, seconds: float, batch: int) -> float:
        """Median time of a network evaluation of one image, in batches of this size, from so many seconds of them."""
        stopwatch, times = Stopwatch(self.device), list[float]()
        with torch.inference_mode(), arithmetic(model.mode.precision):
            evaluate = self._evaluation(model, batch)
            while sum(times) < seconds or len(times) < 2:
                times.append(stopwatch.seconds(evaluate))
        return statistics.median(times[1:]) / batch  # the first makes its choice of kernels

    def first_evaluation_s(self, model: Model, batch: int, *, labelled: bool = True) -> float:
        """Time of the next network evaluation of a batch: the first one of a compiled network compiles it.

        `labelled` is whether a model with classes is given labels.
        """
        with torch.inference_mode(), arithmetic(model.mode.precision):
            return Stopwatch(self.device).seconds(self._evaluation(model, batch, labelled=labelled))

    def _evaluation(self, model: Model, batch: int, t: float = 0.5, *, labelled: bool = True) -> Callable[[], Tensor]:
        """One evaluation of a batch at a time."""
        numbers = torch.arange(batch, device=self.device)
        denoiser = self.denoiser(model, 0, numbers, None) if labelled else model.denoiser()
        state = torch.zeros((batch, *model.card.state_shape), device=self.device)
        level = model.schedule.level(t)
        return lambda: denoiser(state, level).x0


def weaker_of(cell: Cell) -> str | None:
    """The weaker model of a cell's guidance, as the study names it; None: it has none."""
    return GUIDANCES.make(cell.guidance).weaker


def is_fitted(cell: Cell) -> bool:
    """Whether a cell's sampler or grid needs something that is fitted to its model first."""
    return takes_fit(SAMPLERS.make(cell.sampler)) or takes_fit(GRIDS.make(cell.grid))


def _check_fit(study: Study, models: Mapping[str, Model]) -> None:
    """UsageError for metrics or labels that do not go with the models."""
    cards = {name: model.card for name, model in models.items()}
    if "class_accuracy" in study.metrics and (why := no_classes(cards)) is not None:
        raise UsageError(why)
    prompted = any(prompts_of(model) is not None for model in models.values())
    if "clip_score" in study.metrics and (why := no_prompts(list(cards), prompted=prompted)) is not None:
        raise UsageError(why)
    for name, model in models.items():
        if "law" in study.metrics and (why := no_law(name, model.card)) is not None:
            raise UsageError(why)
        if study.label is not None and (why := no_label(study.label, name, model.card)) is not None:
            raise UsageError(f"label = {study.label}: {why}")
        if study.labels == "balanced" and (why := no_label(0, name, model.card)) is not None:
            raise UsageError(f'labels = "balanced": {why}')
