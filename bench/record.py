"""Cell records: one JSON file a cell, the only truth of a run; everything else in a run folder is made from them.

`results/<run>/study.json` holds the resolved study and the identities of its cells, `cells/<id>.json` a record each and
`cells/<id>.png` the first images of that cell. A record is written to a temporary file, flushed to disk and renamed, so
that whatever kills a run leaves whole records or none.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1

Record = dict[str, Any]
"""Flat columns, units in their names, None for what was not measured; lists only for raw times."""


def cell_id(identity: dict[str, Any]) -> str:
    """The name of a cell: 16 hexadecimal digits of the hash of everything that determines its result."""
    content = json.dumps({"schema": SCHEMA} | identity, sort_keys=True, allow_nan=False)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write atomically: a temporary file in the same folder, flushed to disk, renamed. ValueError for NaN."""
    text = json.dumps(content, indent=1, allow_nan=False)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


class RunFolder:
    """A folder of records.

    Args:
        path: the folder; `create` makes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cells = path / "cells"
        self._manifest = path / "study.json"

    def create(self) -> None:
        """Make the folder; UsageError if it cannot be written to. Temporary files of killed runs are removed."""
        probe = self.cells / f"writable.{os.getpid()}"
        try:
            self.cells.mkdir(parents=True, exist_ok=True)
            probe.write_text("")
            probe.unlink()
        except OSError as error:
            raise UsageError(
                f"cannot write to the run folder {str(self.path)!r}: {error}; choose another with --out"
            ) from None
        for leftover in self.cells.glob("*.tmp"):
            leftover.unlink(missing_ok=True)

    def write_manifest(
        self,
        study: dict[str, Any],
        cells: list[str],
        published: Sequence[dict[str, Any]] = (),
        batch: int | None = None,
    ) -> None:
        """Store the resolved study, the ids of its cells, in order, what has been published about them, and the batch
        that "auto" stands for.
        """
        content = {"schema": SCHEMA, "study": study, "cells": cells, "published": list(published), "batch": batch}
        write_json(self._manifest, content)

    def manifest(self) -> dict[str, Any]:
        """The resolved study and its cells; UsageError if this is no run folder."""
        try:
            content: dict[str, Any] = json.loads(self._manifest.read_text())
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(f"{str(self.path)!r} is not a run folder: it has no study.json") from None
        except (ValueError, OSError) as error:
            raise UsageError(f"{self._manifest} is damaged: {error}; run the study again") from None
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            found = content.get("schema") if isinstance(content, dict) else type(content).__name__
            raise UsageError(f"{self._manifest} has schema {found}; this version reads {SCHEMA}")
        if not isinstance(content.get("study"), dict) or not isinstance(content.get("cells"), list):
            raise UsageError(f"{self._manifest} is damaged: it lacks the study or its cells; run the study again")
        return content

    def batch(self, images: int, device: str) -> int | None:
        """What the last run found "auto" to stand for, if it was of as many images on this device; else None."""
        try:
            manifest = self.manifest()
        except UsageError:
            return None
        study, found = manifest["study"], manifest.get("batch")
        alike = (study.get("batch"), study.get("images"), study.get("device")) == ("auto", images, device)
        return found if alike and isinstance(found, int) else None

    def preview(self, cell: str) -> Path:
        """Where the first images of a cell are."""
        return self.cells / f"{cell}.png"

    def read(self, cell: str, set_aside: bool = False) -> Record | None:
        """The record of a cell, or None if there is none or it is broken.

        Args:
            cell: its id.
            set_aside: whether to rename a broken file to `<id>.broken`, as a run does that will write it again.
        """
        path = self.cells / f"{cell}.json"
        try:
            record = json.loads(path.read_text())
            if record["id"] != cell or record["schema"] != SCHEMA or record["status"] not in ("ok", "failed"):
                raise ValueError("not the record of this cell")
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            if set_aside:
                os.replace(path, path.with_suffix(".broken"))
            return None
        return dict(record)

    def write(self, record: Record) -> None:
        """Commit a record."""
        write_json(self.cells / f"{record['id']}.json", record)

    def load(self) -> pd.DataFrame:
        """The records of the manifest's cells that are there, a row each, in the order of the study."""
        import pandas as pd  # a second of import: only where records become a table

        records = [record for cell in self.manifest()["cells"] if (record := self.read(cell)) is not None]
        return pd.DataFrame.from_records(records)
