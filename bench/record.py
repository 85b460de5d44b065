"""Cell records: one JSON file a cell, the only truth of a run; everything else in a run folder is made from them.

`results/<run>/study.json` holds the resolved study and the identities of its cells, `cells/<id>.json` a record each and
`cells/<id>.png` the first images of that cell; where all are saved, `cells/<id>.npz` or the folder `cells/<id>` has
them. Whatever kills a run leaves whole records or none, as `models.common.writing` writes them. What makes no sense
(`bench.record_schema`) is broken, and never counts; what a newer version wrote is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from bench.packed import PACKED, NotPacked, is_file
from bench.record_schema import SCHEMA as SCHEMA
from bench.record_schema import CellRecord, Manifest, fault
from bench.sealed_json import NewerRun, has_digest, read_sealed, write_sealed
from models.common.errors import UsageError
from models.common.writing import remove_leftovers

if TYPE_CHECKING:
    import pandas as pd

MANIFEST = "study.json"
"""What makes a folder a run."""

ImageFiles = Literal["npz", "png"]
"""How all images of a cell can be saved beside its record: in one file, or one file each."""
IMAGE_FILES: tuple[ImageFiles, ...] = get_args(ImageFiles)

Record = dict[str, Any]
"""Flat columns, units in their names, None for what was not measured; lists only for raw times."""


def cell_id(identity: dict[str, Any]) -> str:
    """The name of a cell: 16 hexadecimal digits of the hash of everything that determines its result."""
    content = json.dumps({"schema": SCHEMA} | identity, sort_keys=True, allow_nan=False)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


class RunFolder:
    """A folder of records, or a packed run, which is read only.

    Args:
        path: the folder; `create` makes it.

    Attributes:
        files: where its files are: the folder, or the packed run that this is or has.
        broken: why a file is no record, of each that was read and is not, by the cell's id.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.broken: dict[str, str] = {}
        self.files = path if (path / MANIFEST).exists() or not (path / PACKED).is_file() else path / PACKED
        self.cells = self.files / "cells"
        self.solutions = path / "solutions"
        self.fits = path / "fits"
        self.growing = path / "growing"
        self._manifest = self.files / MANIFEST

    @property
    def is_run(self) -> bool:
        """Whether there is a run."""
        return is_file(self._manifest)

    def create(self) -> None:
        """Make the folder; UsageError if it cannot be written to."""
        if self.files.is_file():
            raise UsageError(
                f"{str(self.files)!r} is a packed run, and nothing is written into it; choose another folder with "
                "--out, or unzip it into one and go on there"
            )
        probe = self.cells / f"writable.{os.getpid()}.tmp"
        try:
            self.cells.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(
                f"cannot write to the run folder {str(self.path)!r}: {error}; choose another with --out"
            ) from None

    def tidy(self) -> None:
        """Remove what killed runs and reports left of files; for who holds the folder."""
        for folder in (self.path, self.cells, self.solutions, self.fits, self.growing):
            remove_leftovers(folder, folders=folder == self.cells)

    def write_manifest(
        self,
        study: dict[str, Any],
        cells: list[str],
        published: Sequence[dict[str, Any]] = (),
        batch: int | None = None,
        looks: Sequence[int] = (),
    ) -> None:
        """Store a resolved study.

        Args:
            study: the study.
            cells: the ids of its cells, in order; those of each look where images grow.
            published: what has been published about them.
            batch: that "auto" stands for.
            looks: the numbers of images, where they grow.
        """
        content = {"schema": SCHEMA, "study": study, "cells": cells, "published": list(published), "batch": batch}
        if looks:
            content["looks"] = list(looks)
        write_sealed(self._manifest, content)

    def manifest(self) -> dict[str, Any]:
        """The resolved study and its cells; UsageError if this is no run folder."""
        try:
            content = read_sealed(self._manifest)
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(f"{str(self.path)!r} is not a run folder: it has no {MANIFEST} or {PACKED}") from None
        except (NewerRun, NotPacked):
            raise
        except (ValueError, OSError) as error:
            raise UsageError(f"{self._manifest} is damaged: {error}; run the study again") from None
        wrong = fault(Manifest, content)
        if wrong is not None or content.get("schema") != SCHEMA:
            reason = wrong or f"it has schema {content.get('schema')!r}; this version reads {SCHEMA}"
            raise UsageError(f"{self._manifest} is damaged: {reason}; run the study again")
        # a version that gives records a digest gives one to the manifest
        if not has_digest(self._manifest) and any(has_digest(self.record(cell)) for cell in content["cells"]):
            raise UsageError(
                f"{self._manifest} is damaged: it is not what was written: its digest is missing, but its records have "
                "theirs; run the study again"
            )
        return dict(content)

    def refuse_newer(self) -> None:
        """NewerRun if a newer version has written this run; a folder without one, or with a damaged one, is fine."""
        try:
            self.manifest()
        except NewerRun:
            raise
        except UsageError:
            return

    def batch(self, images: int, device: str) -> int | None:
        """What the last run found "auto" to stand for, if it was of as many images on this device; else None.

        Raises:
            NewerRun: it was one of a newer version.
        """
        try:
            manifest = self.manifest()
        except NewerRun:
            raise
        except UsageError:
            return None
        study, found = manifest["study"], manifest.get("batch")
        alike = (study.get("batch"), study.get("images"), study.get("device")) == ("auto", images, device)
        return found if alike and isinstance(found, int) else None

    def record(self, cell: str) -> Path:
        """Where the record of a cell is."""
        return self.cells / f"{cell}.json"

    def preview(self, cell: str) -> Path:
        """Where the first images of a cell are."""
        return self.cells / f"{cell}.png"

    def images(self, cell: str, kind: ImageFiles) -> Path:
        """Where all images of a cell are, if they are saved: a file, or a folder of one each."""
        return self.cells / (f"{cell}.npz" if kind == "npz" else cell)

    def traceback(self, cell: str) -> Path:
        """Where it is written how a cell failed."""
        return self.cells / f"{cell}.traceback.txt"

    def read(self, cell: str, identity: Mapping[str, Any] | None = None, *, sealed: bool = False) -> Record | None:
        """The record of a cell, or None if there is none or it is broken, which `broken` then says.

        Args:
            cell: its id.
            identity: columns that it has to have, with the hash of this version's code; None: whatever it says.
            sealed: whether it has to have a digest; where an identity is given it has to.

        Raises:
            NewerRun: a newer version has written it.
        """
        try:
            record = read_sealed(self.record(cell), sealed=sealed or identity is not None)
            if (reason := fault_of(record, cell, identity)) is None:
                return dict(record)
        except FileNotFoundError:
            return None
        except NewerRun:
            raise
        except (ValueError, OSError) as error:
            reason = str(error)
        self.broken[cell] = reason
        return None

    def set_aside(self) -> None:
        """Rename the broken files that were read to `<id>.broken`, as a run does that will write them again."""
        for cell in self.broken:
            path = self.record(cell)
            os.replace(path, path.with_suffix(".broken"))

    def write(self, record: Record) -> None:
        """Commit a record; ValueError for one that would not be read back."""
        if (reason := fault_once_written(record)) is not None:
            raise ValueError(f"not the record of a cell: {reason}")
        write_sealed(self.record(record["id"]), record)

    def records(self) -> list[Record]:
        """The records of the manifest's cells that are there, in the order of the study."""
        cells, sealed = self.manifest()["cells"], has_digest(self._manifest)  # if it has one, all have
        return [record for cell in cells if (record := self.read(cell, sealed=sealed)) is not None]

    def load(self) -> pd.DataFrame:
        """The same as a table, a row each."""
        import pandas as pd  # a second of import: only where records become a table

        return pd.DataFrame.from_records(self.records())


def fault_of(record: object, cell: str, identity: Mapping[str, Any] | None = None) -> str | None:
    """Why some content is not the record of a cell, in a line; None if it is."""
    if not isinstance(record, dict):
        return f"it is a {type(record).__name__}, no record"
    expected = {"schema": SCHEMA, "id": cell} | json.loads(json.dumps(dict(identity or {})))
    for key, right in expected.items():
        if key not in record or record[key] != right:
            return f"its {key} is {record.get(key)!r}; expected {right!r}"
    return fault(CellRecord, record)


def fault_once_written(record: Record) -> str | None:
    """Why a record would not be read back, in a line; None if it would."""
    try:
        return fault_of(json.loads(json.dumps(record)), record["id"])
    except (TypeError, ValueError, RecursionError) as error:
        return str(error)


def fault_of_identity(identity: Mapping[str, Any]) -> str | None:
    """Why a cell could not be recorded, told before anything is measured, in a line; None if it could."""
    return fault_once_written({"schema": SCHEMA, "id": cell_id(dict(identity)), "status": "failed", **identity})
