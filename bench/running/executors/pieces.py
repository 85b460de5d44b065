"""Cells that are being measured by workers, and the pieces of work that they are divided into."""

from collections import deque
from dataclasses import dataclass, field
from math import ceil
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
        fits: files of what is fitted once, before images are made, in this order.
        solution: that of what is worked out once before they are scored; None: it needs no such thing.
        before: the part of earlier runs; None: there is none.
        parts: that were made.
        under_way: pieces of work that are.
        deaths, losses: of workers and machines that it was worked on.
        seconds: that it was worked on.
        over: whether it was given back.
    """

    wanted: Wanted
    ranges: deque[range]
    fits: list[Path]
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


def divided(images: range, unit: int, pieces: int, most: int | None) -> deque[range]:
    """Images in about so many ranges of whole units, none of more images than `most` where that is a unit or more."""
    units = ceil(len(images) / unit)
    each = ceil(units / min(pieces, units)) if units else 1
    size = unit * (each if most is None else max(1, min(each, most // unit)))
    return deque(range(first, min(first + size, images.stop)) for first in range(images.start, images.stop, size))


class Piece(NamedTuple):
    """A piece of work on a cell: images that are made, whether all are scored then, or a file that is worked out."""

    cell: Open
    images: range | None = None
    score: bool = False
    file: Path | None = None


class Once:
    """What is worked out once, by its files: which nobody works out yet, which somebody does, and which are settled.

    One is settled that is there, or that cannot be had, as a cell that needs it will say.
    """

    def __init__(self) -> None:
        self._settled = dict[Path, bool]()

    def is_settled(self, file: Path | None) -> bool:
        """Whether nothing is to be worked out; None: nothing is needed."""
        return file is None or file.is_file() or self._settled.get(file, False)

    def begin(self, file: Path) -> bool:
        """Whether it is the caller's to work out: it is nobody's yet."""
        return file not in self._settled and not self._settled.setdefault(file, False)

    def settle(self, file: Path) -> None:
        """It was worked out, or cannot be."""
        self._settled[file] = True

    def take_back(self, file: Path) -> None:
        """Whoever worked it out has ended: it is nobody's."""
        del self._settled[file]
