"""Whether a network knows images as they are given: channels, sides, black and white, and classes in that order.

What was read by another library, or from class folders of other names, gives plausible numbers, too. Images are noised
at three levels, and the error of the predicted x_0 is compared image by image: as they are and changed, with the noise
changed alike; with their own classes, with others and with none.
"""

import torch
from torch import Tensor

from bench.conformance.model_classes import class_verdicts, labels_to_try, no_class, null_verdicts
from bench.conformance.model_errors import ImageErrors
from bench.conformance.model_verdicts import Verdict
from bench.conformance.model_views import view_verdicts
from models.loading.model import Model


def order_verdicts(
    model: Model, images: Tensor, labels: Tensor | None, *, known: bool = True
) -> tuple[list[Verdict], int]:
    """What a model whose card is right otherwise makes of real images, and the evaluations that it took to see.

    Nothing is said of images or of a network whose errors are no numbers.

    Args:
        model: in float32, no generator.
        images: (N, C, H, W), on its device: parts of the range of values, or latents.
        labels: (N,) int64, the classes of the images, for a class-conditional model.
        known: whether these are the images' own, or what stands for them where nobody says.
    """
    errors, card = ImageErrors(model, images), model.card
    own = errors(labels)
    if not bool(own.isfinite().all()):
        return [], errors.evaluations
    seen = labels if labels is None or known or card.null_label is None else no_class(labels, card.null_label)
    verdicts = [] if card.decoder is not None else view_verdicts(errors, seen, card.shape)
    turned = [each.text for each in verdicts if not each.good]
    if labels is None or card.classes is None or not card.takes_classes or (turned and not known):
        return verdicts, errors.evaluations
    tried = labels_to_try(labels, card.classes, known=known)
    found = torch.stack([own, *(errors(each) for each in tried[1:])], dim=1)
    if bool(found.isfinite().all()):
        named = class_verdicts(found, labels, tried, card.classes) if known else []
        if turned:  # images of other classes may look turned, and turned ones of other classes
            also = [each.text for each in named if not each.good]
            return [Verdict(False, "; or ".join([*turned, *also]))], errors.evaluations
        verdicts += named
        if all(each.good for each in verdicts):
            verdicts += null_verdicts(errors, found, labels, card.null_label, known=known)
    return verdicts, errors.evaluations
