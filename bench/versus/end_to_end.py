"""From a loaded network to a score: a quality cell of ours, and the habit, beside the bare network evaluations of both.

A Frechet distance moves with the noise that its images were made of, by more than the two sides differ. So every round
has a seed of its own on both sides, and all scores are kept.
"""

import math
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from scipy.special import stdtrit

from bench.record import Record, RunFolder
from bench.timing.clock import Stopwatch
from bench.versus.baseline_pipeline import METRICS, Fidelity, generate
from bench.versus.ours import Ours
from bench.versus.pairs import Pair
from bench.versus.peers import Setting, make_peer
from bench.versus.sampling import pixels_apart
from bench.versus.turns import Ratio, Seconds, in_turns
from models.common.errors import UsageError
from models.networks.execution import arithmetic

NOTES = """\
Ratios are of the times of one round: median [quartiles] (95 % bootstrap interval of the median).
Habit: diffusers' pipeline, PNG files, and torch-fidelity on the folder, called in this process. Real images lie in \
its cache; the network is loaded.
Frechet distances: mean over the rounds (standard error in brackets). Every round has another seed, the same in all \
modes and on both sides, which have noise of their own.
Theirs - ours: mean difference of the distances of one round, and half its paired interval (Student's t, at 5 % over \
the number of modes, so that 95 % hold for all of them); one that holds 0 tells no difference.
Pixels apart: root mean square difference between the images of both from the same noise, in grey levels of 255.
In 16 bits the network is cast, on both sides; noise, state and steps stay float32, as they do not in a pipeline \
loaded with torch_dtype."""

Scores = dict[str, list[float]]
"""By metric, a value a round."""


@dataclass(frozen=True)
class EndToEnd:
    """A quality cell in one mode.

    Attributes:
        sampler, peer: ours, and the pipeline or scheduler of diffusers.
        mode: of the network, on both sides.
        images: generated and scored.
        workers: whether torch-fidelity read the files with worker processes, the faster way here.
        seconds: by round, of `ours` (all of a cell), of the network evaluations in it alone (`bare`), and of the
            habit's parts: `generation`, `png`, `metrics`, and all three (`habit`).
        scores: ours, by column and round.
        habit_scores: torch-fidelity's, by metric and round; of other images, from torch's generator.
        apart: of both sides' images from the same noise, see `bench.versus.sampling.Sampling`.
    """

    sampler: str
    peer: str
    mode: str
    images: int
    workers: bool
    seconds: Seconds
    scores: Scores
    habit_scores: Scores
    apart: float | None

    @property
    def ratios(self) -> dict[str, Ratio]:
        """The habit to ours, and both to the bare network."""
        ours, habit, bare = (self.seconds[part] for part in ("ours", "habit", "bare"))
        return {
            "habit_to_ours": Ratio.of(habit, ours),
            "ours_to_bare": Ratio.of(ours, bare),
            "habit_to_bare": Ratio.of(habit, bare),
        }

    def row(self, first: "EndToEnd", modes: int = 1) -> dict[str, str]:
        """Of the table of so many modes, whose first is also what the habit of the others is compared with."""
        ratios, theirs = self.ratios, self.habit_scores.get("frechet_inception_distance", [])
        ours = next((values for name, values in self.scores.items() if name.startswith(("fd_", "fid"))), [])
        parts = {"Ours": "ours", "Habit": "habit", "Pipeline": "generation", "PNG files": "png", "Metrics": "metrics"}
        return {
            "Sampler": f"`{self.sampler}`",
            "Mode": self.mode,
            **{f"{name}, s": f"{statistics.median(self.seconds[part]):.4g}" for name, part in parts.items()},
            "Habit / ours": str(ratios["habit_to_ours"]),
            f"Habit in {first.mode} / ours": str(Ratio.of(first.seconds["habit"], self.seconds["ours"])),
            "Ours / bare": str(ratios["ours_to_bare"]),
            "Habit / bare": str(ratios["habit_to_bare"]),
            "Frechet distance, ours": _mean(ours),
            "theirs": _mean(theirs),
            "Theirs - ours": _paired(theirs, ours, modes),
            "Pixels apart": "-" if self.apart is None else f"{self.apart:.2g}",
        }


def _mean(values: Sequence[float]) -> str:
    """The mean over the rounds, and its standard error where there is one."""
    if len(values) < 2:
        return f"{values[0]:.3f}" if values else "-"
    return f"{statistics.mean(values):.3f} ({statistics.stdev(values) / math.sqrt(len(values)):.3f})"


def _paired(a: Sequence[float], b: Sequence[float], tests: int) -> str:
    """The mean of a - b over the rounds, and half its interval, at 5 % over so many tests, where there is one."""
    differences = [one - other for one, other in zip(a, b, strict=True)]
    if len(differences) < 2:
        return f"{differences[0]:+.3f}" if differences else "-"
    half = float(stdtrit(len(differences) - 1, 1 - 0.025 / tests)) * statistics.stdev(differences)
    return f"{statistics.mean(differences):+.3f} ± {half / math.sqrt(len(differences)):.3f}"


@dataclass
class _Side:
    """The contestants of one mode; `scores` and `habit_scores` are of every call, the warm-up first."""

    ours: Ours
    pair: Pair
    setting: Setting
    images: int
    workspace: Path
    scores: Scores = field(default_factory=dict)
    habit_scores: Scores = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.peer = make_peer(self.pair, self.ours.cell.model, self.setting)
        self.ours, self.mode = self.ours.like(self.peer), self.ours.cell.mode
        self.stopwatch = Stopwatch(self.setting.device)
        session = self.ours.session
        if session.extractor is None or session.reference is None:
            raise UsageError(f"versus --end-to-end needs one of the metrics {', '.join(METRICS)}")
        metrics = [metric for metric in session.study.metrics if metric in METRICS]
        cache, device = self.workspace / "cache", self.setting.device
        self.fidelity = Fidelity(session.extractor, session.reference, metrics, device, self.images, cache)
        self.runs = RunFolder(self.workspace / f"run-{self.mode}")
        self.runs.create()

    def contestants(self) -> list[Callable[[int], dict[str, float]]]:
        """Each measures its times in a round, under names that tell the mode."""

        def timed(part: Callable[[int], dict[str, float]], turn: int) -> dict[str, float]:
            return {f"{name} {self.mode}": seconds for name, seconds in part(turn).items()}

        return [partial(timed, part) for part in (self._cell, self._habit, self._bare)]

    def _cell(self, turn: int) -> dict[str, float]:
        """Ours: a cell, to its record."""
        record, ours = Record(), self.ours.seeded(turn)
        with arithmetic(self.mode.precision):
            seconds = self.stopwatch.seconds(lambda: record.update(ours.measured(self.runs)))
        self._evaluations = round(record["nfe"])
        names = ("fid", "fd_", "kid_mean", "precision", "recall")
        found = {name: value for name, value in record.items() if name.startswith(names) and isinstance(value, float)}
        _keep(self.scores, found)
        return {"ours": seconds}

    def _bare(self, _: int) -> dict[str, float]:
        """The network evaluations of as many images, in batches of the same sizes."""
        full, rest = divmod(self.images, self.setting.batch)
        sizes = [self.setting.batch] * full + ([rest] if rest else [])
        calls = [self.ours.bare(size, self._evaluations) for size in sizes]
        with arithmetic(self.mode.precision):
            return {"bare": self.stopwatch.seconds(lambda: [call() for call in calls])}

    def _habit(self, turn: int) -> dict[str, float]:
        """The habit, by parts."""
        with tempfile.TemporaryDirectory(dir=self.workspace) as name:
            with arithmetic(self.mode.precision):
                seconds = generate(self.peer, Path(name), self.images, self.setting, turn)
            if not self.habit_scores:  # the warm-up
                self.fidelity.choose_workers(Path(name))
            found = self.fidelity(Path(name))
        _keep(self.habit_scores, found.scores)
        seconds["metrics"] = found.seconds
        return seconds | {"habit": sum(seconds.values())}

    def result(self, seconds: Seconds) -> EndToEnd:
        """What was measured, without the warm-up."""
        with arithmetic(self.mode.precision):
            apart = pixels_apart(self.ours, self.peer, self.setting)
        ending = f" {self.mode}"
        return EndToEnd(
            sampler=self.pair.ours,
            peer=self.peer.name,
            mode=str(self.mode),
            images=self.images,
            workers=self.fidelity.workers,
            seconds={name.removesuffix(ending): times for name, times in seconds.items() if name.endswith(ending)},
            scores={name: values[1:] for name, values in self.scores.items()},
            habit_scores={name: values[1:] for name, values in self.habit_scores.items()},
            apart=apart,
        )


def _keep(scores: Scores, found: Mapping[str, float]) -> None:
    for name, value in found.items():
        scores.setdefault(name, []).append(value)


def compare(
    cells: list[Ours], pair: Pair, setting: Setting, images: int, rounds: int, advanced: Callable[[], None]
) -> list[EndToEnd]:
    """Time the quality cells of a pair, one a mode, in so many rounds; a whole round is left out before.

    Raises:
        UsageError: a model that diffusers cannot sample, or what torch-fidelity cannot be given.
    """
    with tempfile.TemporaryDirectory(prefix="versus-") as name, torch.inference_mode():
        sides = [_Side(ours, pair, setting, images, Path(name)) for ours in cells]
        parts = [part for side in sides for part in side.contestants()]
        for part in parts:
            part(0)
        seconds = in_turns({str(number): part for number, part in enumerate(parts)}, rounds, advanced)
        return [side.result(seconds) for side in sides]
