"""The command that finds out how a network is evaluated fastest on this machine."""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from bench.cli.options import load_plugins
from bench.escape import terminal_text
from models.common.errors import UsageError

if TYPE_CHECKING:
    import torch

    from bench.timing.tuning import Trial
    from models.networks.modes import Mode


def tune(
    model: str = "digits",
    /,
    *,
    device: str = "auto",
    batches: tuple[int, ...] = (1, 64, 256),
    modes: str | None = None,
    threads: list[int] | None = None,
    seconds: float = 2.0,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
    plugin: list[Path] | None = None,
) -> int:
    """Measure how a network is evaluated fastest here: threads of the CPU, memory format, batch size.

    Prints every combination, and the options of `run` that take the fastest. The default is kept unless another is at
    least 3 % faster and the 95 % intervals of their medians do not overlap.

    Args:
        model: Embedded model, model folder, or hf:owner/name.
        device: auto, cpu, cuda, cuda:1, ...
        batches: Images at a time.
        modes: Such as "fp32,bf16,fp32+compile", the default first; fastest is said for each precision (default: fp32,
            fp32+channels_last). Each batch size of a compiled one takes a compilation.
        threads: Of the CPU, the default first (default: as many as torch takes, one, half and all cores).
        seconds: Of evaluations for each combination.
        as_json: As JSON on stdout, with all raw times.
        plugin: Python file that registers networks; may be given several times.
    """
    from bench.environment import pick_device, processor_name
    from bench.progress import bar
    from bench.study.study import MOST_BATCH
    from bench.timing.monitor import monitor_of, verdict
    from bench.timing.tuning import tune as measure

    load_plugins(plugin)
    found = pick_device(device)
    # unless told otherwise one takes the largest
    sizes = sorted(set(_positive("--batches", batches, MOST_BATCH)), reverse=True)
    counts = _threads(threads, found)
    tried = _modes(model, modes)
    if not 0 < seconds < math.inf:
        raise UsageError(f"--seconds {seconds}: expected a number above 0")
    monitor = monitor_of(found)
    monitor.start()
    with bar() as shown:
        task = shown.add_task(f"{len(tried) * len(counts) * len(sizes)} combinations", total=1.0)
        trials = measure(
            model,
            found,
            tried,
            sizes,
            counts,
            seconds,
            lambda share: shown.update(task, completed=share, refresh=True),
        )
    if disturbed := verdict([], [monitor.stop()], None if found.type == "cpu" else []):
        print(f"note: {terminal_text(disturbed)} meanwhile; measure again on an idle machine", file=sys.stderr)
    if not trials:
        raise UsageError(f"--batches {_joined(batches)}: not even the smallest fits into the memory; give smaller ones")
    chosen = _chosen(trials)
    if as_json:
        print(json.dumps(_content(model, processor_name(found), trials, chosen), indent=1))
    else:
        _show(model, processor_name(found), trials, chosen)
    return 0


def options(trial: "Trial") -> str:
    """The options of `run` that take a setting."""
    count = "" if trial.threads is None else f" --threads {trial.threads}"
    return f"--modes {trial.mode}{count} --batch {trial.batch}"


def _positive(option: str, given: Sequence[int], most: int) -> list[int]:
    if any(not 1 <= value <= most for value in given):
        raise UsageError(f"{option} {_joined(given)}: expected numbers, 1 ... {most:,}")
    return list(dict.fromkeys(given))


def _joined(given: Sequence[int]) -> str:
    return ",".join(map(str, given))


def _threads(given: list[int] | None, device: "torch.device") -> list[int | None]:
    """The numbers of threads to try; None where the CPU does not compute."""
    from bench.study.study import MOST_THREADS
    from bench.timing.host_load import allowed_processors
    from bench.timing.tuning import usual_threads

    if device.type != "cpu":
        if given is not None:
            raise UsageError(
                f"--threads {_joined(given)}: {device} computes, not the CPU; leave --threads out, or say --device cpu"
            )
        return [None]
    if given is None:
        return list(usual_threads())
    found, processors = _positive("--threads", given, MOST_THREADS), len(allowed_processors())
    if max(found) > processors:
        print(f"note: {max(found)} threads are more than the {processors} processors there are", file=sys.stderr)
    return list(found)


def _modes(model: str, text: str | None) -> list["Mode"]:
    from models.loading.sources import describe_model
    from models.networks.modes import Mode, parse_mode

    if text is None:
        exact = describe_model(model).is_exact  # a law in closed form has no memory format to choose
        return [Mode()] if exact else [Mode(), Mode(channels_last=True)]
    found = list(dict.fromkeys(map(parse_mode, text.split(","))))
    if graphs := [str(mode) for mode in found if mode.graph]:
        raise UsageError(
            f"--modes {text}: a graph captures complete `sample` calls, and here single evaluations are measured; "
            f"leave +graph out of {', '.join(graphs)}"
        )
    return found


def _chosen(trials: list["Trial"]) -> list[tuple["Trial", "Trial"]]:
    """For each precision the best of its trials, and the first of them, which is the default."""
    from bench.timing.tuning import best

    precisions = dict.fromkeys(trial.mode.precision for trial in trials)
    groups = [[trial for trial in trials if trial.mode.precision == precision] for precision in precisions]
    return [(best(group), group[0]) for group in groups]


def _show(model: str, device: str, trials: list["Trial"], chosen: list[tuple["Trial", "Trial"]]) -> None:
    from tabulate import tabulate

    winners = [winner for winner, _ in chosen]
    print(terminal_text(f"network evaluations of {model} on {device}"))
    headings = ["mode", "threads", "batch", "images x evaluations/s", "ms an evaluation", "95 %", "calls", "fastest"]
    rows = [_row(trial, trial in winners) for trial in trials]
    if all(trial.threads is None for trial in trials):
        headings, rows = headings[:1] + headings[2:], [row[:1] + row[2:] for row in rows]
    print(
        tabulate(
            rows, headings, tablefmt="pipe", disable_numparse=True, colalign=["left"] + ["right"] * (len(headings) - 1)
        )
    )
    for winner, default in chosen:
        gain = winner.evaluations_per_s / default.evaluations_per_s
        kept = (
            "the default is kept: nothing else is surely 3 % faster"
            if winner is default
            else (f"{gain:.2f} times as fast as the default ({options(default)})")
        )
        print(f"{winner.mode.precision}: {options(winner)}: {kept}")


def _row(trial: "Trial", wins: bool) -> list[str]:
    low, high = (1000.0 * value for value in trial.interval_s)
    times = [f"{1000.0 * trial.median_s:.3g}", f"{low:.3g} ... {high:.3g}", f"{len(trial.seconds):,}"]
    return [
        *(str(trial.mode), str(trial.threads), f"{trial.batch:,}"),
        *(f"{trial.evaluations_per_s:,.0f}", *times, "yes" if wins else ""),
    ]


def _content(model: str, device: str, trials: list["Trial"], chosen: list[tuple["Trial", "Trial"]]) -> dict[str, Any]:
    """All that is known, for JSON."""
    found = [
        {
            "mode": str(trial.mode),
            "threads": trial.threads,
            "batch": trial.batch,
            "evaluations_per_s": trial.evaluations_per_s,
            "evaluation_s_median": trial.median_s,
            "evaluation_s_ci_low": trial.interval_s[0],
            "evaluation_s_ci_high": trial.interval_s[1],
            "first_s": trial.first_s,
            "evaluation_s": list(trial.seconds),
        }
        for trial in trials
    ]
    return {
        "model": model,
        "device_name": device,
        "trials": found,
        "chosen": {winner.mode.precision: options(winner) for winner, _ in chosen},
    }
