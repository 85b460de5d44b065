"""What a run asks of whoever measures its cells."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from bench.model_record import Look
from bench.record import Record, RunFolder
from bench.running.attempts import Attempts
from bench.running.growth import Growth
from bench.running.measuring import Failure, Found
from bench.running.resolve import Resolved
from bench.running.rounds import Setting
from bench.running.session import Session

Advanced = Callable[[str, int], None]
"""Told the name of a cell, and how many more of its images are done."""


@dataclass(frozen=True)
class Desk:
    """What belongs to a run, whoever measures it.

    Attributes:
        session: its models, as they are planned with.
        folder: where its records are.
        attempts: at its cells.
        growth: keeps what cells have come to, for when they have more images; None: they will not.
        warn: told what whoever looks on should know.
    """

    session: Session
    folder: RunFolder
    attempts: Attempts
    growth: Growth | None
    warn: Callable[[str], None]


class Wanted(NamedTuple):
    """A cell that is to be measured: its id, and all about it."""

    name: str
    resolved: Resolved


@dataclass(frozen=True)
class Measured:
    """A cell that was.

    Attributes:
        wanted: the cell.
        outcome: what came of it.
        seconds: that a worker took for it.
        columns: of its record, of where it was measured.
    """

    wanted: Wanted
    outcome: Found | Failure
    seconds: float = 0.0
    columns: Record = field(default_factory=dict)


class Executor(Protocol):
    """Measures the cells of a run.

    What an interruption leaves of it is ended by whoever made it.
    """

    @property
    def workers(self) -> int:
        """How many cells it measures at a time."""

    @property
    def environment(self) -> Mapping[str, Any]:
        """Record columns: the machine, device and versions that it measures with."""

    def look(self, before: Look, warn: Callable[[str], None]) -> Look:
        """What is to be known of the models before the first cell, given what was known before."""

    def require_same(self, cells: Iterable[Wanted]) -> None:
        """UsageError if cells would not be the same ones where they are measured."""

    def evaluations(self, cells: Iterable[Wanted], kept: Callable[[str], bool]) -> dict[str, int]:
        """Evaluations an image that cells will take, by their names.

        Args:
            cells: those that are asked.
            kept: whether one has a good record, by its name.
        """

    def get_ready(self) -> None:
        """Before the first image is made or timed."""

    def rate(self) -> float:
        """Seconds of an evaluation of one image."""

    def measure(self, cells: Iterable[Wanted], count: int, advanced: Advanced) -> Iterator[Measured]:
        """Measure cells, each as soon as it is its turn, and give each as soon as it is measured.

        Args:
            cells: taken one by one, when there is somebody to begin it.
            count: how many there are at the most.
            advanced: told when images are done.
        """

    def visit(self, setting: Setting) -> int:
        """A round of timing of a setting, with nothing beside it; the images drawn. See `Rounds.visit`."""
