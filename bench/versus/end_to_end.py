"""From a loaded network to a score: a quality cell of ours, and the habit, beside the bare network evaluations of both.

A Frechet distance moves with the noise that its images were made of, by more than the two sides differ: that of 5,000
digits in 20 steps with a standard deviation of 0.02 (seven sets of images) to 0.036 (bootstrap). So every round has a
seed of its own on both sides, and all scores are kept: one of each would compare two draws of noise.
"""

import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from bench.record import Record, RunFolder
from bench.timing.clock import Stopwatch
from bench.versus.baseline_pipeline import METRICS, Fidelity, generate
from bench.versus.ours import Ours
from bench.versus.pairs import Pair
from bench.versus.peers import Peer, Setting, make_peer
from bench.versus.ratios import Seconds, in_turns
from bench.versus.sampling import pixels_apart
from models.common.errors import UsageError
from models.networks.execution import arithmetic

_STARTS = 3
"""Rounds in which the start of the command's process is timed by itself, which no ratio depends on."""
Scores = dict[str, list[float]]
"""By metric, a value a round."""

_PARTS = ("ours", "bare", "generation", "png", "command", "start", "in_process")


@dataclass(frozen=True)
class EndToEnd:
    """A quality cell in one mode.

    Attributes:
        sampler, peer: ours, and the pipeline or scheduler of diffusers.
        mode: of the network, on both sides.
        images: generated and scored.
        workers: whether torch-fidelity read the files with worker processes, the faster way here.
        seconds: by round, of `ours` (all of a cell), of the network evaluations in it alone (`bare`), and of the
            habit's parts: `generation`, `png`, then `command` (of which `start` is what Python and torch take to start)
            or `in_process`, torch-fidelity called in a process that is running already.
        scores: ours, by column and round.
        command_scores, in_process_scores: torch-fidelity's, by metric and round; of other images, from torch's
            generator.
        apart: of both sides' images from the same noise, see `bench.versus.sampling.Sampling`.
    """

    sampler: str
    peer: str
    mode: str
    images: int
    workers: bool
    seconds: Seconds
    scores: Scores
    command_scores: Scores
    in_process_scores: Scores
    apart: float | None

    @property
    def by_command(self) -> list[float]:
        """The whole habit with the command line, by round."""
        return self._total("command")

    @property
    def by_function(self) -> list[float]:
        """The whole habit with torch-fidelity in this process, by round."""
        return self._total("in_process")

    @property
    def habit(self) -> list[float]:
        """The better of the two."""
        return min(self.by_command, self.by_function, key=statistics.median)

    def _total(self, last: str) -> list[float]:
        return [sum(each) for each in zip(*(self.seconds[part] for part in ("generation", "png", last)), strict=True)]


class _Side:
    """The contestants of one mode, and what they scored in every call, the warm-up first."""

    def __init__(self, ours: Ours, pair: Pair, setting: Setting, images: int, workspace: Path) -> None:
        self.setting, self._images, self.mode = setting, images, ours.cell.mode
        self.peer: Peer = make_peer(pair, ours.cell.model, setting)
        self.ours = ours.like(self.peer)
        self._workspace, self._stopwatch = workspace, Stopwatch(setting.device)
        extractor, reference = ours.session.extractor, ours.session.reference
        if extractor is None or reference is None:
            raise UsageError(f"versus --end-to-end needs one of the metrics {', '.join(METRICS)}")
        metrics = [metric for metric in ours.session.study.metrics if metric in METRICS]
        self.fidelity = Fidelity(extractor, reference, metrics, setting.device, images, workspace / "cache")
        self._runs = RunFolder(workspace / f"run-{self.mode}")
        self._runs.create()
        self._scores: dict[str, Scores] = {}

    def cell(self, turn: int) -> dict[str, float]:
        """Ours: a cell, to its record."""
        record, ours = Record(), self.ours.seeded(turn)
        with arithmetic(self.mode.precision):
            seconds = self._stopwatch.seconds(lambda: record.update(ours.measured(self._runs)))
        self._evaluations = round(record["nfe"])
        names = ("fid", "fd_", "kid_mean", "precision", "recall")
        values = {name: value for name, value in record.items() if name.startswith(names) and isinstance(value, float)}
        self._keep("ours", values)
        return {"ours": seconds}

    def bare(self, _: int) -> dict[str, float]:
        """The network evaluations of as many images, in batches of the same sizes."""
        full, rest = divmod(self._images, self.setting.batch)
        sizes = [self.setting.batch] * full + ([rest] if rest else [])
        calls = [self.ours.bare(size, self._evaluations) for size in sizes]
        with arithmetic(self.mode.precision):
            return {"bare": self._stopwatch.seconds(lambda: [call() for call in calls])}

    def habit(self, turn: int) -> dict[str, float]:
        """The habit, by parts, scored in both ways."""
        with tempfile.TemporaryDirectory(dir=self._workspace) as name:
            folder = Path(name)
            with arithmetic(self.mode.precision):
                seconds = generate(self.peer, folder, self._images, self.setting, turn)
            if "in_process" not in self._scores:  # the warm-up
                self.fidelity.choose_workers(folder)
            by_command, by_function = self.fidelity.command(folder), self.fidelity.in_process(folder)
            self._keep("command", by_command.scores)
            self._keep("in_process", by_function.scores)
        seconds |= {"command": by_command.seconds, "in_process": by_function.seconds}
        return seconds | ({"start": self.fidelity.start()} if turn < _STARTS else {})

    def _keep(self, side: str, scores: Mapping[str, float]) -> None:
        for name, value in scores.items():
            self._scores.setdefault(side, {}).setdefault(name, []).append(value)

    def result(self, pair: Pair, images: int, seconds: Seconds) -> EndToEnd:
        """What was measured, without the warm-up."""
        scores = {side: {name: values[1:] for name, values in named.items()} for side, named in self._scores.items()}
        with arithmetic(self.mode.precision):
            apart = pixels_apart(self.ours, self.peer, self.setting)
        return EndToEnd(
            sampler=pair.ours,
            peer=self.peer.name,
            mode=str(self.mode),
            images=images,
            workers=self.fidelity.workers,
            seconds=seconds,
            scores=scores["ours"],
            command_scores=scores["command"],
            in_process_scores=scores["in_process"],
            apart=apart,
        )


def compare(
    cells: list[Ours], pair: Pair, setting: Setting, images: int, rounds: int, advanced: Callable[[], None]
) -> list[EndToEnd]:
    """Time the quality cells of a pair, in every mode; a whole round is left out before.

    Args:
        cells: of the pair's sampler, one a mode, with metrics of `bench.versus.baseline_pipeline.METRICS`.
        pair: what is compared.
        setting: steps, batch and device.
        images: of a cell.
        rounds: timed runs of each.
        advanced: called after each.

    Raises:
        UsageError: a model that diffusers cannot sample, or what torch-fidelity cannot be given.
    """
    with tempfile.TemporaryDirectory(prefix="versus-") as name, torch.inference_mode():
        sides = [_Side(ours, pair, setting, images, Path(name)) for ours in cells]
        for side in sides:
            for part in (side.cell, side.habit, side.bare):
                part(0)
        contestants = {}
        for number, side in enumerate(sides):
            for part in (side.cell, side.habit, side.bare):
                contestants[f"{part.__name__} {number}"] = partial(_named, number, part)
        seconds = in_turns(contestants, rounds, advanced)
        return [side.result(pair, images, _of(number, seconds)) for number, side in enumerate(sides)]


def _named(number: int, part: Callable[[int], dict[str, float]], turn: int) -> dict[str, float]:
    """The times of a side's part, told apart from those of other sides."""
    return {f"{name} {number}": seconds for name, seconds in part(turn).items()}


def _of(number: int, seconds: Seconds) -> Seconds:
    """The times of one side, under their own names."""
    return {part: seconds[f"{part} {number}"] for part in _PARTS}
