"""Whether a network knows images as they are given: channels, sides, black and white, and classes in that order.

What was read by another library, or from class folders of other names, gives plausible numbers, too. Images are noised
at three levels, and the error of the predicted x_0 is compared image by image: as they are and changed, with the noise
changed alike; with their own classes and with others.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bench.conformance.model_fit import levels_at
from bench.conformance.model_verdicts import Verdict
from bench.noise import OWN_SEEDS
from bench.noise.stream import ImageNoise
from models.loading.model import Model

_LOGSNRS = (1.5, 0.0, -1.5)
_CLEAR, _LIKELY = 4.0, 3.0
"""Standard errors of a mean difference over images from which on it is no chance, and from which on it is in doubt."""
_PART = 0.005
"""Of the error, what another order must save at least."""
_CLASSES = 16
"""Classes that an image is tried with, at most."""

Views = dict[str, Callable[[Tensor], Tensor]]
"""What images (N, C, H, W), centred about 0, may have been trained as; each is linear, and its own inverse."""

_REVERSED, _EXCHANGED = "with their channels the other way round (BGR for RGB)", "with rows and columns exchanged"
_VIEWS: Views = {
    _REVERSED: lambda x: x.flip(1),
    _EXCHANGED: lambda x: x.transpose(2, 3),
    "upside down": lambda x: x.flip(2),
    "mirrored": lambda x: x.flip(3),
    "with black and white exchanged": lambda x: -x,
}


def order_verdicts(model: Model, images: Tensor, labels: Tensor | None) -> tuple[list[Verdict], int]:
    """What a model whose card is right otherwise makes of real images, and the evaluations that it took to see.

    Args:
        model: in float32, no generator.
        images: (N, C, H, W), on its device: parts of the range of values, or latents.
        labels: (N,) int64, the classes of the images, for a class-conditional model.
    """
    errors = _Errors(model, images)
    verdicts = [] if model.card.decoder is not None else _seen(errors, labels, model.card.shape)
    if labels is not None and model.card.takes_classes and all(each.good for each in verdicts):
        verdicts += _named(errors, labels)
    return verdicts, errors.evaluations


class _Errors:
    """The error of x_0 of each image, (N,): its mean square over that of the best linear guess, mean over levels."""

    def __init__(self, model: Model, images: Tensor) -> None:
        low, high = (0.0, 1.0) if model.card.decoder is not None else model.card.value_range
        self._model, self._middle, self.evaluations = model, (low + high) / 2.0, 0
        self._x0 = low + (high - low) * images
        self._eps = ImageNoise(OWN_SEEDS, torch.arange(len(images), device=images.device))(self._x0)

    def __call__(self, labels: Tensor | None, view: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
        """Of the images in a view, and with these classes."""
        x0, eps = self._middle + view(self._x0 - self._middle), view(self._eps)
        denoiser, variance = self._model.denoiser(labels=labels), float(x0.var())
        levels = levels_at(self._model.schedule, _LOGSNRS).values()
        total = torch.zeros(len(x0), dtype=torch.float64, device=x0.device)
        for at in levels:
            with torch.inference_mode():
                found = denoiser(at.alpha * x0 + at.sigma * eps, at).x0
            guess = variance * at.sigma**2 / (at.alpha**2 * variance + at.sigma**2)
            total += (found.double() - x0).square().mean((1, 2, 3)) / guess
            self.evaluations += len(x0)
        return total / max(1, len(levels))


def _seen(errors: _Errors, labels: Tensor | None, shape: Sequence[int]) -> list[Verdict]:
    """Whether pictures fit better when they are changed."""
    channels, height, width = shape
    if channels not in (1, 3) or height == 1 or width == 1:
        return []
    views = dict(_VIEWS)
    if channels == 1:
        del views[_REVERSED]
    if height != width:
        del views[_EXCHANGED]
    own = errors(labels)
    saved = {name: own - errors(labels, view) for name, view in views.items()}
    best = max(saved, key=lambda each: _clear(saved[each]))
    part, clear = float(saved[best].mean() / own.mean()), _clear(saved[best])
    if part < _PART or clear < _LIKELY:
        return [
            Verdict(True, "it knows the images as they are: in no other order of channels or sides are they any better")
        ]
    text = f"its error is {100 * part:.2g} % smaller with the images {best}: it was trained on such"
    if clear < _CLEAR:
        return [Verdict(True, f"{text}, or it is chance, which more images tell", doubt=True)]
    return [Verdict(False, text)]


def _named(errors: _Errors, labels: Tensor) -> list[Verdict]:
    """Whether the classes of the images are the network's, of those that the images have."""
    known, places = labels.unique(return_inverse=True)
    tried = min(len(known), _CLASSES)
    if tried < 2:
        return []
    found = torch.stack([errors(known[(places + each) % len(known)]) for each in range(tried)], dim=1)
    if tried == len(known) and (moved := _moved(found, places)):
        names = (f"{int(known[own])} there is {int(known[other])} here" for own, other in moved.items())
        return [Verdict(False, f"its classes are in another order than the images': {', '.join(names)}")]
    if _clear(found[:, 1:].mean(1) - found[:, 0]) >= _CLEAR:
        return [Verdict(True, "the classes of the images are its own: its error is larger with others")]
    text = (
        "its error is not clearly larger with other classes than with the images' own: its classes may be in another "
        "order, or make little difference to it"
    )
    return [Verdict(True, text, doubt=True)]


def _moved(found: Tensor, places: Tensor) -> dict[int, int]:
    """Which classes have changed places to the network: those that both halves of their images fit best, all different.

    What a class does to all images alike is left out.

    Args:
        found: (N, K), the errors of each image; column j with the class j places after its own, cyclically.
        places: (N,), the number of its class among K.
    """
    classes, images = found.shape[1], torch.arange(len(found), device=found.device)
    errors = torch.stack([found[images, (each - places) % classes] for each in range(classes)], dim=1)
    of_class = [errors[places == each] for each in range(classes)]
    usual = torch.stack([each.mean(0) for each in of_class]).mean(0)
    moved, gains = dict[int, int](), list[Tensor]()
    for own, each in enumerate(of_class):
        halves = {int((half.mean(0) - usual).argmin()) for half in (each[::2], each[1::2]) if len(half)}
        if len(each) > 1 and len(halves) == 1 and own not in halves:
            (other,) = halves
            moved[own] = other
            gains.append(each[:, own] - each[:, other] - usual[own] + usual[other])
    permuted = sorted(moved) == sorted(moved.values())
    return moved if permuted and gains and _clear(torch.cat(gains)) >= _CLEAR else {}


def _clear(differences: Tensor) -> float:
    """Their mean in standard errors; 0 for fewer than 4."""
    if len(differences) < 4:
        return 0.0
    return float(differences.mean() / (differences.std() / math.sqrt(len(differences))).clamp(min=1e-12))
