"""Cells that are being measured by workers, and the pieces of work that they are divided into."""

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bench.running.executors.base import Wanted
from bench.running.part import Packed


@dataclass(eq=False)
class Open:
    """A cell that is being measured.

    Attributes:
        wanted: the cell.
        ranges: of images that nobody makes yet.
        fit, solution: files of what is worked out once, the one before images are made, the other before they are
            scored; None: it needs no such thing.
        before: the part of earlier runs; None: there is none.
        parts: that were made.
        under_way: pieces of work that are.
        deaths, losses: of workers and machines that it was worked on.
        seconds: that it was worked on.
        over: whether it was given back.
    """

    wanted: Wanted
    ranges: deque[range]
    fit: Path | None
    solution: Path | None
    before: Packed | None
    parts: list[Packed] = field(default_factory=list)
    under_way: int = 0
    deaths: int = 0
    losses: int = 0
    seconds: float = 0.0
    over: bool = False

    @property
    def all_parts(self) -> list[Packed]:
        """With that of earlier runs."""
        return self.parts if self.before is None else [self.before, *self.parts]


class Piece(NamedTuple):
    """A piece of work on a cell: images that are made, whether all are scored then, or a file that is worked out."""

    cell: Open
    images: range | None = None
    score: bool = False
    file: Path | None = None
