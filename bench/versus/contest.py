"""What `run_bench.py versus` does: progress on stderr, the tables on stdout, every raw time in a file."""

import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rich.progress import Progress, TaskID
from rich.text import Text

from bench.environment import describe, pick_device
from bench.escape import terminal_text
from bench.outputs import make_room
from bench.progress import bar, errors
from bench.record import write_json
from bench.study.study import LEAST_IMAGES, MOST_BATCH, MOST_IMAGES, MOST_REPEATS, MOST_STEPS, TOO_FEW, Metric
from bench.versus import end_to_end, sampling
from bench.versus.baseline_pipeline import METRICS
from bench.versus.ours import Ours
from bench.versus.pairs import Pair, pairs_of
from bench.versus.peers import Setting
from bench.versus.show import content, markdown
from models.common.errors import UsageError
from models.networks.modes import parse_mode

SCHEMA = 2
_RANGES = (
    ("steps", 1, MOST_STEPS, ""),
    ("batch", 1, MOST_BATCH, ""),
    ("repeats", 1, MOST_REPEATS, ""),
    ("images", LEAST_IMAGES, MOST_IMAGES, f": {TOO_FEW}"),
)


@dataclass(frozen=True)
class VersusOptions:
    """What `run_bench.py versus` is told.

    Attributes:
        model: an embedded model's name, a folder, or hf:owner/name.
        samplers: with a counterpart in diffusers; end to end the first alone, with its first counterpart.
        steps: of every sample.
        batch: images at a time.
        repeats: timed rounds.
        device: auto, cpu, cuda, cuda:1, ...
        modes: of the network.
        end_to_end: whether whole quality cells are timed, instead of batches.
        images: of a quality cell.
        metrics: of a quality cell.
        out: JSON file.
    """

    model: str
    samplers: list[str]
    steps: int
    batch: int
    repeats: int
    device: str
    modes: list[str]
    end_to_end: bool
    images: int
    metrics: list[str]
    out: Path


def versus(options: VersusOptions) -> int:
    """Measure, print and write; the exit status.

    Raises:
        UsageError: numbers out of range, a sampler without a counterpart, a model that diffusers cannot sample.
    """
    metrics = _checked(options)
    pairs = [pair for sampler in options.samplers for pair in pairs_of(sampler)]
    setting = Setting(options.steps, options.batch, pick_device(options.device))
    make_room(options.out)
    started = {"started": datetime.now(UTC).isoformat(timespec="seconds"), "load_average_1min": os.getloadavg()[0]}
    found, whole = list[sampling.Sampling](), list[end_to_end.EndToEnd]()
    if options.end_to_end:
        whole = _end_to_end(options, pairs[0], setting, metrics)
    else:
        found = _sampling(options, pairs, setting)
    about = {"schema": SCHEMA, "options": asdict(options) | {"out": str(options.out)}} | started
    write_json(options.out, content(found, whole, about | {"environment": describe(setting.device)}))
    print(terminal_text(f"{markdown(found, whole, options.batch)}\n\n{options.out}"))
    return 0


def _sampling(options: VersusOptions, pairs: list[Pair], setting: Setting) -> list[sampling.Sampling]:
    found, names = [], [pair.ours for pair in pairs]
    modes = [parse_mode(mode) for mode in options.modes]
    with bar() as shown:
        task = shown.add_task("versus", total=3 * options.repeats * len(pairs) * len(modes))
        for mode in modes:
            cells = Ours.load(options.model, names, mode, setting, ["solver_error"], max(LEAST_IMAGES, setting.batch))
            cells[0].session.warm_up()
            for ours, pair in zip(cells, pairs, strict=True):
                shown.update(task, description=f"{pair.ours} and {pair.theirs}, {mode}", refresh=True)
                found.append(sampling.compare(ours, pair, setting, options.repeats, partial(_advance, shown, task)))
    return found


def _end_to_end(
    options: VersusOptions, pair: Pair, setting: Setting, metrics: list[Metric]
) -> list[end_to_end.EndToEnd]:
    modes = [parse_mode(mode) for mode in options.modes]
    with errors.status(Text(terminal_text(f"loading model {options.model!r} ..."))):
        cells = [Ours.load(options.model, [pair.ours], mode, setting, metrics, options.images)[0] for mode in modes]
    cells[0].session.warm_up()
    with bar() as shown:
        task = shown.add_task("end to end", total=3 * options.repeats * len(modes))
        advanced = partial(_advance, shown, task)
        return end_to_end.compare(cells, pair, setting, options.images, options.repeats, advanced)


def _advance(shown: Progress, task: TaskID) -> None:
    shown.update(task, advance=1, refresh=True)


def _checked(options: VersusOptions) -> list[Metric]:
    """The metrics; UsageError for what cannot be measured."""
    for name, least, most, why in _RANGES:
        if not least <= (given := getattr(options, name)) <= most:
            raise UsageError(f"--{name} {given}: expected {least} ... {most:,}{why if given < least else ''}")
    wrong = [metric for metric in options.metrics if metric not in METRICS]
    if wrong or not options.metrics:
        raise UsageError(f"--metrics {','.join(options.metrics)}: expected some of {', '.join(METRICS)}")
    return [metric for metric in METRICS if metric in options.metrics]
