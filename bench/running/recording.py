"""Makes the records of cells from what measuring them gave, and writes what belongs to one before it."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from bench.quality.images import save_preview
from bench.record import SCHEMA, Record, RunFolder, fault_once_written
from bench.report.data.runs import TIMES
from bench.running.executors.base import Measured
from bench.running.measuring import Failure, Found
from bench.running.resolve import Resolved
from bench.running.saving import Saving
from bench.study.placement import grid_ends
from models.common.files import sha256_of
from models.common.writing import write_text
from models.plugins.foreign import INTERRUPTIONS


class Recording:
    """Makes the records of a run.

    Args:
        folder: of the run.
        environment: columns of what measures its cells.
        saving: saves all images of cells, where that is asked for.
    """

    def __init__(self, folder: RunFolder, environment: Mapping[str, Any], saving: Saving) -> None:
        self._folder, self._environment, self._saving = folder, dict(environment), saving

    def record(self, measured: Measured, before: Record | None) -> Record:
        """The record of a cell; its preview and images, or the traceback of its failure, are written now.

        Args:
            measured: the cell, and what came of it.
            before: the good record that there is, whose times stay; None: there is none, or it is measured anew.
        """
        (name, resolved), outcome = measured.wanted, measured.outcome
        model = resolved.model
        record: Record = {"schema": SCHEMA, "id": name, "status": "ok", "error": None, "note": None}
        record |= resolved.identity | {"intervals": len(resolved.levels) - 1}
        record |= {"load_average_1min": os.getloadavg()[0]}
        record |= {"model_source": model.source, "model_variance": model.card.variance}
        record |= {"model_weights_sha256": model.weights_sha256}  # what a study may pin
        record |= _ends(resolved) | measured.columns | self._environment
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
            self._saving.save(name, resolved, outcome.pixels)
            log.unlink(missing_ok=True)
            record |= outcome.columns | {"preview_sha256": sha256_of(preview)}
            record = record if before is None else _with_times(record, before)
        return record | {"finished": datetime.now(UTC).isoformat(timespec="seconds")}


def _with_times(record: Record, before: Record) -> Record:
    """A record of images that were made again, with the times of its setting that the one before has."""
    times = {name: before[name] for name in TIMES if name in before}
    notes = [each for said in (record, before) for each in (said["note"] or "").split("; ") if each]
    return record | times | {"note": "; ".join(dict.fromkeys(notes)) or None}


def _ends(resolved: Resolved) -> Record:
    """Where the grid ends; nothing of a strange one that cannot say, whose cell has failed of it."""
    try:
        return dict(grid_ends(resolved.sampler, resolved.levels))
    except INTERRUPTIONS:
        raise
    except BaseException:
        return {}
