"""What `run_bench.py versus` does: progress on stderr, the table on stdout, every raw time in a file."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime

import pandas as pd

from bench.environment import describe, pick_device
from bench.escape import terminal_text
from bench.outputs import RESULTS, make_room
from bench.progress import bar
from bench.sealed_json import write_json
from bench.study.fields import LEAST_IMAGES, MOST_BATCH, MOST_IMAGES, MOST_REPEATS, MOST_STEPS, TOO_FEW
from bench.study.metrics import Metric
from bench.versus import end_to_end, sampling
from bench.versus.baseline_pipeline import METRICS
from bench.versus.options import VersusOptions
from bench.versus.ours import Ours
from bench.versus.pairs import Pair, pairs_of
from bench.versus.peers import Setting
from bench.versus.turns import Ratio
from models.common.errors import UsageError
from models.networks.modes import Mode, parse_mode
from models.plugins.specs import split_outside_brackets

SCHEMA = 3
_IMAGES = 5000
_RANGES = (
    ("steps", 1, MOST_STEPS, ""),
    ("batch", 1, MOST_BATCH, ""),
    ("repeats", 1, MOST_REPEATS, ""),
    ("images", LEAST_IMAGES, MOST_IMAGES, f": {TOO_FEW}"),
)


def versus(options: VersusOptions) -> int:
    """Measure, print and write; the exit status.

    Raises:
        UsageError: numbers out of range, a sampler without a counterpart, a model that diffusers cannot sample.
    """
    metrics = _checked(options)
    pairs = [pair for sampler in split_outside_brackets(options.samplers) for pair in pairs_of(sampler)]
    setting = Setting(options.steps, options.batch, pick_device(options.device))
    modes = list(dict.fromkeys(map(parse_mode, options.modes.split(","))))
    out = options.out or RESULTS / ("versus-end-to-end.json" if options.end_to_end else "versus.json")
    make_room(out)
    started = {"started": datetime.now(UTC).isoformat(timespec="seconds"), "load_average_1min": os.getloadavg()[0]}
    with _progress(3 * options.repeats * len(modes) * (1 if options.end_to_end else len(pairs))) as advanced:
        if options.end_to_end:
            images, pair = options.images or _IMAGES, pairs[0]
            cells = [Ours.load(options.model, [pair.ours], mode, setting, metrics, images)[0] for mode in modes]
            cells[0].session.warm_up()
            whole = end_to_end.compare(cells, pair, setting, images, options.repeats, advanced)
            kind, notes, rows = "end_to_end", end_to_end.NOTES, [each.row(whole[0], len(whole)) for each in whole]
            content = [asdict(each) | {"ratios": _plain(each.ratios)} for each in whole]
        else:
            found = [each for mode in modes for each in _sampling(options, mode, pairs, setting, advanced)]
            kind, notes, rows = "sampling", sampling.NOTES, [each.row(options.batch) for each in found]
            content = [asdict(each) | {"ratios": _plain(each.ratios)} for each in found]
    about = {"schema": SCHEMA, "options": asdict(options) | {"out": str(out)}} | started
    write_json(out, about | {kind: content, "environment": describe(setting.device)})
    table = pd.DataFrame(rows, dtype=object).to_markdown(index=False, disable_numparse=True)
    print(terminal_text(f"{table}\n\n{notes}\n\n{out}"))
    return 0


def _plain(ratios: dict[str, Ratio]) -> dict[str, dict[str, float]]:
    return {name: asdict(ratio) for name, ratio in ratios.items()}


def _sampling(
    options: VersusOptions, mode: Mode, pairs: list[Pair], setting: Setting, advanced: Callable[[], None]
) -> list[sampling.Sampling]:
    names, images = [pair.ours for pair in pairs], max(LEAST_IMAGES, setting.batch)
    cells = Ours.load(options.model, names, mode, setting, ["solver_error"], images)
    cells[0].session.warm_up()
    return [
        sampling.compare(ours, pair, setting, options.repeats, advanced)
        for ours, pair in zip(cells, pairs, strict=True)
    ]


@contextmanager
def _progress(calls: int) -> Iterator[Callable[[], None]]:
    with bar() as shown:
        task = shown.add_task("versus", total=calls)
        yield lambda: shown.update(task, advance=1, refresh=True)


def _checked(options: VersusOptions) -> list[Metric]:
    """The metrics; UsageError for what cannot be measured."""
    if not options.end_to_end and (options.images is not None or options.metrics is not None):
        raise UsageError("--images and --metrics are of quality cells: give them together with --end-to-end")
    for name, least, most, why in _RANGES:
        given = getattr(options, name)
        if given is not None and not least <= given <= most:
            raise UsageError(f"--{name} {given}: expected {least} ... {most:,}{why if given < least else ''}")
    metrics = (options.metrics or "fd").split(",")
    if any(metric not in METRICS for metric in metrics):
        raise UsageError(f"--metrics {options.metrics}: expected some of {', '.join(METRICS)}")
    return [metric for metric in METRICS if metric in metrics]
