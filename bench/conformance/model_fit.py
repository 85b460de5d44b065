"""Which parametrisation, value range and schedule a network's predictions fit, whatever its card says.

Images are noised to levels even in log(alpha / sigma), and the error of the x_0 that the network predicts there is
divided by the error of the best linear guess for data of that mean and variance, Wiener's filter: with data variance v
its error is sqrt(v sigma^2 / (alpha^2 v + sigma^2)), which no network that learned anything exceeds. A network that is
read as it was trained stays below 1 at nearly all levels, one that is read wrongly is above at most of them. Between
two readings only what they change differs: images, noise and log(alpha / sigma) are the same.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.conformance.model_guesses import (
    AS_SAID,
    other_lengths,
    other_scales,
    other_schedules,
    other_sigmas,
    other_signs,
    other_times,
)
from bench.noise import OWN_SEEDS
from bench.noise.stream import ImageNoise
from models.cards.card import Card
from models.denoiser import PARAMETRISATIONS, ClipRange
from models.loading.model import Model
from models.networks.network import Network, mean_alone
from models.schedule import Level, Schedule

MEANINGS = {
    "epsilon": "eps",
    "sample": "x_0",
    "v_prediction": "v",
    "score": "the score",
    "flow": "a flow's velocity eps - x_0",
    "-epsilon": "-eps",
    "-v_prediction": "-v",
    "-flow": "x_0 - eps, a flow's velocity the other way round",
}
"""What a network's output may be: the parametrisations of cards, and the signs that other codes have."""

_BETTER = 0.9
"""Part of the error that another reading must leave at most to be believed."""
_LEAST = 0.05
"""Part of the linear guess's error below which a network, exact then, is as good as any other."""
_CHANCE = 3.0
"""Standard errors that the score of a network that is the best linear guess may be off."""
_SCREENED = 16
"""Images on which all of them are, at every second level; the best alone is tried on the rest."""
_NOISE_SEED = OWN_SEEDS
"""Of the noise of checks, which no study's seed block has."""
_RANGES: tuple[ClipRange, ...] = ((-1.0, 1.0), (0.0, 1.0), (-0.5, 0.5), (0.0, 255.0))


@dataclass(frozen=True)
class Reading:
    """What a network is taken to be.

    Attributes:
        output: what it predicts, of `MEANINGS`.
        values: the range of its images; of a latent model (0, s) for latents s times as large as the card's.
        schedule: name of the schedule that it was trained on.
        time: name of the time that it is given.
        inner: what the preconditioning that it is in is, in words.
    """

    output: str
    values: ClipRange
    schedule: str = AS_SAID
    time: str = AS_SAID
    inner: str = AS_SAID


@dataclass(frozen=True)
class Curve:
    """Errors of x_0, RMS a pixel, in the values of a reading: of the network and of the best linear guess.

    Attributes:
        logsnrs: that levels were asked for at, which a schedule may not all have.
        levels: the nearest of the schedule.
        errors, guesses: at these.
        chance: by how much the score of a network that is the best linear guess may differ from 1.
    """

    logsnrs: Sequence[float]
    levels: Sequence[Level]
    errors: Sequence[float]
    guesses: Sequence[float]
    chance: float = 0.0

    @property
    def score(self) -> float:
        """Geometric mean over levels of the network's error over the guess's; inf if it is not finite."""
        return self.score_at(self.logsnrs)

    @property
    def ratios(self) -> list[float]:
        """The network's error over the guess's, by level; inf where the guess has none."""
        pairs = zip(self.errors, self.guesses, strict=True)
        return [error / guess if guess > 0.0 else math.inf for error, guess in pairs]

    def above(self, least: float) -> list[float]:
        """The levels of little noise: those of at least some log(alpha / sigma)."""
        return [each for each in self.logsnrs if each >= least]

    def score_at(self, logsnrs: Sequence[float]) -> float:
        """The same over some of the levels only."""
        ratios = [ratio for at, ratio in zip(self.logsnrs, self.ratios, strict=True) if at in logsnrs]
        if not ratios or not all(math.isfinite(ratio) for ratio in ratios):
            return math.inf
        return math.exp(sum(math.log(max(ratio, _LEAST)) for ratio in ratios) / len(ratios))


_Evaluated = tuple[float, Level, Tensor, Tensor]
"""log(alpha / sigma), level, state and output."""


class Fit:
    """Tries readings of a model on images.

    Args:
        model: in float32.
        images: (N, C, H, W), on the model's device: parts of the range of values, 0 its lower end and 1 its upper; of a
            latent model latents, in units of those that the card's scaling_factor gives.
        labels: (N,) int64, for a class-conditional network.
        logsnrs: log(alpha / sigma) of the levels.

    Attributes:
        evaluations: images that went through the network so far.
        said: the reading that the card gives.
    """

    def __init__(self, model: Model, images: Tensor, labels: Tensor | None, logsnrs: Sequence[float]) -> None:
        self._card, self._images, self._labels = model.card, images, labels
        self._logsnrs, self.evaluations = logsnrs, 0
        self._schedules, self._times = other_schedules(model.card), other_times(model.card)
        network = mean_alone(model.network) if model.card.learns_variance else model.network
        self._networks, self._sigmas = {AS_SAID: network, **other_signs(model)}, other_sigmas(model)
        self._lengths = other_lengths(model.card)
        self._model, self._screened = model, dict[tuple[Reading, ...], str]()
        self._few: Fit | None = None
        self._outputs: dict[Reading, list[_Evaluated]] = {}
        self._ranges = _RANGES if model.card.decoder is None else other_scales(model.card.decoder)
        values = model.card.value_range if model.card.decoder is None else (0.0, 1.0)
        self.said = Reading(model.card.parametrisation, values)

    def curve(self, reading: Reading) -> Curve:
        """The errors of the network, read so."""
        low, high = reading.values
        x0 = low + (high - low) * self._images
        variance = float(x0.var())
        asked, levels, errors, guesses = list[float](), list[Level](), list[float](), list[float]()
        for logsnr, at, x, output in self._evaluated(replace(reading, output="")):
            found = expected_x0(reading.output, x, at, output)
            asked.append(logsnr)
            levels.append(at)
            errors.append(float((found.double() - x0).square().mean().sqrt()))
            guesses.append(math.sqrt(variance / (at.alpha**2 * variance + at.sigma**2)) * at.sigma)
        # the square error of a guess is a mean over so many values, each with a relative variance of 2
        chance = _CHANCE / math.sqrt(2.0 * max(1, x0.numel()))
        return Curve(asked, levels, errors, guesses, chance)

    def best(self, axes: Sequence[str], least: float = -math.inf) -> tuple[Reading, Curve]:
        """The reading that fits best, changed from the card's one thing at a time as long as that is clearly better.

        Args:
            axes: of "output", "values", "schedule", "time" and "inner": what may be changed.
            least: log(alpha / sigma) of the levels that count, at least.
        """
        reading, curve = self.said, self.curve(self.said)
        while True:
            tried = [(each, self.curve(each)) for axis in axes for each in self._others(reading, axis)]
            own = curve.above(least)
            ratios = (each.score_at(own) / max(curve.score_at(each.above(least)), _LEAST) for _, each in tried)
            gains = [math.inf if math.isnan(ratio) else ratio for ratio in ratios]  # both readings may be infinite
            if not gains or not min(gains) < _BETTER:
                return reading, curve
            reading, curve = tried[gains.index(min(gains))]

    def instead(self, reading: Reading, curve: Curve) -> Reading | None:
        """The reading that has another sigma_data where this one has another range, or the reverse, and fits as well.

        Both scale what the network sees, and a network hardly tells them apart.
        """
        if reading.inner in self._sigmas:
            axis, back = "values", replace(reading, inner=self.said.inner)
        elif reading.values != self.said.values and self._sigmas:
            axis, back = "inner", replace(reading, values=self.said.values)
        else:
            return None
        found = min(self._others(back, axis), key=lambda each: self.curve(each).score)
        return found if self.curve(found).score < min(1.0, curve.score / _BETTER) else None

    def _others(self, reading: Reading, axis: str) -> Iterator[Reading]:
        known: dict[str, Sequence[object]] = {
            "output": list(outputs(self._card)),
            "values": self._ranges,
            "schedule": self._trained_on(reading) if axis == "schedule" else (),
            "time": list(self._times),
            "inner": self._inners(reading) if axis == "inner" else (),
        }
        # a time that runs the other way mostly comes with the other sign, and neither alone is any better
        also = known["output"] if axis == "time" else (reading.output,)
        found = (replace(reading, **({"output": each} | {axis: value})) for value in known[axis] for each in also)  # type: ignore[arg-type]
        return (each for each in found if each != reading)

    def _trained_on(self, reading: Reading) -> Sequence[str]:
        """The schedules to try: of all with other train_steps the one that fits a few images best."""
        return [*self._schedules, *self._screen({each: replace(reading, schedule=each) for each in self._lengths})]

    def _inners(self, reading: Reading) -> Sequence[str]:
        """The preconditionings to try: of all values of sigma_data the one that fits a few images best."""
        plain = replace(reading, output="sample")
        return [*self._networks, *self._screen({each: replace(plain, inner=each) for each in self._sigmas})]

    def _screen(self, readings: Mapping[str, Reading]) -> list[str]:
        """The name of the reading that fits a few images best; none of none."""
        tried = tuple(readings.values())
        if not tried:
            return []
        if tried not in self._screened:
            if self._few is None:
                labels = None if self._labels is None else self._labels[:_SCREENED]
                self._few = Fit(self._model, self._images[:_SCREENED], labels, self._logsnrs[::2])
            before = self._few.evaluations
            scores = {name: self._few.curve(each).score for name, each in readings.items()}
            self._screened[tried] = min(scores, key=scores.__getitem__)
            self.evaluations += self._few.evaluations - before
        return [self._screened[tried]]

    def _evaluated(self, reading: Reading) -> list[_Evaluated]:
        """By level, once for all meanings of the output."""
        if reading not in self._outputs:
            schedule = (self._schedules | self._lengths)[reading.schedule]
            given, stretch = self._times[reading.time], self._stretch(schedule)
            network = (self._networks | self._sigmas)[reading.inner]
            low, high = reading.values
            x0 = low + (high - low) * self._images
            eps = ImageNoise(_NOISE_SEED, torch.arange(len(x0), device=x0.device))(x0)
            found = []
            for logsnr, at in levels_at(schedule, self._logsnrs).items():
                x = at.alpha * x0 + at.sigma * eps
                found.append((logsnr, at, x, evaluate(network, x, given(stretch(at)), self._labels)))
                self.evaluations += len(x)
            self._outputs[reading] = found
        return self._outputs[reading]

    def _stretch(self, schedule: Schedule) -> Callable[[Level], Level]:
        """What gives the network the index that a level has in a schedule of other train_steps than the card's."""
        own = self._schedules[AS_SAID].train_steps
        if own is None or schedule.train_steps in (own, None):
            return lambda at: at
        factor = schedule.train_steps / own
        return lambda at: at._replace(t=factor * at.t)


def outputs(card: Card) -> Sequence[str]:
    """What the output of a card's network may be; of preconditioned ones nothing but x_0."""
    return ("sample",) if card.network in ("edm", "consistency") else tuple(MEANINGS)


def expected_x0(meaning: str, x: Tensor, at: Level, output: Tensor) -> Tensor:
    """What a network of `MEANINGS` says of x_0 with its output at a state."""
    sign = -1.0 if meaning.startswith("-") else 1.0
    affine = next(make(at) for name, make in PARAMETRISATIONS.items() if name == meaning.lstrip("-"))
    return affine.x0_x * x + sign * affine.x0_out * output


def evaluate(network: Network, x: Tensor, at: Level, labels: Tensor | None) -> Tensor:
    """The network's own output, as float32, with labels if there are any."""
    call: Callable[..., Tensor] = network
    with torch.inference_mode():
        return (call(x, at) if labels is None else call(x, at, labels)).float()


def levels_at(schedule: Schedule, logsnrs: Sequence[float]) -> dict[float, Level]:
    """The schedule's trained level nearest to each log(alpha / sigma) that lies between its ends."""
    low, high = (schedule.level(t).logsnr for t in (schedule.t_max, schedule.t_min))
    times = {each: schedule.nearest(schedule.t_at(each)) for each in logsnrs if low <= each <= high}
    return {each: schedule.level(t) for each, t in times.items() if t > 0.0}
