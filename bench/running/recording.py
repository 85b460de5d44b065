"""Makes the records of cells from what measuring them gave, and writes what belongs to one before it."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from bench.quality.images import save_preview
from bench.record import SCHEMA, Record, RunFolder, fault_once_written
from bench.running.measuring import Failure, Found
from bench.running.resolve import Resolved
from bench.study.placement import grid_ends
from models.common.files import sha256_of
from models.common.writing import write_text
from models.plugins.foreign import INTERRUPTIONS


class Recording:
    """Makes the records of a run.

    Args:
        folder: of the run.
        environment: columns of what measures its cells.
    """

    def __init__(self, folder: RunFolder, environment: Mapping[str, Any]) -> None:
        self._folder, self._environment = folder, dict(environment)

    def record(self, name: str, resolved: Resolved, outcome: Found | Failure, more: Record) -> Record:
        """The record of a cell; its preview, or the traceback of its failure, is written now.

        Args:
            name: its id.
            resolved: the cell.
            outcome: of measuring it.
            more: columns besides.
        """
        model = resolved.model
        record: Record = {"schema": SCHEMA, "id": name, "status": "ok", "error": None, "note": None}
        record |= resolved.identity | {"intervals": len(resolved.levels) - 1}
        record |= {"load_average_1min": os.getloadavg()[0]}
        record |= {"model_source": model.source, "model_variance": model.card.variance}
        record |= {"model_weights_sha256": model.weights_sha256}  # what a study may pin
        record |= _ends(resolved) | more | self._environment
        if isinstance(outcome, Found) and (wrong := fault_once_written(record | outcome.columns)) is not None:
            error = f"ValueError: what was measured makes no sense: {wrong}"
            outcome = Failure(error, f"{error}\n")
        log, preview = self._folder.traceback(name), self._folder.preview(name)
        if isinstance(outcome, Failure):
            record |= {"status": "failed", "error": outcome.error}
            if outcome.trace is None:
                log.unlink(missing_ok=True)
            else:
                write_text(log, outcome.trace)
        else:
            save_preview(outcome.preview, preview)
            log.unlink(missing_ok=True)
            record |= outcome.columns | {"preview_sha256": sha256_of(preview)}
        return record | {"finished": datetime.now(UTC).isoformat(timespec="seconds")}


def _ends(resolved: Resolved) -> Record:
    """Where the grid ends; nothing of a strange one that cannot say, whose cell has failed of it."""
    try:
        return dict(grid_ends(resolved.sampler, resolved.levels))
    except INTERRUPTIONS:
        raise
    except BaseException:
        return {}
