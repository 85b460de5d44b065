"""Measures cells in the process that it is in: whatever goes wrong in one is its result, and no other cell's."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from bench.record import Record
from bench.running.cell import Cells
from bench.running.fit import Fits
from bench.running.part import Part
from bench.running.resolve import Resolved
from bench.running.session import Session
from bench.running.solution import Solutions
from bench.timing.capture import graphs_on
from bench.timing.memory import Halving
from models.common.errors import NotWritten
from models.plugins.foreign import INTERRUPTIONS, told, trace
from models.plugins.plain import plain

Result = TypeVar("Result")


class Found(NamedTuple):
    """What a cell gave: columns as JSON has them, its first images, uint8 (N, C, H, W), and where they are to be saved
    all of them, uint8 (N, H, W, C) on the CPU.
    """

    columns: Record
    preview: Tensor
    pixels: Tensor | None = None


class Failure(NamedTuple):
    """Why a cell gave nothing: for its record, and for whoever mends it."""

    error: str
    trace: str | None = None


class Measuring:
    """Measures cells.

    Args:
        session: what they run on.
        solutions, fits: folders of what is worked out once.
        place: what the device is called in records; None: as in the session.
    """

    def __init__(self, session: Session, solutions: Path, fits: Path, place: str | None = None) -> None:
        self._place = place or str(session.device)
        self._session, self.solutions, self.fits = session, Solutions(solutions), Fits(fits, session)
        self.cells = Cells(session, graphs_on(session.device), self.solutions, self.fits)
        self._compile_s: dict[tuple[int, str], float] = {}

    def part(
        self, resolved: Resolved, images: range, advanced: Callable[[int], None], before: Part | None = None
    ) -> Part | Failure:
        """The images of these numbers, made now; the arguments are those of `Cells.generate`."""

        def made() -> Part:
            load = os.getloadavg()[0]  # above this process's own threads: others disturbed it
            compiled = self._compiled(resolved)
            part = self.cells.generate(resolved, images, advanced, before)
            part.columns.update(compile_s=compiled, load_average_1min=load, made_on={self._place: len(images)})
            return part

        return _tried(made)

    def quality(self, resolved: Resolved, parts: Sequence[Part], *, again: bool = False) -> Found | Failure:
        """What all images of a cell are worth, which are in these parts; see `Cells.measure`."""

        def found() -> Found:
            measured = self.cells.measure(resolved, parts, again=again)
            return Found(plain(measured.columns), measured.preview, measured.pixels)

        return _tried(found)

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


def _tried(attempt: Callable[[], Result]) -> Result | Failure:
    """What an attempt gives; a full disk is no sampler's failure."""
    try:
        with torch.inference_mode():
            return attempt()
    except (NotWritten, *INTERRUPTIONS):
        raise
    except BaseException as error:  # whatever a sampler raises is that cell's result
        return Failure(told(error), trace(error))
