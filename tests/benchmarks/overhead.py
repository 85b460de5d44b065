"""What a step costs beside the network: our samplers against diffusers' `scheduler.step`, on a network that is free.

    OMP_NUM_THREADS=1 taskset -c 1 python tests/benchmarks/overhead.py [--size 1x8x8] [--repeats 30] [METHOD ...]

prints a Markdown table. A sample of 20 steps, divided by 20: ours is `Sampler.sample` on a `Denoiser` whose network
returns a constant, theirs the loop of diffusers' pipelines without the network (`scale_model_input` and `step`), with
its steps placed before the clock starts. Ours keeps the coefficients of a grid it has met before, theirs works them out
again in every step; that is part of the difference. The two alternate, so that both see the same disturbance of the
machine; the ratio is that of the minima, its spread the quartiles of the ratios of neighbouring repeats.

"constant" noise is a tensor that is there already, on both sides: arithmetic alone. "own" is the noise that each is
used with: counter-based noise, the same on every device and in every batch, and torch's generator.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.noise.stream import ImageNoise
from bench.timing.clock import Stopwatch
from bench.versus.pairs import PAIRS, Pair, scheduler_class
from models.denoiser import Denoiser
from models.grids import Leading
from models.networks.network import counted
from models.schedule import DiscreteVP
from samplers import SAMPLERS, Noise

STEPS, BATCH = 20, 64
SIZES = {"1x8x8": (1, 8, 8), "3x32x32": (3, 32, 32)}
LIMIT = 0.2
"""Ours takes at most this part of theirs."""
_CPU = torch.device("cpu")
_SCHEDULE = DiscreteVP.linear()
_BETAS: dict[str, Any] = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}


def our_sample(pair: Pair, x: Tensor, noise: Callable[[], Noise]) -> Callable[[], object]:
    """A sample of ours, to be timed."""
    sampler = SAMPLERS.make(pair.ours)
    levels = Leading(clean=pair.clean)(_SCHEDULE, STEPS)
    output = torch.zeros_like(x)
    network, _ = counted(lambda x, at: output)  # as samplers are given it
    model = Denoiser(network, "epsilon", _SCHEDULE)
    return lambda: sampler.sample(model, x, levels, noise())


def their_sample(pair: Pair, x: Tensor) -> Callable[[], Callable[[], object]]:
    """A function that places the steps of a scheduler and returns a sample of it, to be timed."""
    betas = _BETAS if pair.betas else {}
    scheduler = scheduler_class(pair)(**betas | pair.options)
    output = torch.zeros_like(x)
    if pair.theirs == "KarrasVeScheduler":
        return lambda: _placed_karras_ve(scheduler, x, output)

    def run() -> object:
        state = x
        for t in scheduler.timesteps:
            scheduler.scale_model_input(state, t)
            state = scheduler.step(output, t, state, return_dict=False, **pair.step)[0]
        return state

    def place() -> Callable[[], object]:
        scheduler.set_timesteps(STEPS)
        return run

    return place


def _placed_karras_ve(scheduler: Any, x: Tensor, output: Tensor) -> Callable[[], object]:
    """The one with an interface of its own: the loop of the pipeline that it was for."""
    scheduler.set_timesteps(STEPS)

    def run() -> object:
        state = x
        for t in scheduler.timesteps.tolist():
            sigma, after = scheduler.schedule[t], scheduler.schedule[t - 1] if t > 0 else 0
            hat, sigma_hat = scheduler.add_noise_to_input(state, sigma)
            state, slope = scheduler.step(output, sigma_hat, after, hat, return_dict=False)
            if after != 0:
                state = scheduler.step_correct(output, sigma_hat, after, hat, state, slope, return_dict=False)[0]
        return state

    return run


@contextmanager
def their_noise(pair: Pair, constant: Tensor | None) -> Iterator[None]:
    """The scheduler draws a tensor that is there already, unless it is None."""
    if constant is None:
        yield
        return
    module: Any = sys.modules[scheduler_class(pair).__module__]
    original = getattr(module, "randn_tensor", None)
    module.randn_tensor = lambda *_, **__: constant
    try:
        yield
    finally:
        module.randn_tensor = original


def measure(
    pair: Pair, size: tuple[int, ...], repeats: int, *, own_noise: bool, device: torch.device = _CPU
) -> tuple[np.ndarray, np.ndarray]:
    """Seconds a step of ours and of theirs, (repeats,) each, alternating after two rounds of warm-up."""
    x, constant = (torch.randn(BATCH, *size, device=device) for _ in range(2))
    images, stopwatch = torch.arange(BATCH, device=device), Stopwatch(device)
    ours = our_sample(pair, x, lambda: ImageNoise(0, images) if own_noise else lambda like: constant)
    theirs = their_sample(pair, x)
    with torch.inference_mode(), their_noise(pair, None if own_noise else constant):
        times = [(stopwatch.seconds(ours), stopwatch.seconds(theirs())) for _ in range(2 + repeats)]
    found = np.array(times[2:]) / STEPS
    return found[:, 0], found[:, 1]


def row(pair: Pair, size: str, repeats: int, *, own_noise: bool) -> str:
    """A line of the table."""
    ours, theirs = measure(pair, SIZES[size], repeats, own_noise=own_noise)
    low, high = np.quantile(ours / theirs, [0.25, 0.75])
    ratio = ours.min() / theirs.min()
    noise = "-" if not pair.draws else "own" if own_noise else "constant"
    cells = [f"`{pair.ours}`", pair.theirs.removesuffix("Scheduler"), size, noise]
    cells += [f"{1e6 * ours.min():.1f}", f"{1e6 * theirs.min():.1f}", f"{ratio:.3f}", f"{low:.3f} ... {high:.3f}"]
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="overhead a step of our samplers and of diffusers' schedulers")
    parser.add_argument("method", nargs="*", help="specifications to measure; all unless given")
    parser.add_argument("--size", choices=SIZES, action="append", help="of an image")
    parser.add_argument("--repeats", type=int, default=30)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print("| method | diffusers | image | noise | ours, us/step | theirs, us/step | ratio | spread |")
    print("|---|---|---|---|--:|--:|--:|---|")
    for size in given.size or SIZES:
        for pair in PAIRS:
            if given.method and pair.ours not in given.method:
                continue
            for own_noise in [False, True] if pair.draws else [False]:
                print(row(pair, size, given.repeats, own_noise=own_noise), flush=True)


if __name__ == "__main__":
    main()
