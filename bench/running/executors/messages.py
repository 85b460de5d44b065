"""What a run and its workers tell one another."""

import json
from typing import Any, NamedTuple

from safetensors.torch import load, save

from bench.record import ImageFiles, Record
from bench.running.measuring import Failure, Found
from bench.running.part import Packed
from bench.running.resolve import Resolved
from bench.study.plan import Cell

Files = dict[str, bytes]
"""What is worked out once, by the folder and name that it has in a run."""


class Order(NamedTuple):
    """What a worker works on.

    Attributes:
        study: as JSON.
        device: its own.
        batch: images at a time; None: it finds out.
        plugins: Python files that register samplers, with their sha256.
        save_images: as in the session.
        place: what records call its device; None: as it is.
    """

    study: str
    device: str
    batch: int | None
    plugins: tuple[tuple[str, str], ...]
    save_images: ImageFiles | None = None
    place: str | None = None


class About(NamedTuple):
    """What a worker says of itself: its machine, columns of records, and images at a time."""

    host: str
    environment: dict[str, Any]
    batch: int


class Job(NamedTuple):
    """A cell, and record columns of all that determines it."""

    cell: Cell
    identity: dict[str, Any]

    @classmethod
    def of(cls, resolved: Resolved) -> "Job":
        """What a worker is told of a cell."""
        return cls(resolved.cell, resolved.identity)


class PackedFound(NamedTuple):
    """A cell's columns, as JSON, and its images: the first, and where they are to be saved all."""

    columns: str
    images: bytes

    @classmethod
    def of(cls, found: Found) -> "PackedFound":
        """As it passes between processes."""
        images = {"preview": found.preview.detach().cpu().contiguous()}
        return cls(json.dumps(found.columns), save(images | ({} if found.pixels is None else {"pixels": found.pixels})))

    def unpacked(self) -> Found:
        """As it was."""
        return Found(json.loads(self.columns), **load(self.images))


class Reply(NamedTuple):
    """What came of a piece of work.

    Attributes:
        part: images that were made.
        found: what all images of the cell are worth, if it was asked for.
        failure: why there is neither.
        files: what was worked out on the way.
        spoilt: whether something that a sampler has left runs on in the process, which is to be ended.
    """

    part: Packed | None
    found: PackedFound | None
    failure: Failure | None
    files: Files
    spoilt: bool


class Timed(NamedTuple):
    """What came of a round of timing: a record's columns, whether it failed, the images drawn, and as in a reply."""

    columns: Record
    failed: bool
    images: int
    spoilt: bool
