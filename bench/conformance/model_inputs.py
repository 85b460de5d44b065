"""Whether the output of a network depends on the state, the level and the class, and on nothing else."""

import torch
from torch import Tensor

from bench.conformance.model_fit import evaluate
from bench.conformance.model_verdicts import Verdict
from bench.noise.stream import ImageNoise
from models.loading.model import Model
from models.schedule import Level, Schedule

_SAME = 1e-3
"""Change of the output, as a part of it, below which it does not depend on what was changed."""


def input_verdicts(model: Model, labels: Tensor | None, images: Tensor, seed: int) -> tuple[list[Verdict], int]:
    """Whether the output depends on the state, the level and the class, and on nothing else; and the evaluations that
    it took to see.

    Args:
        model: in float32.
        labels: (N,) int64, the classes of as many states; None: it takes none.
        images: (N, ...), of which the number and the device count.
        seed: of the noise that the states are, as wide as the range of images.
    """
    card, network = model.card, model.network
    noisy, clear = (_level(model.schedule, each) for each in (-1.0, 1.0))
    noise = ImageNoise(seed, torch.arange(len(images), device=images.device))
    low, high = (-1.0, 1.0) if card.decoder is not None or card.network == "decoder" else card.value_range
    middle, half = noisy.alpha * (low + high) / 2.0, (high - low) / 2.0
    x = middle + half * noise(torch.empty((len(images), *card.state_shape), device=images.device))
    another = middle + half * noise(x)
    output = evaluate(network, x, noisy, labels)
    tried = [("the state", evaluate(network, another, noisy, labels))]
    if card.network != "decoder" and noisy != clear:
        tried.append(("the noise level", evaluate(network, x, clear, labels)))
    if labels is not None and card.classes is not None and card.classes > 1:
        what = "the class" if card.takes_classes else "the prompt"
        tried.append((what, evaluate(network, x, noisy, (labels + 1) % card.classes)))
    ignored = [what for what, other in tried if _is_same(other, output)]
    names = " and ".join(what for what, _ in tried)
    verdicts = [Verdict(False, f"its output ignores {what}") for what in ignored]
    own, again = _own_output(model, x, noisy, labels, output)
    return verdicts + own or [Verdict(True, f"its output depends on {names}, and on nothing else")], (
        (1 + len(tried)) * len(images) + again
    )


def _own_output(model: Model, x: Tensor, at: Level, labels: Tensor | None, output: Tensor) -> tuple[list[Verdict], int]:
    """Whether images have another output in another order, which a cache or a state gives them, or with fewer beside
    them, as batch statistics do; and the evaluations that it took to see.
    """
    few = max(1, len(x) // 2)
    back = evaluate(model.network, x.flip(0), at, None if labels is None else labels.flip(0)).flip(0)
    alone = evaluate(model.network, x[:few], at, None if labels is None else labels[:few])
    if not _is_same(back, output):
        text = "its output is another when it is evaluated again: it draws noise, or keeps something from before"
    elif not _is_same(alone, output[:few]):
        text = "its output of an image depends on the others of its batch, or on their number"
    else:
        return [], len(x) + few
    return [Verdict(False, text)], len(x) + few


def _is_same(other: Tensor, output: Tensor) -> bool:
    return not float((other - output).square().mean().sqrt()) > _SAME * float(output.square().mean().sqrt())


def _level(schedule: Schedule, logsnr: float) -> Level:
    """The trained level nearest to a log(alpha / sigma), or the schedule's end."""
    t = schedule.nearest(min(max(schedule.t_at(logsnr), schedule.t_min), schedule.t_max))
    return schedule.level(max(t, schedule.t_min))
