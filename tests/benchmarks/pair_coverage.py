"""Whether the intervals of differences in pairs hold what they promise, and how narrow they are.

    python tests/benchmarks/pair_coverage.py FOLDER [--seeds 200] [--first 0] [--images 500]

runs five pairs of settings on so many seeds of the digits, which are kept in the folder, and prints a Markdown table.
The truth is the mean difference over all seeds, which is known far better than any interval is wide.
"""

import argparse
import math
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from coverage import Coverage, coverage

from bench.record import RunFolder
from bench.report.data.gaps import Pairs, paired_error
from bench.report.data.significance import JACKKNIFE_BLOCKS, t_quantile

Setting = tuple[str, int, str]
_CLOSE: tuple[Setting, Setting] = (("dpm++2m", 5, "fp32"), ("unipc", 5, "fp32"))
PAIRS: dict[str, tuple[Setting, Setting]] = {
    "two close ODE solvers: dpm++2m and unipc, 5 steps": _CLOSE,
    "one solver at two numbers of steps: ddim, 5 and 10": (("ddim", 5, "fp32"), ("ddim", 10, "fp32")),
    "ODE against SDE: ddim and er-sde, 10 steps": (("ddim", 10, "fp32"), ("er-sde", 10, "fp32")),
    "two SDE: ddpm and er-sde, 10 steps": (("ddpm", 10, "fp32"), ("er-sde", 10, "fp32")),
    "two modes: ddim, 5 steps, bf16 and fp32": (("ddim", 5, "bf16"), ("ddim", 5, "fp32")),
}


def study(seeds: range, images: int) -> str:
    """A study of the settings of all pairs."""
    settings = dict.fromkeys(setting for pair in PAIRS.values() for setting in pair)
    blocks = [
        f'[[block]]\nsamplers = ["{sampler}"]\ngrids = ["trailing"]\nsteps = [{steps}]\nmodes = ["{mode}"]\n'
        for sampler, steps, mode in settings
    ]
    head = f'name = "pairs"\ntitle = "Pairs"\nmodel = "digits"\nimages = {images}\nbatch = 250\nmetrics = ["fd"]\n'
    head += f'seeds = {list(seeds)}\nmodes = ["fp32", "bf16"]\ntiming = {{ repeats = 0 }}\n'
    return head + 'baseline = { sampler = "ddim", grid = "trailing", steps = 10 }\n\n' + "\n".join(blocks)


def read(folder: Path) -> dict[Setting, dict[int, list[float]]]:
    """By setting and seed, the distance and those without a block of images each."""
    found: dict[Setting, dict[int, list[float]]] = {}
    cells = RunFolder(folder).load()
    for row in cells[cells["status"] == "ok"].to_dict("records"):
        setting = (row["sampler"], row["steps"], row["mode"])
        found.setdefault(setting, {})[row["seed"]] = [row["fd_digits"], *row["fd_digits_left_out"]]
    return found


def of_pairs(here: Pairs, there: Pairs, together: int) -> tuple[Coverage, float, float]:
    """How often the intervals from so many seeds hold the mean difference, and the scatter of a seed, said and true."""
    seeds = sorted(here.keys() & there.keys())
    values = {seed: here[seed][0] - there[seed][0] for seed in seeds}
    intervals, errors = list[tuple[float, float]](), list[float]()
    for start in range(0, len(seeds) - together + 1, together):
        group = seeds[start : start + together]
        error = paired_error({seed: here[seed] for seed in group}, {seed: there[seed] for seed in group})
        assert error is not None
        intervals.append((statistics.fmean(values[seed] for seed in group), t_quantile(error.freedom) * error.value))
        errors.append(together * error.value**2)
    truth = statistics.fmean(values.values())
    return coverage(intervals, truth), math.sqrt(statistics.fmean(errors)), statistics.stdev(values.values())


def unpaired(here: Pairs, there: Pairs) -> float:
    """The mean half-width of Welch's interval of a seed."""
    halves = []
    for seed in here.keys() & there.keys():
        variances = [_variance(each[seed][1:]) for each in (here, there)]
        total = sum(variances)
        freedom = (JACKKNIFE_BLOCKS - 1) / sum((each / total) ** 2 for each in variances)
        halves.append(t_quantile(freedom) * math.sqrt(total))
    return statistics.fmean(halves)


def _variance(values: Sequence[float]) -> float:
    """The delete-a-block jackknife's."""
    return (len(values) - 1) * statistics.pvariance(values)


def table(found: Mapping[Setting, Pairs]) -> str:
    """Of all pairs, in Markdown."""
    lines = ["| pair | seeds | 95 % interval holds the mean of all seeds | intervals | mean half-width | unpaired |"]
    lines[0] += " scatter of a seed, said and true |"
    lines.append("|:--|--:|--:|--:|--:|--:|--:|")
    for name, (a, b) in PAIRS.items():
        for together in (1, 3):
            held, said, true = of_pairs(found[a], found[b], together)
            beside = f"{unpaired(found[a], found[b]):.3f}" if together == 1 else ""
            lines.append(f"| {name} | {together} | {held} | {beside} | {said:.4f}, {true:.4f} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--images", type=int, default=500)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / "pairs.toml"
    path.write_text(study(range(options.first, options.first + options.seeds), options.images))
    program = Path(__file__).parents[2] / "run_bench.py"
    subprocess.run([sys.executable, str(program), "run", str(path), "--out", str(options.folder / "run")], check=True)
    print(f"{options.seeds} seeds of {options.images:,} digits.\n\n{table(read(options.folder / 'run'))}")


if __name__ == "__main__":
    main()
