"""Contestants timed in turns, and the ratios of their times."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.timing.bootstrap import median_interval

Seconds = dict[str, list[float]]
"""By contestant, a value a round."""


@dataclass(frozen=True)
class Ratio:
    """The ratios of two contestants' times, round by round.

    Attributes:
        median, q1, q3: of the ratios.
        low, high: 95 % bootstrap interval of their median (see `bench.timing.bootstrap` on few rounds).
    """

    median: float
    q1: float
    q3: float
    low: float
    high: float

    @classmethod
    def of(cls, numerator: Sequence[float], denominator: Sequence[float], factor: float = 1.0) -> "Ratio":
        """Of paired times, (rounds,) each, every ratio multiplied by a factor."""
        ratios = factor * np.asarray(numerator) / np.asarray(denominator)
        q1, median, q3 = np.quantile(ratios, (0.25, 0.5, 0.75)).tolist()
        return cls(median, q1, q3, *median_interval(ratios.tolist()))

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.q1:.3f}, {self.q3:.3f}] ({self.low:.3f} ... {self.high:.3f})"


def in_turns(
    contestants: Mapping[str, Callable[[int], Mapping[str, float]]], rounds: int, advanced: Callable[[], None]
) -> Seconds:
    """Run every contestant once a round, in an order of its own, as the rounds of a study.

    Args:
        contestants: given the number of the round, each measures its own times, by name.
        rounds: how many.
        advanced: called after each, outside what is timed.
    """
    found = Seconds()
    for number in range(rounds):
        names = list(contestants)
        random.Random(number).shuffle(names)
        for name in names:
            for part, seconds in contestants[name](number).items():
                found.setdefault(part, []).append(seconds)
            advanced()
    return found
