"""Makes the records of cells: whatever goes wrong in one is its result, and no other cell's."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch

from bench.environment import describe
from bench.quality.images import save_preview
from bench.record import SCHEMA, Record, RunFolder, fault_once_written
from bench.running.attempts import Attempts
from bench.running.cell import measure
from bench.running.fit import Fits
from bench.running.growth import Growth
from bench.running.resolve import Resolved
from bench.running.session import Session
from bench.running.solution import Solutions
from bench.study.placement import grid_ends
from bench.timing.capture import Graph
from bench.timing.memory import Halving
from models.common.errors import NotWritten
from models.common.files import sha256_of
from models.common.writing import write_text
from models.plugins.foreign import INTERRUPTIONS, told, trace
from models.plugins.plain import NotPlain, plain


class Measuring:
    """Measures the cells of a run.

    Args:
        session: what they run on.
        folder: of the run.
        attempts: at its cells.
        graphs: makes empty graphs.
        growth: keeps what cells have come to, for when they have more images; None: they will not.
    """

    def __init__(
        self,
        session: Session,
        folder: RunFolder,
        attempts: Attempts,
        graphs: Callable[[], Graph],
        growth: Growth | None,
    ) -> None:
        self._session, self._folder, self._attempts = session, folder, attempts
        self._graphs, self._growth, self._fits = graphs, growth, Fits(folder.fits, session)
        self._environment = describe(session.device)
        self._compile_s: dict[tuple[int, str], float] = {}

    def record(self, name: str, resolved: Resolved, advanced: Callable[[int], None]) -> Record:
        """The record of a cell, measured now; its preview is written before it.

        Args:
            name: its id.
            resolved: the cell.
            advanced: told how many images are done.
        """
        model = resolved.model
        record: Record = {"schema": SCHEMA, "id": name, "status": "ok", "error": None, "note": None}
        record |= {**resolved.identity, "device": self._session.device.type, "intervals": len(resolved.levels) - 1}
        record |= {"load_average_1min": os.getloadavg()[0]}  # above this process's own threads: others disturbed it
        record |= {"model_source": model.source, "model_variance": model.card.variance}
        record |= {"model_weights_sha256": model.weights_sha256}  # what a study may pin
        log = self._folder.traceback(name)
        if (refusal := self._attempts.refusal(name)) is not None:
            record |= {"status": "failed", "error": refusal}
            log.unlink(missing_ok=True)
        else:
            with self._attempts.attempt(name, "its images"):
                record |= self._tried(name, resolved, record, log, advanced)
        return record | self._environment | {"finished": datetime.now(UTC).isoformat(timespec="seconds")}

    def _tried(
        self, name: str, resolved: Resolved, known: Record, log: Path, advanced: Callable[[int], None]
    ) -> Record:
        """What a cell adds to what is known of it before; a failure's traceback is written to the log."""
        ends: Record = {}
        try:
            ends = dict(grid_ends(resolved.sampler, resolved.levels))
            with torch.inference_mode():
                compiled: Record = {"compile_s": self._compiled(resolved)}
                solutions = Solutions(self._folder.solutions)
                found = measure(resolved, self._session, self._graphs, solutions, self._fits, advanced, self._growth)
            columns = _sound(ends | compiled | found.columns, known | self._environment)
        except (NotWritten, *INTERRUPTIONS):
            raise  # a full disk is no sampler's failure
        except BaseException as error:  # whatever a sampler raises is that cell's result
            write_text(log, trace(error))
            return ends | {"status": "failed", "error": told(error)}
        save_preview(found.preview, self._folder.preview(name))
        log.unlink(missing_ok=True)
        return columns | {"preview_sha256": sha256_of(self._folder.preview(name))}

    def _compiled(self, resolved: Resolved) -> float | None:
        """Seconds of the first evaluation of a compiled network, in which it is compiled.

        None where the search for the fastest batch has compiled it before.
        """
        searched = self._session.study.batch == "auto" and resolved.model is self._session.plainest
        if not resolved.mode.compile or searched:
            return None
        key = id(resolved.model), resolved.cell.guidance
        if key not in self._compile_s:
            self._compile_s[key] = Halving(self._session.batch)(partial(self._first_s, resolved))
        return self._compile_s[key]

    def _first_s(self, resolved: Resolved, batch: int) -> float:
        """Of all kinds of evaluations that a cell makes."""
        timed = self._session.first_evaluation_s
        return sum(timed(model, size, labelled=labels) for model, size, labels in resolved.first_evaluations(batch))


def _sound(columns: Record, known: Record) -> Record:
    """Columns as a record holds them; ValueError if they, with those known before, make no sense."""
    try:
        found: Record = plain(columns)
        wrong = fault_once_written(known | found)
    except NotPlain as error:
        wrong = str(error)
    if wrong is not None:
        raise ValueError(f"what was measured makes no sense: {wrong}")
    return found
