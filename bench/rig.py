"""What the cells of a study share: models, extractor, reference and device, loaded and checked before anything runs."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.environment import pick_device
from bench.labels import draw_labels
from bench.plan import plan
from bench.quality.extractor import Extractor
from bench.quality.extractors import load_extractor
from bench.quality.metrics import PARAMETERS
from bench.quality.reference import Reference, load_reference
from bench.study import Study
from bench.timing import Stopwatch, TimedNetwork
from models.denoiser import ClipRange, Denoiser
from models.errors import UsageError
from models.zoo import Model, load_model


@dataclass(frozen=True)
class Rig:
    """Everything that a study's cells share.

    Attributes:
        study: what is run.
        subject: the study's main model.
        models: every model that a cell is run on, the subject too, by its spelling in the study.
        extractor, reference: what all cells are measured with, whatever their model; None where no metric needs them.
    """

    study: Study
    subject: Model
    models: Mapping[str, Model]
    extractor: Extractor | None
    reference: Reference | None
    device: torch.device

    @classmethod
    def load(cls, study: Study) -> "Rig":
        """Load and check all that a study needs; UsageError names what is missing or damaged."""
        device = pick_device(study.device)
        if device.type == "cuda":
            torch.cuda.set_device(device)  # events are recorded on the current device
        names = dict.fromkeys(cell.model for cell in plan(study))
        models = {name: load_model(name, device, study.changes_of(name)) for name in names}
        subject = models[study.model]
        _check_fit(study, models)
        if not study.needs_features:
            return cls(study, subject, models, None, None, device)
        extractor = load_extractor(study.extractor, subject, device)
        extractor.check(study.metrics, subject.card.shape)
        return cls(study, subject, models, extractor, load_reference(study.reference, extractor, study.metrics), device)

    @property
    def protocol(self) -> dict[str, Any]:
        """Record columns: what quality is measured with; all None where no metric needs it."""
        if self.extractor is None or self.reference is None:
            return dict.fromkeys(("extractor", "extractor_sha256", "reference", "reference_sha256", "reference_count"))
        return {**self.extractor.columns, **self.reference.columns, **PARAMETERS}

    def denoiser(
        self, model: Model, network: TimedNetwork, seed: int, numbers: Tensor, clip: ClipRange | None
    ) -> Denoiser:
        """A model as samplers see it, for images (N,) of a seed, with a network that takes the time."""
        labels = self._labels(model, seed, numbers)
        return Denoiser(network, model.card.parametrisation, model.schedule, clip, labels)

    def _labels(self, model: Model, seed: int, numbers: Tensor) -> Tensor | None:
        """The classes of images of a seed, (N,) int64; None for a model without classes."""
        if model.card.classes is None:
            return None
        if self.study.label is None:
            return draw_labels(seed, numbers, model.card.classes)
        return torch.full_like(numbers, self.study.label)

    def warm_up(self, seconds: float = 3.0) -> None:
        """Bring the process to the state that it stays in, so that the first cell is measured like all others.

        glibc gives every block above a threshold back to the system when it is freed, so that a network's activations
        cost page faults in each evaluation (10 % of its time on the digits), until one larger block has been freed:
        its size, at most 32 MiB, is the new threshold. Else the first metrics would do it, after the first cell.
        """
        torch.ones(31 * 2**20, dtype=torch.uint8)
        self.seconds_an_evaluation(self.subject, seconds)

    def seconds_an_evaluation(self, model: Model, seconds: float) -> float:
        """Median time of a network evaluation of one image, in full batches, from so many seconds of them."""
        count = min(self.study.batch, self.study.images)
        numbers = torch.arange(count, device=self.device)
        network, stopwatch = TimedNetwork(model.network, self.device), Stopwatch(self.device)
        denoiser = self.denoiser(model, network, 0, numbers, None)
        state = torch.zeros((count, *model.card.state_shape), device=self.device)
        level, times = model.schedule.level(0.5), list[float]()
        with torch.inference_mode():
            while sum(times) < seconds or len(times) < 2:
                times.append(stopwatch.time(lambda: denoiser(state, level).x0, network).seconds)
        return statistics.median(times[1:]) / count  # the first makes its choice of kernels


def _check_fit(study: Study, models: Mapping[str, Model]) -> None:
    """UsageError for metrics or labels that do not go with the models."""
    for name, model in models.items():
        if "law" in study.metrics and not model.card.is_exact:
            raise UsageError(
                f"metric 'law' is the distance to a law that is known exactly, but model {name!r} is a trained "
                "network; leave 'law' out of the study's metrics, or use an exact model such as digits-oracle"
            )
        classes = model.card.classes
        if study.label is not None and (classes is None or study.label >= classes):
            what = "has no classes" if classes is None else f"has the classes 0 ... {classes - 1}"
            raise UsageError(f"label = {study.label}: model {name!r} {what}")
