"""What a worker does: pieces of a study, in a process of its own, with models that it has loaded itself.

It is told of a cell what it is and what determines it, and refuses where it would measure something else: with another
file, package, device or line of code. What comes and goes is plain words and tensors as bytes, and nothing is written
but into a folder of its own.
"""

import json
import os
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from pydantic import ValidationError

from bench.environment import describe
from bench.model_record import Look
from bench.purity.plugins import load_plugins, loaded
from bench.purity.process import left_running
from bench.purity.unchanged import put_back
from bench.record import Record, cell_id
from bench.running.executors.messages import About, Files, Job, Order, PackedFound, Reply, Timed
from bench.running.first_look import looked
from bench.running.measuring import Failure, Found, Measuring
from bench.running.part import Packed, Part, packed, unpacked
from bench.running.resolve import Resolved, resolve
from bench.running.rounds import Rounds, Setting, timed_batch
from bench.running.session import PLAIN, Session
from bench.running.stages import expected_evaluations
from bench.running.study_flops import StudyFlops
from bench.study.study import Study
from bench.timing.capture import graphs_on
from bench.timing.clock import Stopwatch
from bench.timing.cost import Times
from bench.timing.monitor import monitor_of
from models.common.errors import UsageError
from models.networks.execution import arithmetic
from models.plugins.foreign import INTERRUPTIONS

_PREVIEW = "preview.png"


class Worker:
    """A session, and what is measured with it.

    Args:
        order: what it works on.

    Raises:
        UsageError: something is missing here, or damaged.
    """

    def __init__(self, order: Order) -> None:
        load_plugins(file for file, _ in order.plugins)
        if apart := [file for file, sha256 in order.plugins if loaded()[Path(file).resolve()] != sha256]:
            raise UsageError(f"plugin {apart[0]!r} on {socket.gethostname()} is another file than here")
        study = _study(order).model_copy(update={"device": order.device})
        self._resolved, self._known = dict[str, Resolved](), set[str]()
        self._session = replace(Session.load(study, order.batch), save_images=order.save_images)
        self._session.settle()
        self._folder = tempfile.TemporaryDirectory(prefix=f"sampler-bench-{os.getpid()}-")
        self._path = Path(self._folder.name)
        folders = self._path / "solutions", self._path / "fits"
        self._measuring = Measuring(self._session, *folders, order.place)

    def leave(self) -> None:
        """Before the process is ended: what it has written goes with it."""
        self._folder.cleanup()

    def about(self) -> About:
        """What it is."""
        device = self._session.device
        return About(socket.gethostname(), describe(device) | {"device": device.type}, self._session.batch)

    def require_same(self, jobs: Sequence[Job]) -> None:
        """UsageError if some cells would be others here."""
        for job in jobs:
            self._cell(job)

    def evaluations(self, jobs: Sequence[Job]) -> list[int]:
        """Evaluations an image that some cells will take."""
        with put_back("a sampler that was asked for its evaluations"):
            return [expected_evaluations(self._cell(job)) for job in jobs]

    def look(self, given: str | None, before: str) -> tuple[str, list[str]]:
        """What is to be known of the models, given what was, as JSON; and what to tell. The study was called so."""
        said, session = list[str](), replace(self._session, given=given)
        return looked(session, Look.model_validate_json(before), said.append).model_dump_json(), said

    def get_ready(self) -> None:
        """Before anything is timed: once."""
        _ = self._rounds

    def rate(self) -> float:
        """Seconds of an evaluation of one image."""
        return self._session.rate(self._session.plainest, 0.5).seconds

    def work_out(self, job: Job, files: Files, fit: str | None) -> Reply:
        """What a cell needs and others share; nothing if that fails.

        Args:
            job: the cell.
            files: that it may need.
            fit: the name of the file of what is to be fitted; None: the exact flow is wanted.
        """
        self._take(files)
        resolved = self._cell(job)
        try:
            with torch.inference_mode():
                if fit is not None:
                    self._measuring.fits.of(resolved, last=fit)
                elif (problem := self._measuring.cells.problem(resolved)) is not None:
                    with arithmetic(PLAIN.precision):
                        self._measuring.solutions.of(problem)
        except INTERRUPTIONS:
            raise
        except BaseException:  # its cells will say why
            pass
        return Reply(None, None, None, self._made(), left_running())

    def measure(
        self, job: Job, images: range | None, parts: Sequence[Packed], files: Files, score: bool, keep: bool
    ) -> Reply:
        """Make images of a cell, or score all of them, or both.

        Args:
            job: the cell.
            images: numbers of those that are to be made; None: all are there.
            parts: those that are there, where they are to be scored.
            files: what it needs.
            score: whether they are.
            keep: whether the images that are made are to be given back even so.
        """
        self._take(files)
        resolved, made = self._cell(job), None
        outcome: Part | Found | Failure | None = None
        known: list[Part] = [unpacked(part) for part in parts]
        if images is not None:
            outcome = self._measuring.part(resolved, images, lambda _: None, known[0] if known else None)
            if isinstance(outcome, Part):
                known.append(outcome)
                made = packed(outcome) if keep or not score else None
        if score and not isinstance(outcome, Failure):
            outcome = self._measuring.quality(resolved, known, again=images is None and len(known) > 1)
        found = PackedFound.of(outcome) if isinstance(outcome, Found) else None
        failure = outcome if isinstance(outcome, Failure) else None
        return Reply(made, found, failure, self._made(), left_running())

    def visit(self, job: Job, columns: Record, preview: bytes | None, files: Files) -> Timed:
        """A round of timing of a cell whose record has these columns, and whose preview is this PNG."""
        self._take(files | ({} if preview is None else {_PREVIEW: preview}))
        batch, batches = timed_batch(columns, self._session.batch), self._session.study.timing.batches
        file, times = None if preview is None else self._path / _PREVIEW, Times.of_record(columns, batch, batches)
        setting = Setting(self._cell(job), dict(columns), times, preview=file)
        images = self._rounds.visit(setting)
        return Timed(setting.columns, setting.failed, images, left_running())

    @cached_property
    def _rounds(self) -> Rounds:
        session = self._session
        session.warm_up()
        watches = monitor_of(session.device), Stopwatch(session.device)
        return Rounds(session, graphs_on(session.device), *watches, StudyFlops(session).of, self._measuring.fits)

    def _cell(self, job: Job) -> Resolved:
        """The cell of a job; UsageError if it would be another one here."""
        name = cell_id(job.identity)
        if name not in self._resolved:
            here = resolve(job.cell, self._session).at(job.identity["images"], job.identity["solver_images"] or 0)
            mine = json.loads(json.dumps(here.identity))
            theirs = json.loads(json.dumps(job.identity))
            if apart := [key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)]:
                told = "; ".join(f"{key}: {mine.get(key)!r} here, {theirs.get(key)!r} there" for key in apart[:5])
                raise UsageError(
                    f"the worker on {socket.gethostname()} would measure another cell than {job.cell}: {told}. All "
                    "machines need the same files, packages and processors"
                )
            self._resolved = {name: here}
        return self._resolved[name]

    def _take(self, files: Files) -> None:
        for name, content in files.items():
            path = self._path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self._known |= {*files}

    def _made(self) -> Files:
        """What was worked out here since this was asked last."""
        paths = [path for folder in ("solutions", "fits") for path in (self._path / folder).glob("*.safetensors")]
        made = {f"{path.parent.name}/{path.name}": path for path in paths}
        new = {name: path.read_bytes() for name, path in made.items() if name not in self._known}
        self._known |= {*new}
        return new


def _study(order: Order) -> Study:
    """The study of an order; UsageError if it names what was registered by no file or package."""
    try:
        return Study.model_validate_json(order.study)
    except ValidationError as error:
        said = "; ".join(dict.fromkeys(each["msg"].removeprefix("Value error, ") for each in error.errors()))
        raise UsageError(
            f"a worker cannot read the study: {said} Workers know only what plugin files (--plugin, or plugins of "
            "bench.run) and installed packages register, not what a script or a notebook does"
        ) from None


def files_of(folder: Path, paths: Sequence[Path | None]) -> Files:
    """The files of a run that are there, of these."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path is not None and path.is_file()}
