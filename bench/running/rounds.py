"""Timing: in interleaved rounds over all settings of a study, after their images are made.

A machine drifts: other processes come and go, a processor heats up. Each round times every setting once, in an order of
its own, so that whatever happens meets all of them alike, and a setting that is timed for long is no more exposed than
another. A round of a setting is one call or, of short ones, as many as fill its share of the time.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from bench.purity.unchanged import Impure, ProcessState, unchanged
from bench.quality.decoding import Decoding
from bench.quality.images import BadSamples
from bench.running.fit import Fits
from bench.running.resolve import Resolved
from bench.running.same_images import OtherImages, Scored
from bench.running.session import Session
from bench.running.trajectory import Trajectory, WrongCount
from bench.timing.capture import Graph
from bench.timing.clock import Stopwatch, Timed
from bench.timing.cost import Columns, Times, Work
from bench.timing.memory import Halving, release_cache
from bench.timing.monitor import Monitor, Watch
from models.common.words import counted
from models.networks.execution import arithmetic
from models.plugins.foreign import INTERRUPTIONS, told

_MOST = 50
"""Calls in a round of a setting: a median of more is no better known than the machine is steady."""

_ADAPTIVE = 0.05
"""By how much the evaluations of steps that nobody declares may differ from those of the same images when they were
made: what chooses its steps by their error may choose one more where round-off is another."""
_OTHER_BATCH = 0.5
"""The same at another batch size, which has other images."""


@dataclass
class Setting:
    """What is timed.

    Attributes:
        resolved: the cell whose record has the times: that of the first seed.
        columns: of that record.
        times: so far.
        failed: whether a call failed in this run; the next run goes on from the rounds that there are.
        preview: the file of its first images, to which those of timed calls are held; None: there is none.
    """

    resolved: Resolved
    columns: Columns
    times: Times
    failed: bool = False
    preview: Path | None = None

    def fail(self, reason: str) -> None:
        """Time it no more in this run, which its record says."""
        self.failed = True
        self.columns |= {"timing_valid": False, "timing_note": f"timing failed: {reason}"}

    def remark(self, *remarks: str) -> None:
        """Add to the note of its record what that does not say yet."""
        said = self.columns.get("note") or ""
        self.columns["note"] = "; ".join(filter(None, [said, *(each for each in remarks if each not in said)])) or None


class _Round(NamedTuple):
    """A round of a setting at one batch size: making ready, the timed calls, what else went on during these, and what
    the last of them gave.
    """

    ready: Timed
    calls: list[Timed]
    watch: Watch
    samples: Tensor


class Rounds:
    """Times settings.

    Args:
        session: what they run on.
        graphs: makes empty graphs, for modes that capture.
        monitor: watches the machine meanwhile.
        stopwatch: of the device.
        work: of a setting's evaluations.
        fits: what is fitted to models.
    """

    def __init__(
        self,
        session: Session,
        graphs: Callable[[], Graph],
        monitor: Monitor,
        stopwatch: Stopwatch,
        work: Callable[[Resolved], Work],
        fits: Fits,
    ) -> None:
        self._session, self._graphs, self._work, self._fits = session, graphs, work, fits
        self._monitor, self._stopwatch = monitor, stopwatch
        self._rule = session.study.timing

    def visit(self, setting: Setting) -> int:
        """A round of one setting; the images drawn. A failure ends its timing in this run and stands in its record."""
        try:
            with torch.inference_mode(), arithmetic(setting.resolved.mode.precision):
                images = self._main(setting)
                times = setting.times
                for batch in self._rule.batches:
                    if batch != times.batch and times.others.get(batch) != []:
                        images += self._other(setting, batch)
        except INTERRUPTIONS:
            raise
        except BaseException as error:  # whatever a sampler raises at the second try
            setting.fail(told(error))
            return 0
        times.rounds += 1
        setting.columns |= times.columns(setting.columns["nfe"], self._work(setting.resolved))
        return images

    def _main(self, setting: Setting) -> int:
        """A round at the main batch; where that does not fit into the memory any more, the first at the half of it."""
        fitting = Halving(setting.times.batch)
        found = fitting(partial(self._timed, setting))
        if fitting.halvings:
            setting.times = Times(fitting.size)  # all times of a setting are of one batch
            setting.remark(*fitting.remarks("it was timed with images"))
        setting.times.add(found.calls, found.watch, found.ready, self._decode_s(setting, found.samples))
        return fitting.size * len(found.calls)

    def _other(self, setting: Setting, batch: int) -> int:
        """A round at another batch size; one that does not fit into the memory, or fails, is left out from then on."""
        latencies = setting.times.others.setdefault(batch, [])
        try:
            calls = self._timed(setting, batch).calls
        except (WrongCount, OtherImages, BadSamples, Impure, *INTERRUPTIONS):
            raise
        except BaseException as error:
            latencies.clear()
            setting.columns["sweep_note"] = f"batch {batch}: {told(error)}"
            release_cache()
            return 0
        latencies += [call.seconds for call in calls]
        return batch * len(calls)

    def _timed(self, setting: Setting, batch: int) -> "_Round":
        graphs = self._graphs if setting.resolved.mode.graph else None
        together = setting.columns.get("guidance_batches") != 2  # as the images were made
        resolved, _ = self._fits(setting.resolved)
        trajectory = Trajectory(self._session, resolved, graphs, clocked=True, together=together)
        trajectory.compile(batch)
        scored = self._scored(setting)
        with unchanged(trajectory.sampler, ProcessState(), self._session.weights):
            return self._round(setting, trajectory, batch, scored)

    def _scored(self, setting: Setting) -> Scored | None:
        """What timed images are held to; None where nothing is left of those that were scored, which its note says."""
        if setting.preview is None:
            return None
        try:
            return Scored.of_preview(setting.resolved, setting.columns, setting.preview, self._session.device)
        except (OSError, ValueError, RuntimeError) as error:
            setting.remark(f"timed images were not compared with those that were scored ({told(error)})")
            return None

    def _round(self, setting: Setting, trajectory: Trajectory, batch: int, scored: Scored | None) -> "_Round":
        numbers = torch.arange(batch)
        ready = self._stopwatch.time(lambda: trajectory.prepare(numbers))
        if trajectory.captured != setting.columns.get("captured"):  # else replays and eager calls would be mixed
            raise RuntimeError(trajectory.refusal or "captured in a graph, as the images were not")
        start, calls, made = trajectory.start(numbers), list[Timed](), list[Tensor]()
        clocks = [] if trajectory.captured else trajectory.clocks
        share = self._rule.seconds / self._rule.repeats

        def call() -> Tensor:
            made.append(trajectory(start))
            return made[-1]

        self._monitor.start()
        while not calls or (sum(call.seconds for call in calls) < share and len(calls) < _MOST):
            before = trajectory.evaluations
            calls.append(self._stopwatch.time(call, clocks))
            require_count(setting, batch, (trajectory.evaluations - before) / batch)
            samples = made.pop()
            if scored is not None:
                scored.add(samples, batch)
        watch = self._monitor.stop()
        if scored is not None:
            scored.finish(f"in a timed call of {batch} images")
        trajectory.release()
        return _Round(ready, calls, watch, samples)

    def _decode_s(self, setting: Setting, samples: Tensor) -> float | None:
        """Seconds that so many latents take to be decoded as were when the images were made; None for images, or where
        it failed, which costs no time of sampling.
        """
        size = setting.columns.get("decode_batch")
        if size is None:
            return None
        decoding = Decoding(setting.resolved.model, size)
        # as many as that, whatever the batch that is timed
        latents = samples[torch.arange(size, device=samples.device) % len(samples)]
        try:
            decoding(latents)  # picks kernels
            return self._stopwatch.time(lambda: decoding(latents)).seconds
        except INTERRUPTIONS:
            raise
        except BaseException as error:
            setting.remark(f"decoding could not be timed ({told(error)})")
            return None


def in_rounds(
    settings: Sequence[Setting],
    rounds: int,
    visit: Callable[[Setting], int],
    done: Callable[[Setting, int], None],
    over: Callable[[], bool] = lambda: False,
) -> None:
    """Time each setting in as many rounds as it lacks.

    Args:
        settings: what is timed.
        rounds: that each is to have.
        visit: times one of them once, and gives the images drawn.
        done: told after each round of a setting, with the images it took.
        over: whether the time for it is up; then it ends.
    """
    for number in count():
        lacking = [each for each in settings if each.times.rounds < rounds and not each.failed]
        if not lacking:
            return
        waiting = [each for each in lacking if each.times.rounds <= number]
        random.Random(number).shuffle(waiting)
        for each in waiting:
            if over():
                return
            done(each, visit(each))


def timed_batch(record: Columns, otherwise: int) -> int:
    """Images that a setting is timed with: as many as were made at a time, or fewer where those did not fit later."""
    made = int(record.get("generation_batch") or otherwise)
    return min(made, record.get("timed_batch") or made)


def require_count(setting: Setting, batch: int, made: float) -> None:
    """WrongCount unless a timed call makes as many evaluations an image as its record has.

    Exactly as many where the sampler declares a number, since then it is that of every image.
    """
    nfe, first, slack = setting.columns["nfe"], setting.columns.get("nfe_first_batch"), 0.0
    if first is not None:
        then = setting.columns.get("generation_batch") or setting.times.batch
        nfe, slack = (first, _ADAPTIVE) if batch == then else (nfe, _OTHER_BATCH)
    if abs(made - nfe) > slack * nfe:
        raise WrongCount(
            f"{setting.resolved.cell.sampler} made {counted(made, 'evaluation')} an image in a timed call of {batch} "
            f"images, but {nfe:g} when the images were made"
        )
