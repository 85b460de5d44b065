"""What is said of a model: of the range and spread of its samples, and of what its predictions fit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.conformance.model_fit import MEANINGS, Curve, Fit, Reading, outputs
from models.loading.model import Model

_NEAR, _FAR = 0.25, 0.75
"""Widths of the value range that 1 in 1,000 sampled values may lie outside, and beyond which something is wrong."""
_OFTEN = 0.85
"""Part of a picture's values of which none may lie outside as far as 1 in 1,000 may."""
_FILLED = 0.6
"""Of the value range, what 998 of 1,000 sampled values of pictures fill at least: [0, 1] is half of [-1, 1]."""
_MIDDLE = 0.0
"""log(alpha / sigma) down to which a network that was trained at all is better than the best linear guess."""


@dataclass(frozen=True)
class Verdict:
    """One finding in words, whether the model may be used as it is, and whether that is in doubt."""

    good: bool
    text: str
    doubt: bool = False


def range_verdict(model: Model, drawn: Tensor) -> Verdict:
    """Whether samples, decoded if they are latents, lie in the card's range, or so near it that few steps tell why."""
    low, high = model.card.value_range
    said = f"[{low:g}, {high:g}]"
    if not bool(drawn.isfinite().all()):
        return Verdict(False, f"its samples hold NaN or Inf{_no_clip(model)}".rstrip("."))
    beyond = torch.maximum(low - drawn, drawn - high).flatten() / (high - low)
    usual, often = (float(beyond.kthvalue(max(1, math.ceil(part * len(beyond)))).values) for part in (0.999, _OFTEN))
    reached = f"{float(drawn.min()):,.4g} ... {float(drawn.max()):,.4g}"
    if usual <= _NEAR:
        return Verdict(True, f"its samples lie in {reached}, the range of its images is {said}")
    text = f"its samples reach {reached}, the range of its images is {said}"
    text = f"{text}{_no_clip(model)} Data that reach so far need value_range = {_holding(drawn)}"
    good = usual <= _FAR and (often <= _NEAR or not is_picture(model.card.shape))
    return Verdict(good, text, doubt=good)


def is_picture(shape: Sequence[int]) -> bool:
    """Whether images of a shape (C, H, W) are pictures, in grey or in colour, and not points or measurements."""
    channels, height, width = shape
    return channels in (1, 3) and height > 1 and width > 1


def filling_verdicts(model: Model, drawn: Tensor) -> list[Verdict]:
    """That samples of pictures fill so little of the card's range that it is another one's, where there are no images
    to ask.
    """
    low, high = model.card.value_range
    values, outside = drawn.flatten(), math.ceil(0.001 * drawn.numel())
    if not is_picture(model.card.shape) or not bool(drawn.isfinite().all()):
        return []
    least, most = (float(values.kthvalue(at).values) for at in (outside, len(values) + 1 - outside))
    filled = (most - least) / (high - low)
    if filled >= _FILLED:
        return []
    text = f"its samples fill {100 * filled:.0f} % of the range of its images, [{low:g}, {high:g}]: nearly all are in "
    return [Verdict(False, f"{text}{least:.3g} ... {most:.3g}. Has the network this value_range?")]


def _no_clip(model: Model) -> str:
    return ": no clip on the card?" if model.card.clip is None else "."


def _holding(drawn: Tensor) -> str:
    """A range that holds samples, in two digits of its width, as a card has it."""
    low, high = float(drawn.min()), float(drawn.max())
    step = 10.0 ** (math.floor(math.log10(high - low)) - 1) if high > low else 1.0
    return f"[{math.floor(low / step) * step:.6g}, {math.ceil(high / step) * step:.6g}]"


def spread_verdicts(model: Model, drawn: Tensor, images: Tensor) -> list[Verdict]:
    """Whether samples scatter as the images do: by a factor of 2, which only what is broken misses."""
    low, high = model.card.value_range
    real = float((low + (high - low) * images.float() / 255.0).std())
    found = float(drawn.clamp(low - (high - low), high + (high - low)).nan_to_num().std())
    good = 0.5 * real < found < 2.0 * real
    more = "" if good else ": it does not sample such images"
    return [Verdict(good, f"its samples have standard deviation {found:.3g}, the images {real:.3g}{more}")]


def clip_verdicts(model: Model) -> list[Verdict]:
    """Both are the range of x_0, unless that is a latent."""
    clip, values = model.card.clip, model.card.value_range
    if clip is None or clip == values or model.card.decoder is not None:
        return []
    said, images = (f"[{low:g}, {high:g}]" for low, high in (clip, values))
    return [Verdict(False, f"x_0 is clipped to {said}, but the card's value_range is {images}")]


def reading_verdicts(model: Model, fit: Fit, *, real: bool, others: bool) -> list[Verdict]:
    """What the network is, beside what the card says, as far as images tell that are `real`, or its own samples."""
    said = fit.said
    axes = ("output", "values", "schedule", "time", "inner") if others and real else ("output",)
    reading, curve = fit.best(axes)
    if not curve.levels:
        return [Verdict(True, "its schedule has no level where data and noise are both seen, to try it at")]
    if fit.curve(said).score >= 1.0:
        by_little, at_little = fit.best(axes, _MIDDLE)
        if _beats(at_little) and at_little.score >= 1.0 and (curve.score >= 1.0 or by_little == said):
            return [*_differences(model, said, by_little, None), _brief(at_little)]
    if curve.score >= 1.0 + curve.chance:
        return [Verdict(False, _none_fits(model, fit, curve, real=real))]
    again = "" if reading == said else " once it is read so"
    share = Verdict(True, f"its error is {curve.score:.2f} of the best linear guess's{again}")
    if curve.score >= 1.0:
        text = f"{share.text}: it knows no more of such images than their mean and variance, or was trained too briefly"
        share = Verdict(True, text, doubt=True)
    return [*_differences(model, said, reading, fit.instead(reading, curve)), share]


def is_misread(readings: Sequence[Verdict]) -> bool:
    """Whether another reading than the card's was found, of the verdicts on them; a single one is that none was."""
    return len(readings) > 1 and any(not each.good for each in readings)


def _beats(curve: Curve) -> bool:
    """Whether the network is better than the best linear guess at every level of little and middling noise."""
    little = curve.above(_MIDDLE)
    pairs = zip(curve.logsnrs, curve.ratios, strict=True)
    return len(little) > 1 and all(ratio < 1.0 for at, ratio in pairs if at >= _MIDDLE)


def _brief(curve: Curve) -> Verdict:
    """That a network is worse than the guess at much noise alone, as one of eps is until it is trained for long."""
    lost = [(at, ratio) for at, ratio in zip(curve.levels, curve.ratios, strict=True) if not ratio < 1.0]
    ends = " ... ".join(f"{1.0 / at.ratio:.2g}" for at in dict.fromkeys((lost[0][0], lost[-1][0])))
    text = (
        f"its error is {curve.score_at(curve.above(_MIDDLE)):.2f} of the best linear guess's where alpha/sigma is 1 or "
        f"more, but up to {max(ratio for _, ratio in lost):.2f} of it at alpha/sigma {ends}: trained too briefly, or "
        "not for such noise"
    )
    return Verdict(True, text, doubt=True)


def _none_fits(model: Model, fit: Fit, curve: Curve, *, real: bool) -> str:
    """That a network is worse than the best linear guess, and what it is nearest to."""
    tried = {each: fit.curve(Reading(each, fit.said.values)).score for each in outputs(model.card)}
    nearest = min(tried, key=tried.__getitem__)
    as_what = f"the nearest as {MEANINGS[nearest]}, {tried[nearest]:.2f} times"
    if curve.score < tried[nearest]:
        as_what = f"the nearest {curve.score:.2f} times"
    what = "such images" if real else "its own samples"
    return (
        f"its error on {what} is above the best linear guess's (in every way it is read, {as_what}): weights, network, "
        "card or data are wrong"
    )


def sigma_verdicts(fit: Fit) -> list[Verdict]:
    """What of a generator's preconditioning is not as the card says."""
    reading, _ = fit.best(("inner",))
    return [] if reading == fit.said else [Verdict(False, reading.inner)]


def _differences(model: Model, said: Reading, found: Reading, instead: Reading | None) -> list[Verdict]:
    """What it predicts, in what else a reading differs from the card's, and what else may be meant by that."""
    meaning, card = MEANINGS[found.output], MEANINGS[said.output]
    verdicts = [Verdict(True, f"this network predicts {meaning}, as the card says")]
    if found.output != said.output:
        verdicts = [Verdict(False, f"this network predicts {meaning}, the card says {card}")]
    scales = [_scale(model, said, each) for each in (found, instead) if each is not None]
    if scales[0]:
        verdicts.append(Verdict(False, "; or, which fits as well, ".join(scales)))
    if found.schedule != said.schedule:
        own = f"of kind {model.card.schedule.kind!r}"
        own += f" with train_steps = {model.schedule.train_steps}" if "train_steps" in found.schedule else ""
        verdicts.append(Verdict(False, f"it was trained on {found.schedule}; the card's schedule is {own}"))
    if found.time != said.time:
        verdicts.append(Verdict(False, f"it is to be given {found.time}"))
    return verdicts


def _scale(model: Model, said: Reading, found: Reading) -> str:
    """In what range of images and preconditioning a reading differs from the card's, in words."""
    words = [] if found.inner == said.inner else [found.inner]
    if found.values != said.values and model.card.decoder is not None:
        own = model.card.decoder.scaling_factor
        words.append(f"its latents have scaling_factor = {own * found.values[1]:.5g}, the card's decoder has {own:.5g}")
    elif found.values != said.values:
        ranges = [f"[{low:g}, {high:g}]" for low, high in (found.values, said.values)]
        words.append(f"its images lie in {ranges[0]}, the card's value_range is {ranges[1]}")
    return ", and ".join(words)
