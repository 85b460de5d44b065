"""Which number of threads, memory format and batch size evaluates a network fastest here: by measurement, not by habit.

Network evaluations alone are measured, the floor of every sampler. All settings take turns in shuffled rounds, so that
drift of the machine meets all alike.
"""

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

import psutil
import torch

from bench.timing.bootstrap import ENOUGH, median_interval
from bench.timing.clock import Clock, Stopwatch
from bench.timing.host_load import allowed_processors
from bench.timing.memory import is_out_of_memory, release_cache
from models.loading.zoo import Model, load_model
from models.networks.execution import arithmetic
from models.networks.modes import Mode

ROUNDS = 10
"""Turns that a setting's seconds are divided into."""
REPEATS = ENOUGH
"""The fewest evaluations of a setting."""
GAIN = 1.03
"""How many times as fast as the default another setting has to be: for less, nobody should leave what is usual."""


@dataclass(frozen=True)
class Trial:
    """What a setting's evaluations took.

    Attributes:
        mode: of the network.
        batch: images at a time.
        threads: of the CPU; None: as many as torch takes.
        first_s: seconds of the first evaluation: compilation, and the choice of kernels.
        seconds: of every other one.
    """

    mode: Mode
    batch: int
    threads: int | None
    first_s: float
    seconds: tuple[float, ...]

    @cached_property
    def median_s(self) -> float:
        """Seconds of an evaluation of a batch."""
        return statistics.median(self.seconds)

    @cached_property
    def interval_s(self) -> tuple[float, float]:
        """95 % bootstrap interval of that median."""
        return median_interval(self.seconds)

    @property
    def evaluations_per_s(self) -> float:
        """Images times evaluations a second."""
        return self.batch / self.median_s

    def surely_faster_than(self, other: "Trial") -> bool:
        """Whether it makes at least `GAIN` times as many, and that no chance: the intervals do not overlap."""
        slowest, fastest = self.batch / self.interval_s[1], other.batch / other.interval_s[0]
        return self.evaluations_per_s >= GAIN * other.evaluations_per_s and slowest > fastest


@dataclass
class _Setting:
    """A trial in the making."""

    mode: Mode
    batch: int
    threads: int | None
    evaluate: Callable[[], object]
    first_s: float = 0.0
    seconds: list[float] = field(default_factory=list)

    def take_threads(self) -> None:
        if self.threads is not None:
            torch.set_num_threads(self.threads)

    def trial(self) -> Trial:
        return Trial(self.mode, self.batch, self.threads, self.first_s, tuple(self.seconds))


def tune(
    model_spec: str,
    device: torch.device,
    modes: Sequence[Mode],
    batches: Sequence[int],
    threads: Sequence[int | None],
    seconds: float,
    advanced: Callable[[float], None] = lambda share: None,
    clock: Clock = time.perf_counter,
) -> list[Trial]:
    """Measure network evaluations in every combination of modes, threads and batch sizes.

    The number of threads is what it was before, in the end. A batch that does not fit into the memory has no trial.

    Args:
        model_spec: as `models.loading.zoo.load_model` takes it.
        device: that computes.
        modes: to be tried; a graph captures whole `sample` calls, so it makes no difference to an evaluation.
        batches: images at a time.
        threads: of the CPU; None: as many as torch has now.
        seconds: of evaluations of each combination, at least, and at least `REPEATS` of them.
        advanced: told the part of the work that is done, between timed calls.
        clock: seconds.

    Returns:
        A trial for each combination, in the order of their product, modes first, batches last.

    Raises:
        UsageError: no such model, or a mode that the model or the device does not have.
    """
    models = {mode: load_model(model_spec, device, mode=mode) for mode in dict.fromkeys(modes)}
    before, stopwatch = torch.get_num_threads(), Stopwatch(device, clock)
    settings = [
        _Setting(mode, batch, count, _evaluation(models[mode], batch, device))
        for mode, count, batch in product(modes, threads, batches)
    ]
    try:
        with torch.inference_mode():
            fitting = [each for each in settings if _first(each, stopwatch)]
            _rounds(fitting, stopwatch, seconds, advanced)
    finally:
        torch.set_num_threads(before)
    return [each.trial() for each in fitting]


def usual_threads() -> list[int]:
    """Numbers of threads worth a try: what torch takes by itself, then one, half and all of the physical cores."""
    cores = min(psutil.cpu_count(logical=False) or psutil.cpu_count() or 1, len(allowed_processors()))
    return list(dict.fromkeys([torch.get_num_threads(), 1, max(1, cores // 2), cores]))


def best(trials: Sequence[Trial]) -> Trial:
    """The fastest trial, by images times evaluations a second, if it surely is faster than the first; else the first.

    Args:
        trials: the first is what one would take unless told otherwise.
    """
    return max((each for each in trials if each.surely_faster_than(trials[0])), key=_rate, default=trials[0])


def _rate(trial: Trial) -> float:
    return trial.evaluations_per_s


def _evaluation(model: Model, batch: int, device: torch.device) -> Callable[[], object]:
    """One evaluation of a batch of noise, half-way through the schedule."""
    shape, level = (batch, *model.card.state_shape), model.schedule.level(0.5)
    classes = model.card.classes

    def evaluate() -> object:
        return model.network(state, level, *labels)

    state = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
    labels = () if classes is None else (torch.zeros(batch, dtype=torch.int64, device=device),)
    return evaluate


def _first(setting: _Setting, stopwatch: Stopwatch) -> bool:
    """Make the first evaluation; whether there is memory for it."""
    setting.take_threads()
    try:
        with arithmetic(setting.mode.precision):
            setting.first_s = stopwatch.seconds(setting.evaluate)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    else:
        return True
    release_cache()
    return False


def _rounds(
    settings: Sequence[_Setting], stopwatch: Stopwatch, seconds: float, advanced: Callable[[float], None]
) -> None:
    """Let all unfinished settings take turns, in a new order each round, until none is left."""
    order = random.Random(0)
    waiting = list(settings)
    while waiting:
        order.shuffle(waiting)
        for each in waiting:
            _turn(each, stopwatch, seconds / ROUNDS)
            advanced(sum(_done(other, seconds) for other in settings) / len(settings))
        waiting = [each for each in waiting if _done(each, seconds) < 1.0]


def _done(setting: _Setting, seconds: float) -> float:
    """The part of a setting's evaluations that is made, 0 ... 1."""
    enough = sum(setting.seconds) / seconds if seconds > 0 else 1.0
    return min(1.0, enough, len(setting.seconds) / REPEATS)


def _turn(setting: _Setting, stopwatch: Stopwatch, seconds: float) -> None:
    """Evaluations for so many seconds, one at least, after one that is not timed: threads start, caches fill."""
    setting.take_threads()
    with arithmetic(setting.mode.precision):
        setting.evaluate()
        spent = 0.0
        while True:
            setting.seconds.append(stopwatch.seconds(setting.evaluate))
            spent += setting.seconds[-1]
            if spent >= seconds:
                return
