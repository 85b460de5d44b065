"""Whether a model is what its card says: what it predicts, of what images, on what schedule, and what it ignores.

A card that is wrong gives plausible numbers: on the digits `v_prediction` for a network that predicts eps changes the
solver error by a fifth. What the network makes of noised images tells (`bench.conformance.model_fit`), and its samples
do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.conformance.model_fit import Curve, Fit, Reading, outputs
from bench.conformance.model_inputs import input_verdicts
from bench.conformance.model_labels import Taken, count_verdicts, taken_classes
from bench.conformance.model_orders import order_verdicts
from bench.conformance.model_verdicts import (
    Verdict,
    clip_verdicts,
    filling_verdicts,
    is_misread,
    range_verdict,
    reading_verdicts,
    sigma_verdicts,
    spread_verdicts,
)
from bench.noise import OWN_SEEDS
from bench.noise.class_labels import draw_labels
from bench.noise.stream import ImageNoise
from bench.quality.decoding import Decoding
from models.grids import GRIDS
from models.loading.model import Model
from models.networks.network import counted
from models.schedule import Level, Schedule
from samplers import SAMPLERS

SEED = OWN_SEEDS + 1
"""Of a check's samples, which no study's seed block has."""
OWN_SAMPLES = "its own samples"
"""Where images come from if there are no real ones."""

_LOGSNRS = tuple(float(each) for each in np.linspace(3.0, -3.0, 9))
"""log(alpha / sigma): from a twentieth of the data's scale to twenty times that."""
_FARTHEST = 10.0
"""Widths of the value range beyond which samples are cut off before they are noised again."""


@dataclass(frozen=True)
class Depth:
    """How far a check goes: levels, images, steps of their sampling, and whether other schedules and ranges are tried.

    `FULL` is that of the command; `BRIEF` that of a run's start, about 300 evaluations of an image.
    """

    logsnrs: Sequence[float] = _LOGSNRS
    images: int = 64
    steps: int = 20
    others: bool = True


FULL = Depth()
BRIEF = Depth(_LOGSNRS[::2], images=16, steps=10, others=False)


@dataclass(frozen=True)
class Check:
    """What was found.

    Attributes:
        model, model_sha256: what was checked.
        data: where the images come from.
        images: how many.
        evaluations: images that went through the network.
        said: what the card says that it predicts.
        curves: the error of x_0 by level, for each meaning of the output, as the card has everything else.
        samples: lowest and highest value of its samples; None if they hold NaN or Inf.
        verdicts: the words.
    """

    model: str
    model_sha256: str
    data: str
    images: int
    evaluations: int
    said: str
    curves: dict[str, Curve]
    samples: tuple[float, float] | None
    verdicts: list[Verdict]

    @property
    def bad(self) -> list[str]:
        """What is wrong."""
        return [each.text for each in self.verdicts if not each.good]


def check_model(
    model: Model,
    device: torch.device,
    data: str | None = None,
    images: Tensor | None = None,
    labels: Tensor | None = None,
    depth: Depth = FULL,
    *,
    data_classes: int | None = None,
) -> Check:
    """Check a model in plain float32.

    Args:
        model: what is checked.
        device: that it is on.
        data: where the images come from; None: there are none, and its own samples take their place.
        images: (N, C, H, W) uint8, of the card's shape.
        labels: (N,) int64, their classes; None: not known, and `bench.conformance.model_labels` says what they are
            taken to be.
        depth: how far to go.
        data_classes: how many classes the data have; None: not known.
    """
    sampled, classes, spent = _samples(model, depth, device)
    decoding = Decoding(model)
    with torch.inference_mode():
        drawn = decoding(sampled)
        shares = _shares(model, sampled) if images is None else _encoded(model, images.to(device), decoding)
    verdicts = [*clip_verdicts(model), range_verdict(model, drawn)]
    known, taken = labels is not None, Taken(labels, count_verdicts(model.card, data_classes))
    if images is None:
        labels = classes
        verdicts += filling_verdicts(model, drawn)
    elif not model.card.is_generator:
        verdicts += spread_verdicts(model, drawn, images)
        if not known and classes is not None:
            taken = taken_classes(model, shares, taken.verdicts)
            labels = taken.labels
            if labels is None:
                data, shares, labels = None, _shares(model, sampled), classes
    labels = _classes(model, labels, len(shares), device)
    curves, readings, read = _readings(model, shares, labels, data is not None, depth)
    inputs, tried = input_verdicts(model, labels, shares, SEED)
    orders, compared = list[Verdict](), 0
    if data is not None and depth.others and not model.card.is_generator and not is_misread(readings):
        orders, compared = order_verdicts(model, shares, labels, known=known)
    return Check(
        model=model.card.name,
        model_sha256=model.sha256,
        data=OWN_SAMPLES if data is None else data,
        images=len(shares),
        evaluations=spent + taken.evaluations + read + tried + compared,
        said=model.card.parametrisation,
        curves=curves,
        samples=(float(drawn.min()), float(drawn.max())) if bool(drawn.isfinite().all()) else None,
        # causes first: samples are what becomes of them
        verdicts=[*inputs, *readings, *orders, *taken.verdicts, *verdicts],
    )


def _classes(model: Model, labels: Tensor | None, images: int, device: torch.device) -> Tensor | None:
    """The classes of images, (N,) int64: drawn evenly where none are given; None for a model without classes."""
    if model.card.classes is None:
        return None
    if labels is None:
        return draw_labels(SEED, torch.arange(images, device=device), model.card.classes)
    return labels.to(device)


def _readings(
    model: Model, images: Tensor, labels: Tensor | None, real: bool, depth: Depth
) -> tuple[dict[str, Curve], list[Verdict], int]:
    """Errors in every meaning of the output, what they say, and the evaluations that it took; of a generator no errors,
    as its x_0 is one of many images.
    """
    if model.card.is_generator and not (real and depth.others and model.card.network == "consistency"):
        return {}, [], 0
    fit = Fit(model, images, labels, depth.logsnrs)
    if model.card.is_generator:
        return {}, sigma_verdicts(fit), fit.evaluations
    curves = {each: fit.curve(Reading(each, fit.said.values)) for each in outputs(model.card)}
    return curves, reading_verdicts(model, fit, real=real, others=depth.others), fit.evaluations


def _samples(model: Model, depth: Depth, device: torch.device) -> tuple[Tensor, Tensor | None, int]:
    """Samples as the card has everything, (N, C, H, W), their classes, and the evaluations that they took."""
    generator = model.card.is_generator
    levels = _walked(model.schedule, depth.steps)
    numbers = torch.arange(depth.images, device=device)
    classes = model.card.classes
    labels = None if classes is None else draw_labels(SEED, numbers, classes)
    network, evaluated = counted(model.network)
    denoiser = model.denoiser(model.card.clip, labels, network=network)
    source = ImageNoise(SEED, numbers)
    x = source(torch.empty((len(numbers), *model.card.state_shape), device=device))
    x = x * model.schedule.prior_std(levels[0])
    with torch.inference_mode():
        found = SAMPLERS.make("one-step" if generator else "ddim").sample(denoiser, x, levels, source)
    return found.float(), labels, evaluated()


def _shares(model: Model, drawn: Tensor) -> Tensor:
    """Samples as parts of the card's range, (N, C, H, W): what leaves it is kept, as far as it is of any use.

    Latents, which have no range, are themselves.
    """
    if model.card.decoder is not None:
        return drawn.nan_to_num(0.0).clamp(*model.card.state_range)
    low, high = model.card.value_range
    return ((drawn - low) / (high - low)).nan_to_num(0.5).clamp(-_FARTHEST, 1.0 + _FARTHEST)


def _encoded(model: Model, images: Tensor, decoding: Decoding) -> Tensor:
    """Images (N, C, H, W), uint8, as parts of the card's range, or the latents of these."""
    shares = images.float() / 255.0
    low, high = model.card.value_range
    return shares if model.card.decoder is None else decoding.encoded(low + (high - low) * shares)


def _walked(schedule: Schedule, steps: int) -> list[Level]:
    """Levels to sample on: trailing, or karras where the last step of that, as on EDM's VE, would end in a blur."""
    steps = min(steps, schedule.train_steps or steps)
    levels = GRIDS.make("trailing")(schedule, steps)
    return levels if levels[-2].ratio < 1.0 else GRIDS.make("karras")(schedule, steps)
