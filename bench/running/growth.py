"""What the images of a cell have come to, kept while they grow in number, so that more of them go on from there.

One file a setting and seed, `growing/<id>.safetensors` in the run folder, is its part of so far. It is written before
the record of as many images, whole or not at all, so that whatever kills the run leaves one to go on from, with the
same numbers.
"""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from bench.quality.statistics import BLOCKS
from bench.record import cell_id
from bench.running.part import Part
from bench.running.resolve import Resolved
from models.common.errors import UsageError
from models.common.sealed import load_sealed, save_sealed
from models.common.writing import naming


class Growth:
    """The parts of the cells of a run.

    Args:
        folder: of the files; made when something is stored.
        pixels: whether the images themselves are needed: then a part that was kept without them is of no use.
    """

    def __init__(self, folder: Path, *, pixels: bool = False) -> None:
        self._folder, self._pixels = folder, pixels

    def read(self, resolved: Resolved) -> Part | None:
        """The part of a cell that there is; None where nothing usable was kept."""
        try:
            tensors, said, sealed = load_sealed(self._path(resolved))
            part = Part.of(said["part"], tensors)
        except (UsageError, KeyError, ValueError, TypeError):
            return None
        if self._pixels and part.pixels is None:
            return None
        goes_on = part.images % BLOCKS == 0 and part.images < resolved.images
        return part if sealed and part.first == 0 and (goes_on or part.images == resolved.images) else None

    def images(self, resolved: Resolved) -> int:
        """How many of a cell's images are kept, as its file says, of which nothing else is read."""
        try:
            with safe_open(self._path(resolved), framework="pt") as file:
                if self._pixels and "pixels" not in file.keys():  # noqa: SIM118  (no mapping)
                    return 0
                return int(json.loads((file.metadata() or {})["part"])["images"])
        except (SafetensorError, OSError, KeyError, ValueError):
            return 0

    def write(self, resolved: Resolved, part: Part) -> None:
        """Keep the part of a cell in the place of the one before."""
        path = self._path(resolved)
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            save_sealed(path, part.tensors, {"part": part.said})

    def forget(self, resolved: Resolved) -> None:
        """Remove what was kept of a cell that will not grow."""
        self._path(resolved).unlink(missing_ok=True)

    def _path(self, resolved: Resolved) -> Path:
        """Of a cell, however many images it has; those that are compared with the flow's solution are kept in it."""
        return self._folder / f"{cell_id(resolved.identity | {'images': 0})}.safetensors"
