"""Contestants timed in turns, and the ratios of their times."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

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


def balanced_orders(count: int) -> list[list[int]]:
    """Orders of 0 ... count - 1 in which each stands at every place, and directly after every other, equally often.

    E. J. Williams, Experimental designs balanced for the estimation of residual effects of treatments (1949): `count`
    orders for an even count, twice as many for an odd one.
    """
    first = [(n + 1) // 2 if n % 2 else -(n // 2) for n in range(count)]  # 0, 1, -1, 2, -2, ...
    orders = [[(place + shift) % count for place in first] for shift in range(count)]
    return orders if count % 2 == 0 else orders + [order[::-1] for order in orders]


def in_turns(
    contestants: Mapping[str, Callable[[int], Mapping[str, float]]], rounds: int, advanced: Callable[[], None]
) -> Seconds:
    """Run every contestant once a round.

    Their order changes, so that none always finds the caches, the memory and the clock rate that the same other one
    has left; what disturbs the machine meets neighbours in time alike.

    Args:
        contestants: given the number of the round, each measures its own times, by name.
        rounds: how many.
        advanced: called after each, outside what is timed.
    """
    found, names = Seconds(), list(contestants)
    for number, order in enumerate(islice(cycle(balanced_orders(len(names))), rounds)):
        for place in order:
            for part, seconds in contestants[names[place]](number).items():
                found.setdefault(part, []).append(seconds)
            advanced()
    return found
