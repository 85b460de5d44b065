"""Whether the intervals of the tables hold what they promise: many seeds of the digits, and how often 95 % is 95 %.

    python tests/benchmarks/coverage.py [--sampler ddim] [--steps 10] [--seeds 600]

draws so many seed blocks of 1,000 images and prints a Markdown table. The truth is the mean over all seeds, which is
known far better than any interval is wide.
"""

import argparse
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from scipy.stats import beta, t

from bench.noise.stream import ImageNoise
from bench.quality.extractors import load_extractor
from bench.quality.features import extract
from bench.quality.frechet import Estimate, Target, extrapolate, factor_of, jackknife, left_out
from bench.quality.images import to_uint8
from bench.quality.reference import load_reference
from bench.quality.statistics import BLOCKS, BlockMoments, Moments, merged
from models.denoiser import Denoiser
from models.grids import GRIDS
from models.loading.zoo import load_model
from samplers import SAMPLERS

IMAGES, TOGETHER = 1000, 5
Blocks = list[Moments]


@dataclass(frozen=True)
class Coverage:
    """How often an interval held the truth.

    Attributes:
        held: intervals that did.
        of: intervals.
        width: mean half-width.
    """

    held: int
    of: int
    width: float

    def __str__(self) -> str:
        return f"{proportion(self.held, self.of)} | {self.of} | {self.width:.3f}"


def proportion(held: int, of: int) -> str:
    """A proportion in per cent with Clopper and Pearson's 95 % interval."""
    low = float(beta.ppf(0.025, held, of - held + 1)) if held else 0.0
    high = float(beta.ppf(0.975, held + 1, of - held)) if held < of else 1.0
    return f"{100 * held / of:.1f} % ({100 * low:.1f} ... {100 * high:.1f})" if of else "none"


def coverage(intervals: Sequence[tuple[float, float]], truth: float) -> Coverage:
    """Of intervals (middle, half-width)."""
    held = sum(abs(middle - truth) <= half for middle, half in intervals)
    return Coverage(held, len(intervals), statistics.fmean(half for _, half in intervals))


def of_seeds(values: Sequence[float], seeds: int) -> list[tuple[float, float]]:
    """Student's 95 % intervals from disjoint groups of so many seeds."""
    quantile = float(t.ppf(0.975, seeds - 1)) / seeds**0.5
    groups = [values[start : start + seeds] for start in range(0, len(values) - seeds + 1, seeds)]
    return [(statistics.fmean(group), quantile * statistics.stdev(group)) for group in groups]


def of_estimates(estimates: Sequence[Estimate]) -> list[tuple[float, float]]:
    """95 % intervals of single cells from their jackknife's standard error, as the report makes them."""
    quantile = float(t.ppf(0.975, BLOCKS - 1))
    return [(each.value, quantile * each.std) for each in estimates]


def draw(sampler: str, steps: int, seeds: int) -> Iterator[tuple[Blocks, Target]]:
    """The feature statistics of every seed's images, and the reference."""
    device = torch.device("cpu")
    model = load_model("digits", device)
    extractor = load_extractor(None, model, device)
    reference = load_reference(None, extractor)
    target = Target(reference.mean, factor_of(reference.covariance)[0])
    levels, numbers = GRIDS.make("trailing")(model.schedule, steps), torch.arange(IMAGES)
    for seed in range(seeds):
        source = ImageNoise(seed, numbers)
        x = source(torch.empty(IMAGES, *model.card.shape)) * model.schedule.prior_std(levels[0])
        denoiser = Denoiser(model.network, model.card.parametrisation, model.schedule, model.card.clip)
        with torch.inference_mode():
            images = SAMPLERS.make(sampler).sample(denoiser, x, levels, source)
        blocks = BlockMoments()
        blocks.add(extract(extractor, to_uint8(images)).features)
        yield blocks.finish(), target


def main() -> None:
    """Draw, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sampler", default="ddim")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=600)
    options = parser.parse_args()
    drawn = list[Blocks]()
    for n, (blocks, reference) in enumerate(draw(options.sampler, options.steps, options.seeds), 1):
        drawn, target = [*drawn, blocks], reference
        print(f"\r{n} of {options.seeds} seeds", end="", flush=True, file=sys.stderr)
    distances = [target.distance(merged(blocks)) for blocks in drawn]
    without = [left_out(blocks, target) for blocks in drawn]
    small = [extrapolate(blocks, target, each) for blocks, each in zip(drawn, without, strict=True)]
    groups = [drawn[start : start + TOGETHER] for start in range(0, len(drawn) - TOGETHER + 1, TOGETHER)]
    joined = [[merged(parts) for parts in zip(*group, strict=True)] for group in groups]
    large = [extrapolate(blocks, target, left_out(blocks, target)) for blocks in joined]
    mean, spread = statistics.fmean(distances), statistics.stdev(distances)
    print(f"{options.sampler}, {options.steps} steps on trailing, {options.seeds} seeds of {IMAGES:,} digits.\n")
    print(f"FD of {IMAGES:,} images: mean {mean:.4f}, standard deviation of a seed {spread:.4f}.")
    _print_infinite(small, large)
    print("\n| 95 % interval | holds the mean of all seeds | intervals | mean half-width |\n|:--|--:|--:|--:|")
    for seeds in (3, 5, 10):
        print(f"| of FD, Student's t over {seeds} seeds | {coverage(of_seeds(distances, seeds), mean)} |")
    inside = [Estimate(value, jackknife(each)) for value, each in zip(distances, without, strict=True)]
    print(f"| of FD, jackknife within a seed | {coverage(of_estimates(inside), mean)} |")
    for name, found in ((f"{IMAGES:,}", small), (f"{TOGETHER * IMAGES:,}", large)):
        truth = statistics.fmean(each.value for each in found)
        print(f"| of FD at infinity from {name} images, jackknife | {coverage(of_estimates(found), truth)} |")


def _print_infinite(small: Sequence[Estimate], large: Sequence[Estimate]) -> None:
    """Whether the extrapolation from few and from more images says the same."""
    few, many = [each.value for each in small], [each.value for each in large]
    errors = [statistics.stdev(found) / len(found) ** 0.5 for found in (few, many)]
    means = [statistics.fmean(found) for found in (few, many)]
    print(
        f"FD at infinity: {means[0]:.4f} ± {errors[0]:.4f} from {IMAGES:,} images, {means[1]:.4f} ± {errors[1]:.4f} "
        f"from {TOGETHER * IMAGES:,} (standard errors of the means over {len(few)} and {len(many)} repetitions)."
    )
    others = [small[(TOGETHER * (n + 1)) % len(small)] for n in range(len(large))]  # of seeds not in the large one
    pairs = [
        abs(one.value - other.value) / (one.std**2 + other.std**2) ** 0.5
        for one, other in zip(others, large, strict=True)
    ]
    agree = sum(each <= 1.96 for each in pairs) / len(pairs)
    print(f"Of {len(pairs)} pairs of one of each, {100 * agree:.0f} % agree within 1.96 combined standard errors.")


if __name__ == "__main__":
    main()
