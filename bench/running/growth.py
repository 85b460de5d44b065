"""What the images of a cell have come to, kept while they grow in number, so that more of them go on from there.

One file a setting and seed, `growing/<id>.safetensors` in the run folder, is all that its first images are scored by:
moments of their features (10 F (F + 1) numbers in float64, which are 336 MB for the 2,048 of Inception), the features
themselves where a metric needs them, counts, and the preview. It is written before the record of as many images, whole
or not at all, so that whatever kills the run leaves one to go on from, with the same numbers.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from bench.quality.statistics import BLOCKS, Tensors
from bench.record import cell_id
from bench.running.resolve import Resolved
from models.common.errors import UsageError
from models.common.sealed import load_sealed, save_sealed
from models.common.writing import naming

_NUMBERS = ("images", "calls", "evaluations", "drawn", "columns", "remarks")


@dataclass(frozen=True)
class Part:
    """The first images of a cell.

    Attributes:
        images: how many.
        calls: about images, that samplers made of the model.
        evaluations: of images, that these took.
        drawn: images that were drawn for that, those that only filled a batch up too.
        columns: of the record, of how they were made.
        remarks: for its note, on how they were made.
        score: as `bench.running.score` gives it.
        preview: uint8 (N, C, H, W); None: there is none yet.
    """

    images: int = 0
    calls: int = 0
    evaluations: int = 0
    drawn: int = 0
    columns: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    score: Tensors = field(default_factory=dict)
    preview: Tensor | None = None


class Growth:
    """The parts of the cells of a run.

    Args:
        folder: of the files; made when something is stored.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, resolved: Resolved) -> Part:
        """The part of a cell that there is: none of its images where nothing usable was kept."""
        try:
            tensors, said, sealed = load_sealed(self._path(resolved))
            found = json.loads(said["part"])
            goes_on = found["images"] % BLOCKS == 0 and found["images"] < resolved.images
            if not sealed or not (goes_on or found["images"] == resolved.images):
                return Part()
        except (UsageError, KeyError, ValueError):
            return Part()
        return Part(**found, preview=tensors.pop("preview"), score=tensors)

    def images(self, resolved: Resolved) -> int:
        """How many of a cell's images are kept, as its file says, of which nothing else is read."""
        try:
            with safe_open(self._path(resolved), framework="pt") as file:
                return int(json.loads((file.metadata() or {})["part"])["images"])
        except (SafetensorError, OSError, KeyError, ValueError):
            return 0

    def write(self, resolved: Resolved, part: Part) -> None:
        """Keep the part of a cell in the place of the one before."""
        path = self._path(resolved)
        said = {name: getattr(part, name) for name in _NUMBERS}
        preview = {} if part.preview is None else {"preview": part.preview}
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            save_sealed(path, part.score | preview, {"part": json.dumps(said)})

    def forget(self, resolved: Resolved) -> None:
        """Remove what was kept of a cell that will not grow."""
        self._path(resolved).unlink(missing_ok=True)

    def _path(self, resolved: Resolved) -> Path:
        """Of a cell, however many images it has; those that are compared with the flow's solution are kept in it."""
        return self._folder / f"{cell_id(resolved.identity | {'images': 0})}.safetensors"
