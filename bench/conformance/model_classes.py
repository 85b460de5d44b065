"""Whether the classes of images are the network's, in that order, and its null_label stands for no class."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.conformance.model_chance import CLEAR, LIKELY, is_above_chance, t_at
from bench.conformance.model_errors import ImageErrors
from bench.conformance.model_verdicts import Verdict
from models.guidance.guided import label_of_none

ALL_TRIED = 16
"""Classes that are all tried on each image; of more, some."""
_FORWARD, _BACK = range(16), range(-4, 0)
"""Of more classes than can all be tried: how many places after an image's own those are that are."""
_OTHERS = range(4)
"""The same where the images' own are not known, and the classes are only there to be compared with no class."""
_TOLD = 0.05
"""The chance, for one class beside one other, that it is called the network's own where neither fits any better; all
others have to be beaten, and where two have changed places the chance is far smaller."""
_NAMED = 8
"""Classes that a verdict names; it counts the rest."""
_MOST = 0.5
"""Of what another class than the own adds to the square error, what no class may add."""
_FELT = 1.1
"""Error with another class over that with the own, from which on a network can be told to use its classes."""


def labels_to_try(labels: Tensor, classes: int, *, known: bool) -> list[Tensor]:
    """The classes (N,) to try images with, their own first: of up to 16 all of them, each in turn.

    Args:
        labels: (N,) int64, their own, or what stands for them where these are not `known`.
        classes: of the network.
    """
    circle, places = _circle(labels, classes)
    if known and 1 < len(circle) <= ALL_TRIED:
        return [circle[(places + each) % len(circle)] for each in range(len(circle))]
    offsets = (*_FORWARD, *_BACK) if known and len(circle) > ALL_TRIED else _OTHERS
    return [(labels + each) % classes for each in sorted({each % classes for each in offsets})]


def no_class(labels: Tensor, null: int | str) -> Tensor | None:
    """What as many images are given for no class; None: no labels."""
    label = label_of_none(null)
    return None if label is None else torch.full_like(labels, label)


def class_verdicts(found: Tensor, labels: Tensor, tried: Sequence[Tensor], classes: int) -> list[Verdict]:
    """Whether the classes of images are the network's, of those that the images have.

    Args:
        found: (N, J), the errors of each image; column j with the classes `tried` there.
        labels: (N,), their own.
        tried: J times (N,), as `labels_to_try` gives them.
        classes: of the network.
    """
    circle, places = _circle(labels, classes)
    present = places.unique()
    if len(present) < 2:
        return []
    logs = found.clamp(min=1e-12).log()  # whose differences scatter alike for images that are easy and hard
    worse = logs[:, 1:] - logs[:, :1]
    if len(circle) <= ALL_TRIED:
        if moved := _moved(found, places):
            names = (f"{int(circle[own])} there is {int(circle[other])} here" for own, other in moved.items())
            return [Verdict(False, f"its classes are in another order than the images': {', '.join(names)}")]
        usual, others = _usual(logs, places), torch.arange(1, len(circle), device=found.device)
        worse = worse - usual[(places[:, None] + others) % len(circle)] + usual[places, None]
    elif shifted := _shifted(worse, places, tried, classes):
        return [shifted]
    unclear = [int(circle[each]) for each in _untold(worse, places)]
    if not unclear:
        return [Verdict(True, "the classes of the images are its own: its error is larger with others")]
    if len(unclear) == len(present) and not is_above_chance(worse.mean(1), CLEAR):
        text = (
            "its error is not clearly larger with other classes than with the images' own: its classes may be in "
            "another order, or make little difference to it"
        )
        return [Verdict(True, text, doubt=True)]
    return [Verdict(True, _listed(unclear, len(present), all_tried=len(circle) <= ALL_TRIED), doubt=True)]


def null_verdicts(
    errors: ImageErrors, found: Tensor, labels: Tensor, null: int | str | None, *, known: bool = True
) -> list[Verdict]:
    """Whether what a card says that stands for no class does: it is to fit nearly as well as the images' own classes,
    and better than any single other one, which is what a class, or a label that was never trained, is to most images.

    Of a network that knows the law its square error on top of that with the own class is half of that of another class
    or less: the first is the variance between what the classes that an image may be of make, and another class adds as
    much again.

    Args:
        errors: of the images.
        found: (N, J), with their own classes and with others.
        labels: (N,), their own.
        null: of the card; None: it has none, and nothing is said.
        known: whether the labels are the images' own; if they were chosen to fit them, nothing is sure.
    """
    if null is None:
        return []
    without = no_class(labels, null)
    if without is not None and bool((labels == without).all()):  # it stood for their own, and nothing is beside it
        return []
    none = errors(without)
    said = f"null_label = {null!r}"
    parts = [float(each.mean()) ** 0.5 for each in (none, found[:, 0], found[:, 1:].mean(1))]
    share = (
        f"with {said} its error is {parts[0]:.2f} of the best linear guess's, {parts[1]:.2f} with the images' classes"
    )
    every = _evenly(labels)
    own, other = every * (none - found[:, 0]), every * (found[:, 1:].mean(1) - found[:, 0])
    if parts[1] < 1.0 and is_above_chance(none - 1.0, LIKELY):
        return [Verdict(False, f"{share}: it was not trained with that for no class")]
    if known and is_above_chance(-own, CLEAR):
        text = f"{share}: what it makes of them is worse with their classes than without, so these are not its own"
        return [Verdict(False, text)]
    little = parts[2] < _FELT * parts[1] or not is_above_chance(other, LIKELY)
    if found.shape[1] < 3 or little:
        text = (
            f"whether {said} stands for no class cannot be told: of too few images or classes, or they make too little"
        )
        return [Verdict(True, text, doubt=True)]
    if not float((own - _MOST * other).mean()) > 0.0:
        return [Verdict(True, f"{share}: it stands for no class")]
    text = f"{share} and {parts[2]:.2f} with wrong ones: that is a single class, or it was not trained with that"
    if known and is_above_chance(own - _MOST * other, LIKELY):
        return [Verdict(False, text)]
    return [Verdict(True, f"{text}; or it is chance, which more images tell", doubt=True)]


def _evenly(labels: Tensor) -> Tensor:
    """(N,): what each image counts, so that every class counts alike; 1 on average."""
    _, places, counts = labels.unique(return_inverse=True, return_counts=True)
    weights: Tensor = len(labels) / (len(counts) * counts[places].double())
    return weights


def _circle(labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """The classes (K,) that take turns, all of up to 16 or those that images have, and the place (N,) of each label."""
    if classes <= ALL_TRIED:
        return torch.arange(classes, device=labels.device), labels
    present, places = labels.unique(return_inverse=True)
    return present, places


def _moved(found: Tensor, places: Tensor) -> dict[int, int]:
    """Which classes have changed places to the network: those that both halves of their images fit best, all different.

    What a class does to all images alike is left out.

    Args:
        found: (N, K), the errors of each image; column j with the class j places after its own, cyclically.
        places: (N,), the number of its class among K.
    """
    errors, usual = _by_class(found, places), _usual(found, places)
    moved, gains = dict[int, int](), list[Tensor]()
    for own in places.unique().tolist():
        each = errors[places == own]
        halves = {int((half.mean(0) - usual).argmin()) for half in (each[::2], each[1::2]) if len(half)}
        if len(each) > 1 and len(halves) == 1 and own not in halves:
            (other,) = halves
            moved[own] = other
            gains.append(each[:, own] - each[:, other] - usual[own] + usual[other])
    permuted = sorted(moved) == sorted(moved.values())
    return moved if permuted and gains and is_above_chance(torch.cat(gains), CLEAR, found.shape[1]) else {}


def _by_class(found: Tensor, places: Tensor) -> Tensor:
    """(N, K), the errors of each image; column k with the k-th class."""
    classes, images = found.shape[1], torch.arange(len(found), device=found.device)
    return torch.stack([found[images, (each - places) % classes] for each in range(classes)], dim=1)


def _usual(found: Tensor, places: Tensor) -> Tensor:
    """(K,): the mean error of all images with each class, every class of images counting alike."""
    errors = _by_class(found, places)
    return torch.stack([errors[places == each].mean(0) for each in places.unique()]).mean(0)


def _shifted(worse: Tensor, places: Tensor, tried: Sequence[Tensor], classes: int) -> Verdict | None:
    """That all classes are some places further on to the network, if that is clearly better over the classes."""
    by_class = torch.stack([-worse[places == each].mean(0) for each in places.unique()])
    best = int(by_class.mean(0).argmax())
    if not is_above_chance(by_class[:, best], CLEAR, by_class.shape[1]):
        return None
    step = int((tried[best + 1][0] - tried[0][0]) % classes)
    step = step if 2 * step <= classes else step - classes
    further = f"{abs(step)} {'further on' if step > 0 else 'before'}"
    return Verdict(
        False,
        "its classes are in another order than the images': its error is clearly smaller with the class that is "
        f"{further}, of {classes} in a circle",
    )


def _untold(worse: Tensor, places: Tensor) -> list[int]:
    """The classes of which it is not clear that they have less error with their own than with each of the others.

    Args:
        worse: (N, J), how much more error each image has with others.
        places: (N,), the number of its class among K.
    """
    of_class = {int(each): worse[places == each] for each in places.unique()}
    freedom = len(worse) - len(of_class)
    if freedom < 1:
        return list(of_class)
    squares = torch.stack([(each - each.mean(0)).square().sum(0) for each in of_class.values()]).sum(0)
    # of all classes, as a single one has too few images to say how much they scatter
    error, needed = (squares / freedom).sqrt(), t_at(freedom, _TOLD)
    return [own for own, each in of_class.items() if not bool((each.mean(0) > needed * error / len(each) ** 0.5).all())]


def _listed(unclear: Sequence[int], present: int, *, all_tried: bool) -> str:
    """The classes that cannot be told, in words."""
    names = [str(each) for each in unclear[:_NAMED]]
    if len(unclear) > _NAMED:
        names.append(f"{len(unclear) - _NAMED} others")
    *first, last = names
    listed = f"{', '.join(first)} and {last}" if first else last
    own = f"{len(unclear)} of the {present} classes of the images are its own"
    how = "which more --images tell" if all_tried else f"as of more than {ALL_TRIED} only some are tried"
    return f"it cannot be told whether {own}: {listed} may be in another order, {how}"
