"""How often verdicts on pairs of settings are wrong: of settings that are the same, and of those that looked tied.

    python tests/benchmarks/verdicts.py FOLDER STUDY [--pool 10000] [--images 1000] [--repetitions 200] [--further 20]

takes the pools of `decisions.py` (drawn if they are not there). A run of so many images is drawn from them with
replacement, of all settings the same.

- Null: ten names for one setting, each with noise of its own, in so many repetitions. How often is any of 45 pairs
  told apart after Holm's correction, and how often is one pair by itself?
- Ties: of one run, the pairs of settings that Welch's test on the two jackknife errors calls a tie and the paired test
  tells apart; and how many of these verdicts further runs contradict, whose mean difference has the other sign.
"""

import argparse
import math
import statistics
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import torch
from coverage import proportion
from decisions import Setting, distances, pools

from bench.quality.frechet import Target, jackknife
from bench.report.data.gaps import holm, paired_error
from bench.report.data.significance import LEVEL, StandardError, t_probability
from bench.study.file import load_study
from bench.study.overrides import Overrides

NAMES = 10
Values = list[float]
"""A distance, and those without a tenth of the images each."""


def run(settings: Sequence[Setting], target: Target, images: int, generator: torch.Generator) -> list[Values]:
    """The distances of settings, of the same images."""
    drawn = torch.randint(min(len(each.rows) for each in settings), (images,), generator=generator)
    return [_values(each, target, drawn) for each in settings]


def _values(setting: Setting, target: Target, drawn: torch.Tensor) -> Values:
    value, without = distances(setting.rows[drawn], target)
    return [value, *without]


def paired(here: Values, there: Values) -> float:
    """The p value of a difference in pairs."""
    error = paired_error({0: here}, {0: there})
    return 1.0 if error is None else t_probability(here[0] - there[0], error)


def welch(here: Values, there: Values) -> float:
    """The p value of a difference of independent values."""
    variances = [jackknife(each[1:]) ** 2 for each in (here, there)]
    total = sum(variances)
    error = StandardError(math.sqrt(total), 9 / sum((each / total) ** 2 for each in variances))
    return t_probability(here[0] - there[0], error)


def null(setting: Setting, target: Target, images: int, repetitions: int, generator: torch.Generator) -> str:
    """How often names for one setting are told apart."""
    any_apart = one_apart = 0
    for _ in range(repetitions):
        names = [run([setting], target, images, generator)[0] for _ in range(NAMES)]
        chances = [paired(*each) for each in combinations(names, 2)]
        any_apart += min(p for p in holm(chances) if p is not None) <= LEVEL
        one_apart += chances[0] <= LEVEL
    pairs = math.comb(NAMES, 2)
    return (
        f"Null, {NAMES} names for {setting.name}: some pair of {pairs} told apart, after Holm, in "
        f"{proportion(any_apart, repetitions)} of {repetitions} repetitions; one pair by itself in "
        f"{proportion(one_apart, repetitions)}."
    )


def ties(settings: Sequence[Setting], target: Target, images: int, further: int, generator: torch.Generator) -> str:
    """How many ties are told apart in pairs, and how many of these verdicts further runs contradict."""
    first = run(settings, target, images, generator)
    later = [run(settings, target, images, generator) for _ in range(further)]
    pairs = list(combinations(range(len(settings)), 2))
    tied = [(a, b) for a, b in pairs if welch(first[a], first[b]) > LEVEL]
    told = [(a, b) for a, b in tied if paired(first[a], first[b]) <= LEVEL]
    against = 0
    for a, b in told:
        mean = statistics.fmean(each[a][0] - each[b][0] for each in later)
        against += mean * (first[a][0] - first[b][0]) < 0
    lost = sum(welch(first[a], first[b]) <= LEVEL < paired(first[a], first[b]) for a, b in pairs)
    return (
        f"Ties, {len(settings)} settings, one run of {images:,} images: of {len(pairs)} pairs {len(tied)} are ties by "
        f"Welch's test, of which pairs tell {len(told)} apart; the mean of {further} further runs contradicts "
        f"{proportion(against, len(told))} of these. {lost} pairs that Welch's test tells apart are ties in pairs."
    )


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("study")
    parser.add_argument("--pool", type=int, default=10_000)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--further", type=int, default=20)
    parser.add_argument("--name", default="ddim on trailing, 10 steps", help="the setting that has ten names")
    options = parser.parse_args()
    settings, target = pools(load_study(options.study, Overrides(seed=0)), options.pool, options.folder)
    generator = torch.Generator().manual_seed(0)
    named = next(each for each in settings if each.name == options.name)
    print(null(named, target, options.images, options.repetitions, generator))
    for _ in range(3):
        print(ties(settings, target, options.images, options.further, generator))


if __name__ == "__main__":
    main()
