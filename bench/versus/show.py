"""What `versus` found, as Markdown tables and as JSON."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from bench.versus.end_to_end import EndToEnd
from bench.versus.ratios import Ratio
from bench.versus.sampling import BARE, OURS, THEIRS, Sampling

NOTES = (
    "Ratios are of the times of one round: median [quartiles] (95 % bootstrap interval of the median).",
    "Above 1 in a column 'diffusers / ours' or 'habit / ours', ours takes less time.",
    "Each as it is used: a pipeline places its steps in every call, ours are placed once for a study.",
    "Bare: as many evaluations of the network alone as ours makes.",
    "Pixels apart: root mean square difference between the images of both from the same noise, in grey levels of 255: "
    "whether the same was computed. Only samplers that draw no more noise can be compared so.",
)
HABIT_NOTES = (
    "Habit: diffusers' pipeline, PNG files, and torch-fidelity on the folder, as its command and as a function called "
    "in this process; ratios are to the better of the two. Real images lie in its cache; the network is loaded.",
    "Frechet distances: mean over the rounds (standard error in brackets). Every round has another seed, the same in "
    "all modes; the two sides have noise of their own, so that a difference of few standard errors is one of noise.",
    "Pixels apart: root mean square difference between the images of both from the same noise, in grey levels of 255.",
    "In 16 bits the network is cast, on both sides; noise, state and steps stay float32, as they do not in a pipeline "
    "loaded with torch_dtype.",
)


def markdown(found: Sequence[Sampling], whole: Sequence[EndToEnd], batch: int) -> str:
    """The tables with their notes."""
    parts = []
    if found:
        parts += [_table([_sampling_row(each, batch) for each in found]), "\n".join(NOTES)]
    if whole:
        plain = whole[0].habit
        parts += [_table([_ratio_row(each, plain, whole[0].mode) for each in whole])]
        parts += [_table([_parts_row(each) for each in whole]), "\n".join(HABIT_NOTES)]
    return "\n\n".join(parts)


def content(found: Sequence[Sampling], whole: Sequence[EndToEnd], about: Mapping[str, Any]) -> dict[str, Any]:
    """All of it, ready for JSON: every raw time in seconds, the ratios, and what it was measured on."""
    return {
        **about,
        "sampling": [asdict(each) | {"ratios": _plain(sampling_ratios(each))} for each in found],
        "end_to_end": [asdict(each) | {"ratios": _plain(whole_ratios(each, whole[0].habit))} for each in whole],
    }


def sampling_ratios(found: Sampling) -> dict[str, Ratio]:
    """diffusers to ours in all and an evaluation, and both to the bare network."""
    ours, theirs, bare = (found.seconds[name] for name in (OURS, THEIRS, BARE))
    more = found.evaluations / found.peer_evaluations
    return {
        "diffusers_to_ours": Ratio.of(theirs, ours),
        "diffusers_to_ours_per_evaluation": Ratio.of(theirs, ours, more),
        "ours_to_bare": Ratio.of(ours, bare),
        "diffusers_to_bare": Ratio.of(theirs, bare, more),
    }


def whole_ratios(found: EndToEnd, plain: Sequence[float]) -> dict[str, Ratio]:
    """The habit to ours in the same mode and in the first one, and both to the bare network."""
    ours, bare = found.seconds["ours"], found.seconds["bare"]
    return {
        "habit_to_ours": Ratio.of(found.habit, ours),
        "first_habit_to_ours": Ratio.of(plain, ours),
        "ours_to_bare": Ratio.of(ours, bare),
        "habit_to_bare": Ratio.of(found.habit, bare),
    }


def _sampling_row(found: Sampling, batch: int) -> dict[str, str]:
    ratios = sampling_ratios(found)
    same = found.evaluations == found.peer_evaluations
    mode = found.mode if found.captured is not False else f"{found.mode} (not captured)"
    counts = f"{found.evaluations:g}" if same else f"{found.evaluations:g} / {found.peer_evaluations}"
    return {
        "Sampler": f"`{found.sampler}`",
        "diffusers": found.peer,
        "Mode": mode,
        "Evaluations": counts,
        "Ours, ms/image": _milliseconds(found.seconds[OURS], batch),
        "diffusers, ms/image": _milliseconds(found.seconds[THEIRS], batch),
        "diffusers / ours": str(ratios["diffusers_to_ours"]),
        "an evaluation of each": f"{ratios['diffusers_to_ours_per_evaluation'].median:.3f}",
        "Ours / bare": str(ratios["ours_to_bare"]),
        "diffusers / bare": str(ratios["diffusers_to_bare"]),
        "Pixels apart": "-" if found.apart is None else f"{found.apart:.2g}",
    }


def _ratio_row(found: EndToEnd, plain: Sequence[float], first: str) -> dict[str, str]:
    ratios = whole_ratios(found, plain)
    return {
        "Sampler": f"`{found.sampler}`",
        "Mode": found.mode,
        "Ours, s": _seconds(found.seconds["ours"]),
        "Habit, s": _seconds(found.habit),
        "Habit / ours": str(ratios["habit_to_ours"]),
        f"Habit in {first} / ours": str(ratios["first_habit_to_ours"]),
        "Ours / bare": str(ratios["ours_to_bare"]),
        "Habit / bare": str(ratios["habit_to_bare"]),
    }


def _parts_row(found: EndToEnd) -> dict[str, str]:
    ours = next((values for name, values in found.scores.items() if name.startswith(("fd_", "fid"))), [])
    theirs = found.command_scores.get("frechet_inception_distance", [])
    return {
        "Mode": found.mode,
        "Pipeline, s": _seconds(found.seconds["generation"]),
        "PNG files, s": _seconds(found.seconds["png"]),
        "`fidelity` command, s": _seconds(found.seconds["command"]),
        "of that to start, s": _seconds(found.seconds["start"]),
        "or as a function, s": _seconds(found.seconds["in_process"]),
        "Frechet distance, ours": _score(ours),
        "theirs": _score(theirs),
        "Pixels apart": "-" if found.apart is None else f"{found.apart:.2g}",
    }


def _milliseconds(seconds: Sequence[float], batch: int) -> str:
    return f"{1000.0 * statistics.median(seconds) / batch:.4g}"


def _seconds(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.4g}"


def _score(values: Sequence[float]) -> str:
    """The mean over the rounds, and its standard error where there is one."""
    if len(values) < 2:
        return f"{values[0]:.3f}" if values else "-"
    return f"{statistics.mean(values):.3f} ({statistics.stdev(values) / math.sqrt(len(values)):.3f})"


def _plain(ratios: Mapping[str, Ratio]) -> dict[str, dict[str, float]]:
    return {name: asdict(ratio) for name, ratio in ratios.items()}


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    return pd.DataFrame(rows, dtype=object).to_markdown(index=False, disable_numparse=True)
